//! Superpackets: what is joined and cut again is what it was, and nothing hostile gets through.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use proptest::prelude::*;
use sealane_tunnel::coalesce::{Coalescer, Joinable};
use sealane_tunnel::inet;
use sealane_tunnel::split::{Segments, SplitError};
use sealane_tunnel::virtio::{self, VnetHeader};
use support::{ip, udp};

const BOTH: Joinable = Joinable { tcp: true, udp: true };
const ACK: u8 = 0x10;
const PSH: u8 = 0x08;
const FIN: u8 = 0x01;
const CWR: u8 = 0x80;

/// A TCP packet of one flow, to port 80; `options` must be a multiple of 4 long.
fn tcp((v6, port): (bool, u16), seq: u32, flags: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut part = port.to_be_bytes().to_vec();
    part.extend([0, 80]);
    part.extend(seq.to_be_bytes());
    part.extend(7u32.to_be_bytes());
    part.extend([((20 + options.len()) as u8 / 4) << 4, flags, 0x10, 0, 0, 0, 0, 0]);
    part.extend(options);
    part.extend(payload);
    let (source, destination) = if v6 { ("fd01::1", "fd02::1") } else { ("10.1.0.1", "10.2.0.1") };
    ip(source, destination, inet::TCP, part, 16)
}

/// What a TUN device would be given for packets, as (offload header, bytes).
fn join(packets: &[Vec<u8>], joinable: Joinable) -> Vec<(VnetHeader, Vec<u8>)> {
    let mut slab = Vec::new();
    let mut coalescer = Coalescer::default();
    let mut places = Vec::new();
    for packet in packets {
        let at = slab.len()..slab.len() + packet.len();
        slab.extend(packet);
        places.push(at);
    }
    for at in places {
        coalescer.push(&slab, at, joinable);
    }
    coalescer.seal(&mut slab);
    coalescer
        .groups()
        .iter()
        .map(|group| {
            (group.vnet(), group.pieces().flat_map(|piece| slab[piece].to_vec()).collect())
        })
        .collect()
}

fn cut(vnet: VnetHeader, packet: &[u8]) -> Result<Vec<Vec<u8>>, SplitError> {
    let mut packet = packet.to_vec();
    let mut segments = Segments::of(vnet, &mut packet)?;
    let mut out = Vec::new();
    while let Some(at) = segments.next_in(&mut packet) {
        out.push(packet[at].to_vec());
    }
    Ok(out)
}

/// With DF the identification means nothing, and counts up in a cut superpacket.
fn without_id(mut packets: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    for part in packets.iter_mut().filter(|part| part[0] >> 4 == 4) {
        part[4..6].fill(0);
        part[10..12].fill(0);
        let sum = inet::checksum(inet::sum(&part[..20], 0));
        part[10..12].copy_from_slice(&sum);
    }
    packets
}

fn ports(packet: &[u8]) -> Vec<u8> {
    let at = if packet[0] >> 4 == 4 { 20 } else { 40 };
    packet[at..at + 4].to_vec()
}

#[test]
fn a_train_of_segments_becomes_one_superpacket() {
    for v6 in [false, true] {
        let packets: Vec<_> =
            (0..40).map(|n| tcp((v6, 1000), n * 1000, ACK, &[1; 12], &[n as u8; 1000])).collect();
        let joined = join(&packets, BOTH);
        assert_eq!(joined.len(), 1);
        assert_eq!(joined[0].0.gso_size, 1000);
        assert!(without_id(cut(joined[0].0, &joined[0].1).unwrap()) == packets);
        assert_eq!(join(&packets, Joinable { tcp: false, udp: true }).len(), 40);
    }
}

#[test]
fn datagrams_of_one_length_become_one_superpacket() {
    let mut packets: Vec<_> = (0..10).map(|n| udp("10.1.0.1", "10.2.0.1", &[n; 700])).collect();
    packets.push(udp("10.1.0.1", "10.2.0.1", &[9; 30]));
    packets.push(udp("10.1.0.1", "10.2.0.1", &[9; 700]));
    let joined = join(&packets, BOTH);
    assert_eq!(joined.len(), 2, "a shorter one ends the group");
    assert_eq!(joined[0].0.gso_type, virtio::GSO_UDP_L4);
    assert!(without_id(cut(joined[0].0, &joined[0].1).unwrap()) == packets[..11]);
}

