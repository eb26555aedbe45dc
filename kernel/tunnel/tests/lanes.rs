//! What two devices do with each other's datagrams: handshakes, sessions, roaming, crypto routing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::net::SocketAddr;

use proptest::prelude::*;
use sealane_tunnel::key::PrivateKey;
use sealane_tunnel::refusal::Refusal;
use sealane_tunnel::wire;
use support::{Host, connected, deliver, ip, pair, udp};
use zeroize::Zeroizing;

#[test]
fn packets_of_both_families_pass_both_ways() {
    let (mut a, mut b) = connected();
    for (from, to) in [("10.1.0.9", "10.2.7.7"), ("fd01::9", "fd02::7")] {
        let packet = udp(from, to, b"there");
        let sealed = a.send(&packet);
        deliver(&mut a, &mut b, sealed);
        assert_eq!(b.inbox.pop(), Some(packet));
        let packet = udp(to, from, b"and back");
        let sealed = b.send(&packet);
        deliver(&mut b, &mut a, sealed);
        assert_eq!(a.inbox.pop(), Some(packet));
    }
}

#[test]
fn the_packet_that_started_the_handshake_is_delivered() {
    let (mut a, mut b) = pair();
    let packets: Vec<_> =
        (0u8..10).map(|number| udp("10.1.0.1", "10.2.0.1", &[number; 50])).collect();
    let mut sent = Vec::new();
    for packet in &packets {
        sent.extend(a.send(packet));
    }
    assert_eq!(sent.len(), 1, "ten packets wait for one handshake");
    deliver(&mut a, &mut b, sent);
    assert_eq!(b.inbox, packets);
}

#[test]
fn what_waits_is_bounded_and_what_found_no_room_is_counted() {
    let (mut a, mut b) = pair();
    let packet = |number: u16| udp("10.1.0.1", "10.2.0.1", &number.to_be_bytes());
    let sent: Vec<_> = (0..300).flat_map(|number| a.send(&packet(number))).collect();
    assert!(a.answer_to_get().contains("\nsealane_dropped_waiting=44\n"));
    assert!(a.device.backlog().bytes() > 0);
    deliver(&mut a, &mut b, sent);
    assert_eq!(b.inbox, (0..256).map(packet).collect::<Vec<_>>(), "the oldest, in order");
    assert_eq!(a.device.backlog().bytes(), 0);
    let again = a.send(&packet(300));
    deliver(&mut a, &mut b, again);
    assert_eq!(b.inbox.len(), 257);
    assert!(a.answer_to_get().contains("\nsealane_dropped_waiting=44\n"));
}

#[test]
fn a_packet_that_finds_no_room_still_starts_a_handshake() {
    let (mut a, b) = pair();
    for _ in 0..300 {
        a.send(&udp("10.1.0.1", "10.2.0.1", b"lost"));
    }
    a.set(&format!("public_key={}\nremove=true\n", b.public.to_hex()));
    assert_eq!(a.device.backlog().bytes(), 0, "a peer that goes takes its packets along");
    a.add_peer(&b, "allowed_ip=10.2.0.0/16\n");
    let large = [udp("10.1.0.1", "10.2.0.1", b""), vec![0; 5 << 20]].concat();
    assert_eq!(a.send(&large).len(), 1, "an initiation");
    assert_eq!(a.device.backlog().bytes(), 0);
}

#[test]
fn what_waits_at_the_responder_goes_when_the_session_is_confirmed() {
    let (mut a, mut b) = pair();
    let lost = b.send(&udp("10.2.0.1", "10.1.0.1", b"waiting"));
    assert_eq!(lost.len(), 1);
    let first = a.send(&udp("10.1.0.1", "10.2.0.1", b"hello"));
    deliver(&mut a, &mut b, first);
    assert_eq!(a.inbox, [udp("10.2.0.1", "10.1.0.1", b"waiting")]);
    assert_eq!(b.inbox.len(), 1);
}

