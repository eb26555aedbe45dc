//! Datagrams nobody of ours wrote, floods, replays and lies: what is refused, and that nothing else
//! happens.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::IpAddr;
use std::time::Duration;

use proptest::prelude::*;
use sealane_probe::datagram::{Datagram, Digest, HEADER_BYTES, Kind, Malformed};
use sealane_probe::health::{Interest, State};
use sealane_probe::path::{Path, PathConfig, PathReport, Rejected};
use sealane_probe::responder::{ANSWERS_PER_SECOND, BURST, Responder, Silence};
use sealane_probe::seed::Seed;
use sealane_probe::time::Time;

#[test]
fn a_request_has_the_documented_bytes() {
    let digest =
        Digest { link_index: 1, version: 0x0203, hash: *b"hashhash", positions: *b"position" };
    let request = Datagram {
        kind: Kind::Request,
        size: 66,
        sequence: 0x1122_3344_5566_7788,
        nonce: 0x0102_0304_0506_0708,
        sent: Time(1_000_000),
        digest: Some(digest),
    };
    let hex: String = request.encode().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        hex,
        "5ea101010100004211223344556677880102030405060708\
         00000000000f42400000000000000001000000000000020368617368686173\
         68706f736974696f6e0000"
    );
}

#[test]
fn each_kind_of_damage_has_its_own_reason() {
    let good = request(80).encode();
    let damaged = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        Datagram::parse(&bytes)
    };
    assert_eq!(Datagram::parse(&[]), Err(Malformed::Short(0)));
    assert_eq!(Datagram::parse(&good[..63]), Err(Malformed::Short(63)));
    assert_eq!(Datagram::parse(&good[..79]), Err(Malformed::Size { said: 80, seen: 79 }));
    assert_eq!(damaged(0, 0), Err(Malformed::Magic([0, 0xa1])));
    assert_eq!(damaged(2, 2), Err(Malformed::Version(2)));
    assert_eq!(damaged(3, 3), Err(Malformed::Kind(3)));
    assert_eq!(damaged(4, 2), Err(Malformed::Reserved));
    assert_eq!(damaged(5, 1), Err(Malformed::Reserved));
    assert_eq!(damaged(40, 1), Err(Malformed::Reserved), "a digest that is said to be absent");
    assert_eq!(damaged(79, 1), Err(Malformed::Reserved), "padding");
    assert_eq!(
        Datagram::parse(&[&request(64).reply(None)[..], &[0]].concat()),
        Err(Malformed::Size { said: 64, seen: 65 }),
        "a reply is never padded"
    );
}

#[test]
fn a_path_takes_only_replies_it_asked_for_and_each_once() {
    let mut path = path(1);
    let sent = path.poll_transmit(Time::ZERO, None).unwrap().payload;
    let asked = Datagram::parse(&sent).unwrap();
    let before = path.report();
    let lies = [
        (sent.clone(), Rejected::Request),
        (Datagram { nonce: asked.nonce ^ 1, ..asked }.reply(None).to_vec(), Rejected::Nonce(0)),
        (Datagram { sequence: 7, ..asked }.reply(None).to_vec(), Rejected::Nonce(7)),
        (Datagram { sent: Time(5), ..asked }.reply(None).to_vec(), Rejected::Unasked(0)),
        (Datagram { size: 1252, ..asked }.reply(None).to_vec(), Rejected::Nonce(0)),
    ];
    for (bytes, reason) in lies {
        assert_eq!(path.received(Time(1_000), &bytes), Err(reason));
        assert_eq!(path.report(), before);
    }
    let truth = asked.reply(None);
    path.received(Time(1_000), &truth).unwrap();
    assert_eq!(path.report().state, State::Up);
    assert_eq!(path.received(Time(2_000), &truth), Err(Rejected::Duplicate(0)));
}

#[test]
fn replies_to_an_earlier_run_do_not_bring_a_path_up() {
    let (mut old, mut new) = (path(1), path(2));
    let asked = Datagram::parse(&old.poll_transmit(Time::ZERO, None).unwrap().payload).unwrap();
    new.poll_transmit(Time::ZERO, None).unwrap();
    assert_eq!(new.received(Time(9), &asked.reply(None)), Err(Rejected::Nonce(0)));
}

#[test]
fn digests_travel_both_ways() {
    let ours = Digest { link_index: 0, version: 7, hash: [1; 8], positions: [2; 8] };
    let theirs = Digest { version: 8, ..ours };
    let mut path = path(1);
    let asked = path.poll_transmit(Time::ZERO, Some(ours)).unwrap();
    let mut responder = responder();
    let answer = responder.answer(Time::ZERO, peer(), &asked.payload, Some(theirs)).unwrap();
    assert_eq!(answer.digest, Some(ours));
    assert_eq!(path.received(Time(9), &answer.payload).unwrap().digest, Some(theirs));
}

#[test]
fn strangers_replies_and_noise_get_no_answer() {
    let mut responder = responder();
    let stranger: IpAddr = "192.0.2.1".parse().unwrap();
    let asked = request(64);
    let answer = |responder: &mut Responder, source, bytes: &[u8]| {
        responder.answer(Time::ZERO, source, bytes, None).map(|_| ())
    };
    let refused = answer(&mut responder, stranger, &asked.encode());
    assert_eq!(refused, Err(Silence::UnknownSource(stranger)));
    assert_eq!(answer(&mut responder, peer(), &asked.reply(None)), Err(Silence::Reply));
    assert_eq!(
        answer(&mut responder, peer(), b"noise"),
        Err(Silence::Malformed(Malformed::Short(5)))
    );
    assert_eq!(answer(&mut responder, peer(), &asked.encode()), Ok(()));
}