#[test]
fn what_tcp_says_beside_data_is_never_joined_away() {
    let plain = |n: u32| tcp((false, 1000), n * 100, ACK, &[], &[0; 100]);
    let cases = [
        ("FIN", vec![plain(0), tcp((false, 1000), 100, ACK | FIN, &[], &[0; 100])]),
        ("CWR", vec![plain(0), tcp((false, 1000), 100, ACK | CWR, &[], &[0; 100])]),
        ("SYN", vec![tcp((false, 1000), 0, 2, &[], &[0; 100]), plain(1)]),
        ("after PSH", vec![tcp((false, 1000), 0, ACK | PSH, &[], &[0; 100]), plain(1)]),
        ("gap", vec![plain(0), plain(2)]),
        ("repeat", vec![plain(0), plain(0)]),
        ("other options", vec![plain(0), tcp((false, 1000), 100, ACK, &[1; 4], &[0; 100])]),
        ("longer", vec![plain(0), tcp((false, 1000), 100, ACK, &[], &[0; 101])]),
        ("empty", vec![plain(0), tcp((false, 1000), 100, ACK, &[], &[])]),
    ];
    for (name, packets) in cases {
        let joined = join(&packets, BOTH);
        let bytes: Vec<_> = joined.into_iter().map(|(_, packet)| packet).collect();
        assert_eq!(bytes, packets, "{name}");
    }
}

#[test]
fn datagrams_without_checksum_stay_without() {
    let mut first = udp("10.1.0.1", "10.2.0.1", &[1; 100]);
    first[26..28].fill(0);
    let packets = vec![first.clone(), first];
    let bytes: Vec<_> = join(&packets, BOTH).into_iter().map(|(_, packet)| packet).collect();
    assert_eq!(bytes, packets);
}

#[test]
fn a_group_that_the_kernel_refuses_is_parted_into_what_it_was() {
    let packets: Vec<_> = (0..5)
        .map(|n| tcp((false, 1000), n * 100, if n == 4 { ACK | PSH } else { ACK }, &[], &[7; 100]))
        .collect();
    let mut slab: Vec<u8> = packets.concat();
    let mut coalescer = Coalescer::default();
    for n in 0..5 {
        coalescer.push(&slab, n * 140..(n + 1) * 140, BOTH);
    }
    coalescer.seal(&mut slab);
    assert_eq!(coalescer.groups().len(), 1);
    let places = coalescer.groups()[0].part(&mut slab).to_vec();
    let parted: Vec<_> = places.into_iter().map(|at| slab[at].to_vec()).collect();
    assert_eq!(parted, packets);
}

#[test]
fn cwr_stays_on_the_first_segment_and_fin_and_psh_on_the_last() {
    let mut superpacket = tcp((false, 1000), 0, ACK | PSH | FIN | CWR, &[], &[7; 250]);
    superpacket[2..4].copy_from_slice(&290u16.to_be_bytes());
    let vnet = VnetHeader {
        flags: virtio::NEEDS_CSUM,
        gso_type: virtio::GSO_TCPV4 | virtio::GSO_ECN,
        hdr_len: 0,
        gso_size: 100,
        csum_start: 20,
        csum_offset: 16,
    };
    let flags: Vec<u8> = cut(vnet, &superpacket).unwrap().iter().map(|part| part[33]).collect();
    assert_eq!(flags, [ACK | CWR, ACK, ACK | PSH | FIN]);
}

#[test]
fn a_partial_checksum_is_completed() {
    let whole = udp("10.1.0.1", "10.2.0.1", b"sum me");
    let mut partial = whole.clone();
    let pseudo = inet::fold(inet::pseudo_header(&whole, inet::UDP, whole.len() - 20));
    partial[26..28].copy_from_slice(&pseudo);
    let vnet = VnetHeader {
        flags: virtio::NEEDS_CSUM,
        csum_start: 20,
        csum_offset: 6,
        ..VnetHeader::default()
    };
    assert_eq!(cut(vnet, &partial).unwrap(), [whole]);
}