#[test]
fn both_may_initiate_at_once() {
    let (mut a, mut b) = pair();
    let from_a = a.send(&udp("10.1.0.1", "10.2.0.1", b"from a"));
    let from_b = b.send(&udp("10.2.0.1", "10.1.0.1", b"from b"));
    let mut to_a = Vec::new();
    for message in from_a {
        to_a.extend(b.receive(&message.datagram, a.address));
    }
    let mut to_b = Vec::new();
    for message in from_b {
        to_b.extend(a.receive(&message.datagram, b.address));
    }
    deliver(&mut a, &mut b, to_b);
    deliver(&mut b, &mut a, to_a);
    assert_eq!(a.inbox.len() + b.inbox.len(), 2, "{:?} {:?}", a.refusals, b.refusals);
    let again = a.send(&udp("10.1.0.1", "10.2.0.1", b"again"));
    deliver(&mut a, &mut b, again);
    let again = b.send(&udp("10.2.0.1", "10.1.0.1", b"again"));
    deliver(&mut b, &mut a, again);
    assert_eq!(a.inbox.len() + b.inbox.len(), 4);
}

#[test]
fn a_lost_response_is_made_good_by_the_next_handshake() {
    let (mut a, mut b) = pair();
    let first = a.send(&udp("10.1.0.1", "10.2.0.1", b"hello"));
    let lost = b.receive(&first[0].datagram, a.address);
    assert_eq!(lost.len(), 1);
    b.wait(25);
    let back = b.send(&udp("10.2.0.1", "10.1.0.1", b"my turn"));
    assert_eq!(back[0].datagram.len(), wire::INITIATION_LEN, "no session was confirmed");
    deliver(&mut b, &mut a, back);
    assert_eq!(a.inbox.len(), 1);
    assert_eq!(b.inbox.len(), 1, "what waited at the first initiator is delivered as well");
}

#[test]
fn a_replayed_message_is_delivered_once() {
    let (mut a, mut b) = connected();
    let sealed = a.send(&udp("10.1.0.1", "10.2.0.1", b"once"));
    for _ in 0..3 {
        b.receive(&sealed[0].datagram, a.address);
    }
    assert_eq!(b.inbox.len(), 1);
    assert_eq!(b.refusals, [Refusal::Replayed, Refusal::Replayed]);
}

#[test]
fn messages_reordered_within_the_window_are_all_delivered() {
    let (mut a, mut b) = connected();
    let mut sealed: Vec<_> = (0..1000u16)
        .flat_map(|number| a.send(&udp("10.1.0.1", "10.2.0.1", &number.to_be_bytes())))
        .collect();
    sealed.reverse();
    for message in &sealed {
        b.receive(&message.datagram, a.address);
    }
    assert_eq!(b.inbox.len(), 1000);
    assert_eq!(b.refusals, []);
}

#[test]
fn a_replayed_initiation_is_not_answered() {
    let (mut a, mut b) = pair();
    let first = a.send(&udp("10.1.0.1", "10.2.0.1", b"hello"));
    assert_eq!(b.receive(&first[0].datagram, a.address).len(), 1);
    b.wait(1000);
    assert_eq!(b.receive(&first[0].datagram, a.address).len(), 0);
    assert_eq!(b.refusals, [Refusal::Replayed]);
}

#[test]
fn one_peer_gets_fifty_handshakes_a_second() {
    let (mut a, mut b) = pair();
    let initiations: Vec<_> = (0..3)
        .map(|_| {
            // A fresh start of the peer makes a fresh initiation.
            let mut again = Host::new(1, "192.0.2.1:51820");
            again.add_peer(&b, "allowed_ip=10.2.0.0/16\n");
            again.send(&udp("10.1.0.1", "10.2.0.1", b"hello")).remove(0).datagram
        })
        .collect();
    assert_eq!(b.receive(&initiations[0], a.address).len(), 1);
    b.wait(10);
    assert_eq!(b.receive(&initiations[1], a.address).len(), 0);
    assert_eq!(b.refusals, [Refusal::TooFast]);
    b.wait(10);
    assert_eq!(b.receive(&initiations[2], a.address).len(), 1);
    a.wait(1);
}