#[test]
fn a_source_named_again_keeps_its_count_and_one_no_longer_named_is_forgotten() {
    let mut responder = responder();
    let asked = request(64).encode();
    let mut answered = 0;
    while responder.answer(Time::ZERO, peer(), &asked, None).is_ok() {
        answered += 1;
    }
    assert_eq!(answered, BURST);
    responder.set_sources(Time::ZERO, [peer()]);
    let refused = responder.answer(Time::ZERO, peer(), &asked, None);
    assert_eq!(refused, Err(Silence::TooMany(peer())));
    responder.set_sources(Time::ZERO, []);
    let refused = responder.answer(Time::ZERO, peer(), &asked, None);
    assert_eq!(refused, Err(Silence::UnknownSource(peer())));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_bytes_are_read_without_panic_and_what_is_accepted_has_one_form(
        mut bytes in prop::collection::vec(any::<u8>(), 0..200), plausible: bool,
    ) {
        if plausible && bytes.len() >= 8 {
            let size = u16::try_from(bytes.len()).unwrap().to_be_bytes();
            let (kind, flags) = (bytes[3] % 3, bytes[4] % 3);
            bytes[..8].copy_from_slice(&[0x5e, 0xa1, 1, kind, flags, 0, size[0], size[1]]);
            bytes.iter_mut().skip(64).for_each(|byte| *byte = 0);
        }
        if let Ok(datagram) = Datagram::parse(&bytes) {
            prop_assert_eq!(datagram.encode(), bytes);
        }
    }

    #[test]
    fn what_is_written_is_read_back(datagram in datagrams()) {
        prop_assert_eq!(Datagram::parse(&datagram.encode()), Ok(datagram));
    }

    #[test]
    fn no_changed_byte_goes_unnoticed(datagram in datagrams(), at: prop::sample::Index, change in 1u8..) {
        let mut bytes = datagram.encode();
        let at = at.index(bytes.len());
        bytes[at] ^= change;
        prop_assert_ne!(Datagram::parse(&bytes), Ok(datagram));
    }

    #[test]
    fn an_answer_is_never_larger_than_its_request(
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            datagrams().prop_map(|datagram| datagram.encode()),
        ],
    ) {
        if let Ok(answer) = responder().answer(Time::ZERO, peer(), &bytes, None) {
            prop_assert!(answer.payload.len() <= bytes.len());
        }
    }

    #[test]
    fn a_flood_is_answered_no_more_than_the_rate_allows(
        gaps_us in prop::collection::vec(0u64..20_000, 1..1500),
    ) {
        let mut responder = responder();
        let asked = request(64).encode();
        let (mut now, mut answers) = (Time::ZERO, 0);
        for gap_us in gaps_us {
            now = now.after(Duration::from_micros(gap_us));
            answers += u64::from(responder.answer(now, peer(), &asked, None).is_ok());
        }
        prop_assert!(answers <= BURST + now.0 * ANSWERS_PER_SECOND / 1_000_000);
    }

    #[test]
    fn whatever_arrives_and_whenever_it_is_polled_a_path_stands(
        seed: u64, steps in prop::collection::vec((any::<u8>(), any::<u32>(), datagrams()), 1..200),
    ) {
        let mut path = path(seed);
        let mut now = Time::ZERO;
        let mut last = None;
        for (step, wait, datagram) in steps {
            now = now.after(Duration::from_micros(u64::from(wait) >> (step % 24)));
            match step % 5 {
                0 => { let _ = path.received(now, &datagram.encode()); }
                1 => if let Some(asked) = last.take() {
                    let asked: Datagram = asked;
                    path.received(now, &asked.reply(None)).unwrap();
                },
                2 => path.refused(now, usize::from(datagram.size)),
                3 => path.set_link_mtu(now, datagram.size),
                _ => while let Some(transmit) = path.poll_transmit(now, datagram.digest) {
                    let asked = Datagram::parse(&transmit.payload).unwrap();
                    if asked.size == HEADER_BYTES {
                        last = Some(asked);
                    }
                },
            }
            assert_sane(&path.report(), now);
        }
    }
}

fn assert_sane(report: &PathReport, now: Time) {
    assert!(report.since <= now && report.loss.lost <= report.loss.decided);
    assert!(report.loss.decided <= 100 && report.loss.permille() <= 1000);
    assert!(report.path_mtu.is_none_or(|mtu| mtu >= 1280));
    assert!(report.state != State::Up || report.last_reply.is_some());
}

fn datagrams() -> impl Strategy<Value = Datagram> {
    let digest = (any::<u64>(), any::<u64>(), any::<[u8; 8]>(), any::<[u8; 8]>()).prop_map(
        |(link_index, version, hash, positions)| Digest { link_index, version, hash, positions },
    );
    let header = (any::<bool>(), 64u16..1500, any::<[u64; 3]>(), prop::option::of(digest));
    header.prop_map(|(asks, size, [sequence, nonce, sent], digest)| Datagram {
        kind: if asks { Kind::Request } else { Kind::Reply },
        size,
        sequence,
        nonce,
        sent: Time(sent),
        digest,
    })
}

fn request(size: u16) -> Datagram {
    Datagram { kind: Kind::Request, size, sequence: 1, nonce: 2, sent: Time(3), digest: None }
}

fn path(seed: u64) -> Path {
    let interest = Interest::Carrying;
    Path::leg(Time::ZERO, PathConfig { remote: peer(), link_mtu: 1420, interest, seed: Seed(seed) })
}

fn responder() -> Responder {
    let mut responder = Responder::default();
    responder.set_sources(Time::ZERO, [peer()]);
    responder
}

fn peer() -> IpAddr {
    "10.1.11.1".parse().unwrap()
}