fn flow_packet() -> impl Strategy<Value = (bool, bool, u16, u8, usize, u32)> {
    // IPv6, UDP, port, flags, payload length, gap before it
    (
        any::<bool>(),
        prop::bool::weighted(0.3),
        1000u16..1003,
        prop::sample::select(vec![ACK, ACK, ACK, ACK | PSH, ACK | FIN, ACK | CWR, ACK | 0x40]),
        prop::sample::select(vec![0usize, 1, 99, 100, 100, 100, 100, 1380]),
        prop::sample::select(vec![0u32, 0, 0, 0, 5]),
    )
}

proptest! {
    #[test]
    fn joining_and_cutting_is_the_identity_on_every_flow(
        plan in proptest::collection::vec(flow_packet(), 1..80), start in any::<u32>()
    ) {
        let mut next = std::collections::BTreeMap::new();
        let packets: Vec<Vec<u8>> = plan.into_iter().map(|(v6, is_udp, port, flags, len, gap)| {
            let payload: Vec<u8> = (0..len).map(|n| n as u8).collect();
            if is_udp {
                return if v6 {
                    udp("fd01::1", "fd02::1", &payload)
                } else {
                    udp("10.1.0.1", "10.2.0.1", &payload)
                };
            }
            let seq = next.entry((v6, port)).or_insert(start);
            *seq = seq.wrapping_add(gap);
            let packet = tcp((v6, port), *seq, flags, &[], &payload);
            *seq = seq.wrapping_add(len as u32);
            packet
        }).collect();
        let mut out = Vec::new();
        for (vnet, bytes) in join(&packets, BOTH) {
            out.extend(without_id(cut(vnet, &bytes).unwrap()));
        }
        let by_flow = |packets: &[Vec<u8>]| {
            let mut flows = std::collections::BTreeMap::<_, Vec<Vec<u8>>>::new();
            for packet in packets {
                flows.entry((packet[0] >> 4, packet[9 - 3 * usize::from(packet[0] >> 4 == 6)], ports(packet)))
                    .or_default()
                    .push(packet.clone());
            }
            flows
        };
        prop_assert!(by_flow(&out) == by_flow(&packets));
    }

    #[test]
    fn hostile_superpackets_are_cut_or_refused_without_a_panic(
        header in any::<[u8; virtio::LEN]>(),
        version in prop::sample::select(vec![0x45u8, 0x46, 0x4f, 0x60, 0x40, 0x00]),
        kind in prop::sample::select(vec![0u8, 1, 4, 5, 0x81, 3]),
        start in prop::sample::select(vec![0u16, 20, 24, 40, 48, 60, 9000]),
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        let mut vnet = VnetHeader::parse(&header);
        vnet.gso_type = kind;
        vnet.csum_start = start;
        vnet.csum_offset %= 32;
        let mut packet = bytes;
        if let Some(first) = packet.first_mut() {
            *first = version;
        }
        let _ = cut(vnet, &packet);
        vnet.gso_size = vnet.gso_size % 64 + 1;
        if let Ok(parts) = cut(vnet, &packet) {
            prop_assert!(parts.iter().all(|part| part.len() <= packet.len()));
        }
    }

    #[test]
    fn hostile_packets_are_joined_or_passed_without_a_panic(
        packets in proptest::collection::vec(
            (prop::sample::select(vec![0x45u8, 0x4f, 0x60, 0x70]),
             prop::sample::select(vec![6u8, 17, 1, 44]),
             proptest::collection::vec(any::<u8>(), 0..120)),
            0..20),
    ) {
        let packets: Vec<Vec<u8>> = packets.into_iter().map(|(version, protocol, mut bytes)| {
            if let Some(first) = bytes.first_mut() {
                *first = version;
            }
            let len = bytes.len() as u16;
            let (at, value, field) = if version >> 4 == 4 { (2, len, 9) } else { (4, len.saturating_sub(40), 6) };
            if bytes.len() >= 40 {
                bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
                bytes[field] = protocol;
            }
            bytes
        }).collect();
        let joined = join(&packets, BOTH);
        prop_assert!(joined.len() <= packets.len());
    }
}