#[test]
fn the_wrong_pre_shared_key_makes_no_session() {
    let (mut a, mut b) = pair();
    let (key_a, key_b) = (a.public.to_hex(), b.public.to_hex());
    a.set(&format!("public_key={key_b}\npreshared_key={}\n", "11".repeat(32)));
    b.set(&format!("public_key={key_a}\npreshared_key={}\n", "22".repeat(32)));
    let first = a.send(&udp("10.1.0.1", "10.2.0.1", b"hello"));
    deliver(&mut a, &mut b, first);
    assert_eq!((a.inbox.len(), b.inbox.len()), (0, 0));
    assert_eq!(a.refusals, [Refusal::Forged]);
    b.set(&format!("public_key={key_a}\npreshared_key={}\n", "11".repeat(32)));
    a.set(&format!("public_key={key_b}\nremove=true\n"));
    a.add_peer(&b, &format!("preshared_key={}\nallowed_ip=10.2.0.0/16\n", "11".repeat(32)));
    let again = a.send(&udp("10.1.0.1", "10.2.0.1", b"hello"));
    deliver(&mut a, &mut b, again);
    assert_eq!(b.inbox.len(), 1);
}

/// What a host's timers send at this moment.
fn ticked(host: &mut Host) -> Vec<sealane_tunnel::endpoint::Outgoing> {
    host.wait(1000);
    let mut out = Vec::new();
    host.device.tick(host.now, &mut out);
    out
}

#[test]
fn changing_the_pre_shared_key_at_both_ends_loses_no_packet() {
    let (mut a, mut b) = connected();
    let keys = [b.public.to_hex(), a.public.to_hex()];
    let mut sent = 0;
    let mut exchange = |a: &mut Host, b: &mut Host| {
        let there = a.send(&udp("10.1.0.1", "10.2.0.1", b"there"));
        deliver(a, b, there);
        let back = b.send(&udp("10.2.0.1", "10.1.0.1", b"back"));
        deliver(b, a, back);
        sent += 1;
        assert_eq!((a.inbox.len(), b.inbox.len()), (sent, sent), "{:?}", a.refusals);
    };
    a.set(&format!("public_key={}\npreshared_key={}\n", keys[0], "33".repeat(32)));
    exchange(&mut a, &mut b);
    // Once more, before there was a session with the first.
    a.set(&format!("public_key={}\npreshared_key={}\n", keys[0], "44".repeat(32)));
    exchange(&mut a, &mut b);
    a.set(&format!("public_key={}\npreshared_key={}\n", keys[0], "33".repeat(32)));
    let too_early = ticked(&mut a);
    assert_eq!(too_early[0].datagram.len(), wire::INITIATION_LEN);
    deliver(&mut a, &mut b, too_early);
    exchange(&mut a, &mut b);
    b.set(&format!("public_key={}\npreshared_key={}\n", keys[1], "33".repeat(32)));
    exchange(&mut a, &mut b);
    let handshake = ticked(&mut b);
    deliver(&mut b, &mut a, handshake);
    exchange(&mut a, &mut b);
    let text = a.answer_to_get();
    assert!(text.contains("last_handshake_time_sec=1700000002"), "a new session: {text}");
}

#[test]
fn a_new_private_key_takes_over_when_a_peer_knows_it_and_loses_no_packet() {
    let (mut a, mut b) = connected();
    let successor = Host::new(3, "192.0.2.1:51820");
    let own = PrivateKey::new(Zeroizing::new([3; 32])).unwrap();
    let mut sent = 0;
    let mut exchange = |a: &mut Host, b: &mut Host| {
        let there = a.send(&udp("10.1.0.1", "10.2.0.1", b"there"));
        deliver(a, b, there);
        let back = b.send(&udp("10.2.0.1", "10.1.0.1", b"back"));
        deliver(b, a, back);
        sent += 1;
        assert_eq!((a.inbox.len(), b.inbox.len()), (sent, sent), "{:?}", a.refusals);
    };
    let handshake = |host: &mut Host| {
        host.wait(1000);
        let table = host.device.table();
        table.peers().filter_map(|peer| peer.lane().reinitiate(host.now)).collect::<Vec<_>>()
    };
    let lags = |a: &Host| a.answer_to_get().contains("sealane_lags=true");

    a.set(&format!("sealane_keep_sessions=true\nprivate_key={}\n", *own.expose_hex()));
    assert_eq!(a.device.public_key(), Some(successor.public));
    let too_early = ticked(&mut a);
    assert_eq!(too_early[0].datagram.len(), wire::INITIATION_LEN);
    deliver(&mut a, &mut b, too_early);
    assert_eq!(b.refusals, [Refusal::UnknownPeer]);
    exchange(&mut a, &mut b);
    // Who does not know the new key yet renews the session under the old one.
    let renewal = handshake(&mut b);
    deliver(&mut b, &mut a, renewal);
    exchange(&mut a, &mut b);
    assert!(lags(&a));
    assert_eq!(a.refusals, []);

    b.add_peer(&successor, "sealane_accept_ip=10.1.0.0/16\n");
    let initiation = handshake(&mut a);
    deliver(&mut a, &mut b, initiation);
    assert!(!lags(&a));
    exchange(&mut a, &mut b);
    let late = b.send(&udp("10.2.0.1", "10.1.0.1", b"late"));
    b.set(&format!("public_key={}\nallowed_ip=10.1.0.0/16\n", successor.public.to_hex()));
    exchange(&mut a, &mut b);
    let renewal = handshake(&mut b);
    assert_eq!(renewal.len(), 2, "one for each key");
    let answers: usize = renewal.iter().map(|it| a.receive(&it.datagram, b.address).len()).sum();
    assert_eq!(answers, 1, "the old key makes no further sessions");

    a.wait(180_000);
    ticked(&mut a);
    a.device.forget_predecessor(a.now);
    a.refusals.clear();
    a.receive(&late[0].datagram, b.address);
    assert_eq!(a.refusals.len(), 1, "and what it made has run out");
    a.refusals.clear();
    let old = renewal.iter().map(|it| a.receive(&it.datagram, b.address).len()).sum::<usize>();
    assert_eq!(old, 0);
    assert!(a.refusals.contains(&Refusal::Forged), "the old key is forgotten: {:?}", a.refusals);
}

#[test]
fn setting_the_same_keys_again_keeps_the_session() {
    let (mut a, mut b) = connected();
    let text = a.answer_to_get().replace("get=1\n", "");
    let private = text.lines().next().unwrap().to_owned();
    let key = b.public.to_hex();
    a.set(&format!("{private}\npublic_key={key}\npreshared_key={}\n", "0".repeat(64)));
    let sealed = a.send(&udp("10.1.0.1", "10.2.0.1", b"still here"));
    assert_ne!(sealed[0].datagram.len(), wire::INITIATION_LEN);
    deliver(&mut a, &mut b, sealed);
    assert_eq!(b.inbox.len(), 1);
}

#[test]
fn an_unknown_key_gets_no_answer() {
    let (_, mut b) = pair();
    let mut stranger = Host::new(9, "192.0.2.9:51820");
    stranger.add_peer(&b, "allowed_ip=10.2.0.0/16\n");
    let first = stranger.send(&udp("10.1.0.1", "10.2.0.1", b"hello"));
    deliver(&mut stranger, &mut b, first);
    assert_eq!(b.refusals, [Refusal::UnknownPeer]);
    assert!(b.inbox.is_empty());
}

#[test]
fn a_source_that_is_not_the_peers_is_dropped() {
    let (mut a, mut b) = connected();
    let spoofed = a.send(&udp("10.77.0.1", "10.2.0.1", b"not mine"));
    deliver(&mut a, &mut b, spoofed);
    assert_eq!(b.refusals, [Refusal::SourceNotAllowed]);
    assert!(b.inbox.is_empty());
}

#[test]
fn the_most_specific_owner_of_a_source_is_asked_not_any_owner() {
    let (mut a, mut b) = connected();
    let victim = Host::new(3, "192.0.2.3:51820");
    b.add_peer(&victim, "allowed_ip=10.1.99.0/24\n");
    let spoofed = a.send(&udp("10.1.99.1", "10.2.0.1", b"inside a's /16, but the victim's"));
    deliver(&mut a, &mut b, spoofed);
    assert_eq!(b.refusals, [Refusal::SourceNotAllowed]);
}

#[test]
fn a_prefix_in_the_accept_set_may_be_sent_by_several_and_is_sent_to_one() {
    let (mut a, mut b) = connected();
    let mut second = Host::new(3, "192.0.2.3:51820");
    b.add_peer(&second, "sealane_accept_ip=10.1.0.0/16\nsealane_accept_ip=fd01::/16\n");
    second.add_peer(&b, "allowed_ip=10.2.0.0/16\nallowed_ip=fd02::/16\n");
    for (source, to) in [("10.1.0.1", "10.2.0.1"), ("fd01::1", "fd02::1")] {
        let packet = udp(source, to, b"by the other gateway");
        let sealed = second.send(&packet);
        deliver(&mut second, &mut b, sealed);
        assert_eq!(b.inbox.pop(), Some(packet), "{:?}", b.refusals);
        let reply = b.send(&udp(to, source, b"answer"));
        assert_eq!(reply[0].to.remote, a.address, "the owner alone is sent to");
    }
    let foreign = second.send(&udp("10.3.0.1", "10.2.0.1", b"not in the set"));
    deliver(&mut second, &mut b, foreign);
    assert_eq!(b.refusals, [Refusal::SourceNotAllowed]);
    let key = second.public.to_hex();
    b.set(&format!("public_key={key}\nsealane_accept_ip=-10.1.0.0/16\n"));
    let revoked = second.send(&udp("10.1.0.1", "10.2.0.1", b"no longer"));
    deliver(&mut second, &mut b, revoked);
    assert_eq!(b.refusals.len(), 2);
    a.wait(1);
}

#[test]
fn an_address_that_is_no_longer_on_the_way_is_answered_from_once_it_is_again() {
    let (mut a, mut b) = connected();
    let own = b.address.ip();
    let answers_from = |b: &mut Host| b.send(&udp("10.2.0.1", "10.1.0.1", b"back"))[0].to.local;
    assert_eq!(answers_from(&mut b), Some(own), "where the peer last sent to");
    b.device.review_local_addresses(|_, _| false);
    assert_eq!(answers_from(&mut b), None, "as the kernel chooses");
    let still = a.send(&udp("10.1.0.1", "10.2.0.1", b"by the old way"));
    deliver(&mut a, &mut b, still);
    assert_eq!(answers_from(&mut b), None, "the peer has not followed yet");
    let a_address = a.address;
    b.device.review_local_addresses(|remote, local| (remote, local) == (a_address, own));
    let again = a.send(&udp("10.1.0.1", "10.2.0.1", b"again"));
    deliver(&mut a, &mut b, again);
    assert_eq!(answers_from(&mut b), Some(own));
}

#[test]
fn the_endpoint_follows_authentic_messages_only() {
    let (mut a, mut b) = connected();
    let (home, moved): (SocketAddr, SocketAddr) = (a.address, "203.0.113.5:4444".parse().unwrap());
    let mut forged = a.send(&udp("10.1.0.1", "10.2.0.1", b"forged")).remove(0).datagram;
    let last = forged.len() - 1;
    forged[last] ^= 1;
    b.receive(&forged, moved);
    assert_eq!(b.endpoint_of(&a), Some(home), "a forged message moves nothing");
    let old = a.send(&udp("10.1.0.1", "10.2.0.1", b"old")).remove(0).datagram;
    b.receive(&old, home);
    b.receive(&old, moved);
    assert_eq!(b.endpoint_of(&a), Some(home), "a replayed message moves nothing");
    let fresh = a.send(&udp("10.1.0.1", "10.2.0.1", b"fresh")).remove(0).datagram;
    b.receive(&fresh, moved);
    assert_eq!(b.endpoint_of(&a), Some(moved));
}

#[test]
fn an_initiation_is_answered_to_its_sender_and_moves_nothing_yet() {
    let (mut a, mut b) = connected();
    let (home, moved) = (a.address, "203.0.113.5:4444".parse().unwrap());
    let key = b.public.to_hex();
    a.set(&format!("public_key={key}\nremove=true\n"));
    a.add_peer(&b, "allowed_ip=10.2.0.0/16\n");
    b.wait(1000);
    let first = a.send(&udp("10.1.0.1", "10.2.0.1", b"restarted"));
    let answer = b.receive(&first[0].datagram, moved);
    assert_eq!(answer[0].to.remote, moved);
    assert_eq!(b.endpoint_of(&a), Some(home));
    let confirm = a.receive(&answer[0].datagram, b.address);
    b.receive(&confirm[0].datagram, moved);
    assert_eq!(b.endpoint_of(&a), Some(moved));
}

#[test]
fn packets_are_padded_to_16_bytes_and_never_past_the_mtu() {
    let (mut a, _) = connected();
    for (len, padded) in [(28, 32), (84, 96), (1409, 1420), (1420, 1420)] {
        let packet = udp("10.1.0.1", "10.2.0.1", &vec![0; len - 28]);
        let sealed = a.send(&packet);
        assert_eq!(sealed[0].datagram.len(), padded + wire::DATA_OVERHEAD, "{len} bytes");
    }
}

#[test]
fn no_inner_packet_appears_in_clear() {
    let (mut a, mut b) = pair();
    let needle = b"THE INNER PACKET IN CLEAR";
    let packet = udp("10.1.0.1", "10.2.0.1", needle);
    let mut wire = Vec::new();
    let mut to_b = a.send(&packet);
    let mut to_a = Vec::new();
    while !to_b.is_empty() || !to_a.is_empty() {
        for message in std::mem::take(&mut to_b) {
            to_a.extend(b.receive(&message.datagram, a.address));
            wire.extend(message.datagram);
        }
        for message in std::mem::take(&mut to_a) {
            to_b.extend(a.receive(&message.datagram, b.address));
            wire.extend(message.datagram);
        }
    }
    assert_eq!(b.inbox, [packet]);
    for part in [&needle[..], &[10, 1, 0, 1, 10, 2, 0, 1]] {
        assert!(!wire.windows(part.len()).any(|window| window == part));
    }
}

#[test]
fn the_counters_count_what_was_on_the_wire() {
    let (mut a, mut b) = pair();
    let first = a.send(&udp("10.1.0.1", "10.2.0.1", &[0; 56]));
    deliver(&mut a, &mut b, first);
    // 148 initiation, 32 keepalive, 96 + 32 data; and 92 for the response.
    let text = a.answer_to_get();
    assert!(text.contains("\ntx_bytes=308\nrx_bytes=92\n"), "{text}");
    let text = b.answer_to_get();
    assert!(text.contains("\ntx_bytes=92\nrx_bytes=308\n"), "{text}");
    assert!(text.contains("\nlast_handshake_time_sec=1700000001\n"), "{text}");
}

#[test]
fn a_keepalive_set_on_a_live_device_goes_out_at_once() {
    let (mut a, mut b) = connected();
    let key = b.public.to_hex();
    let sent = a.set(&format!("public_key={key}\npersistent_keepalive_interval=25\n"));
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].datagram.len(), wire::DATA_OVERHEAD);
    deliver(&mut a, &mut b, sent);
    assert_eq!((b.inbox.len(), b.refusals.len()), (0, 0));
    assert!(a.set(&format!("public_key={key}\npersistent_keepalive_interval=20\n")).is_empty());
}

#[test]
fn a_low_order_peer_never_makes_us_send() {
    let mut a = Host::new(1, "192.0.2.1:51820");
    let low = "01".to_owned() + &"0".repeat(62);
    a.set(&format!("public_key={low}\nendpoint=192.0.2.9:1\nallowed_ip=10.2.0.0/16\n"));
    assert!(a.send(&udp("10.1.0.1", "10.2.0.1", b"hello")).is_empty());
}

#[test]
fn our_own_key_is_no_peer() {
    let mut a = Host::new(1, "192.0.2.1:51820");
    let own = a.public.to_hex();
    a.set(&format!("public_key={own}\nallowed_ip=10.2.0.0/16\n"));
    assert!(!a.answer_to_get().contains("public_key"));
}

#[test]
fn a_session_survives_any_inner_bytes() {
    let (mut a, mut b) = connected();
    let lies = {
        let mut packet = udp("10.1.0.1", "10.2.0.1", b"longer than it is");
        packet[2..4].copy_from_slice(&2000u16.to_be_bytes());
        packet
    };
    let mut seventh = udp("10.1.0.1", "10.2.0.1", b"IP version 7");
    let sealed = a.send(&lies);
    deliver(&mut a, &mut b, sealed);
    let table = a.device.table();
    let slot = table.owner("10.2.0.1".parse().unwrap()).unwrap();
    seventh[0] = 0x75;
    let mut out = vec![0; 512];
    let sealed = table.peer(slot).unwrap().lane().seal(&seventh, &mut out, a.now);
    let sealane_tunnel::noise::Sealed::Data { len, .. } = sealed else { panic!("{sealed:?}") };
    b.receive(&out[..len], a.address);
    assert_eq!(b.refusals, [Refusal::Malformed, Refusal::Malformed]);
    let huge = ip("10.1.0.1", "10.2.0.1", 253, vec![7; 65_000], 0);
    let sealed = a.send(&huge);
    deliver(&mut a, &mut b, sealed);
    assert_eq!(b.inbox, [huge]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn hostile_datagrams_change_nothing(
        kind in 0u8..6, index in any::<u32>(), bytes in proptest::collection::vec(any::<u8>(), 0..1600)
    ) {
        let (mut a, mut b) = connected();
        let mut datagram = bytes;
        for (to, from) in datagram.iter_mut().zip([kind, 0, 0, 0].into_iter().chain(index.to_le_bytes())) {
            *to = from;
        }
        let out = b.receive(&datagram, "203.0.113.66:6".parse().unwrap());
        prop_assert!(out.is_empty());
        prop_assert_eq!(b.endpoint_of(&a), Some(a.address));
        let sealed = a.send(&udp("10.1.0.1", "10.2.0.1", b"still"));
        deliver(&mut a, &mut b, sealed);
        prop_assert_eq!(b.inbox.len(), 1);
    }

    #[test]
    fn a_message_changed_anywhere_is_refused(at in 0usize..148, bit in 0u8..8) {
        let (mut a, mut b) = pair();
        let mut first = a.send(&udp("10.1.0.1", "10.2.0.1", b"hello")).remove(0).datagram;
        first[at % wire::INITIATION_LEN] ^= 1 << bit;
        let out = b.receive(&first, a.address);
        // MAC2 is only looked at under load.
        prop_assert!(out.is_empty() || at >= 132);
    }
}
