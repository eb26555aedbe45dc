//! Path MTU as its users see it: the size found, how soon, and what a change of the path does to it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod weather;

use std::time::Duration;

use proptest::prelude::*;
use sealane_probe::datagram::{Datagram, overhead};
use sealane_probe::health::{Interest, State};
use sealane_probe::mtu::{LOST_IN_A_ROW, MtuSearch, Phase};
use sealane_probe::path::{Path, PathConfig, Rejected};
use sealane_probe::seed::Seed;
use sealane_probe::time::Time;
use weather::{Partition, Sim, V4, V6, Weather};

#[test]
fn a_path_as_wide_as_its_device_is_known_after_two_round_trips() {
    for remote in [V4, V6] {
        let mut sim = Sim::new(1, remote, Interest::Carrying, Weather::fair(ms(10)));
        sim.advance(ms(61));
        assert_eq!(found(&sim), (Some(1420), Phase::Complete));
    }
}

#[test]
fn a_path_too_narrow_for_ipv6_is_told_and_tried_again() {
    let mut sim = Sim::new(1, V6, Interest::Carrying, narrow(1279));
    sim.advance(ms(5_000));
    assert_eq!(found(&sim), (None, Phase::BelowBase));
    assert_eq!(sim.path.report().state, State::Up);
    sim.weather.mtu = 1420;
    sim.advance(ms(36_000));
    assert_eq!(found(&sim), (Some(1420), Phase::Complete));
}

#[test]
fn a_size_is_given_up_after_ten_lost_probes() {
    let mut search = MtuSearch::new(1420, Interest::Carrying);
    search.resume();
    let (mut sent, mut now) = (0, Time::ZERO);
    while search.phase() == Phase::Base {
        sent += u32::from(search.poll(now, ms(80)).is_some());
        now = search.next_wake().unwrap();
    }
    assert_eq!((search.phase(), sent), (Phase::BelowBase, LOST_IN_A_ROW));
}

#[test]
fn only_the_reply_to_the_probe_on_its_way_counts() {
    let mut search = MtuSearch::new(1420, Interest::Carrying);
    search.resume();
    let due = search.poll(Time::ZERO, ms(80)).unwrap();
    assert!(!search.replied(Time(9), due.sequence, due.packet + 1), "another size");
    assert!(!search.replied(Time(9), due.sequence + 1, due.packet), "not sent yet");
    assert_eq!(search.path_mtu(), None);
    assert!(search.replied(Time(9), due.sequence, due.packet));
    assert_eq!(search.path_mtu(), Some(due.packet));
}

#[test]
fn no_size_is_tried_while_a_path_is_in_doubt() {
    for offset in (0..6_000).step_by(50) {
        let mut sim = Sim::new(5, V4, Interest::Carrying, narrow(1420));
        sim.advance(ms(10_000 + offset));
        sim.weather.partitioned = Partition::Both;
        // By then a reply is overdue, whenever the last one came.
        sim.advance(ms(350));
        let before = sim.sent.len();
        sim.advance_until(State::Down, ms(2_000));
        let large: Vec<_> = sim.sent[before..].iter().filter(|(_, size)| *size > 200).collect();
        assert!(large.is_empty(), "cut after {offset} ms: {large:?}");
    }
}

#[test]
fn the_reply_to_a_large_probe_is_taken_once() {
    let config =
        PathConfig { remote: V4, link_mtu: 1420, interest: Interest::Carrying, seed: Seed(1) };
    let mut path = Path::leg(Time::ZERO, config);
    let reply = |path: &mut Path, now| {
        let request = path.poll_transmit(now, None)?;
        let reply = Datagram::parse(&request.payload).unwrap().reply(None);
        Some((request.payload.len(), reply))
    };
    let (_, small) = reply(&mut path, Time::ZERO).unwrap();
    path.received(Time(9), &small).unwrap();
    let (length, large) = reply(&mut path, Time(10)).unwrap();
    assert!(length > 1_000, "{length} bytes");
    assert!(path.received(Time(20), &large).is_ok());
    assert!(matches!(path.received(Time(21), &large), Err(Rejected::Unasked(_))));
}

#[test]
fn headers_take_28_bytes_of_ipv4_and_48_of_ipv6() {
    assert_eq!([V4, V6].map(overhead), [20 + 8, 40 + 8]);
}

#[test]
fn a_black_hole_is_noticed_in_seconds_and_1280_used_meanwhile() {
    let mut sim = Sim::new(2, V4, Interest::Carrying, narrow(1420));
    sim.advance(ms(60_000));
    sim.weather.mtu = 1380;
    sim.advance(ms(5_000 + 1_000));
    assert!(sim.path.report().path_mtu.unwrap() <= 1380);
    sim.advance(ms(10_000));
    assert_eq!(found(&sim), (Some(1380), Phase::Complete));
    assert_eq!(sim.verdicts.len(), 2, "small packets crossed all the time");
}

#[test]
fn a_path_that_grew_is_used_whole_after_ten_minutes() {
    let mut sim = Sim::new(3, V4, Interest::Idle, narrow(1300));
    sim.advance(ms(60_000));
    sim.weather.mtu = 1420;
    sim.advance(ms(500_000));
    assert_eq!(sim.path.report().path_mtu, Some(1300));
    sim.advance(ms(160_000));
    assert_eq!(found(&sim), (Some(1420), Phase::Complete));
}

#[test]
fn an_outage_is_not_a_black_hole_and_the_size_is_proved_again_after_it() {
    let mut sim = Sim::new(4, V4, Interest::Carrying, narrow(1350));
    sim.advance(ms(60_000));
    sim.weather.partitioned = Partition::Both;
    sim.advance(ms(60_000));
    assert_eq!(found(&sim), (Some(1350), Phase::Complete), "what was proved stands meanwhile");
    sim.weather.partitioned = Partition::None;
    sim.weather.mtu = 1420;
    sim.advance(ms(2_000));
    assert_eq!(found(&sim), (Some(1420), Phase::Complete), "the path that returned is wider");
}

#[test]
fn a_size_the_local_stack_refuses_is_given_up_at_once() {
    let mut sim = Sim::new(5, V4, Interest::Carrying, narrow(1420));
    sim.advance(ms(41));
    let last = sim.sent.last().copied().unwrap().1;
    assert_eq!(last, 1420);
    sim.path.refused(sim.now, usize::from(last) - 28);
    let asked = sim.sent.len();
    sim.advance(ms(1));
    assert_eq!(sim.sent[asked].1, 1350, "halfway between 1280 and 1420");
}

#[test]
fn a_smaller_device_mtu_counts_at_once() {
    let mut sim = Sim::new(6, V4, Interest::Carrying, narrow(1420));
    sim.advance(ms(1_000));
    sim.path.set_link_mtu(sim.now, 1320);
    assert_eq!(sim.path.report().path_mtu, Some(1320));
    sim.sent.clear();
    sim.advance(ms(60_000));
    assert!(sim.sent.iter().all(|(_, packet)| *packet <= 1320));
}

#[test]
fn a_device_that_grew_is_used_whole() {
    let mut sim = Sim::new(7, V4, Interest::Carrying, narrow(8_000));
    sim.advance(ms(1_000));
    sim.path.set_link_mtu(sim.now, 8_920);
    sim.advance(ms(20_000));
    assert_eq!(found(&sim), (Some(8_000), Phase::Complete));
}

#[test]
fn a_black_hole_is_noticed_in_seconds_on_a_spare_path_that_is_given_traffic() {
    let mut sim = Sim::new(8, V4, Interest::Idle, narrow(1420));
    sim.advance(ms(30_000));
    sim.weather.mtu = 1380;
    sim.path.set_interest(Interest::Carrying);
    sim.advance(ms(1_000));
    assert!(sim.path.report().path_mtu.unwrap() <= 1380);
}

#[test]
fn probes_lost_while_the_path_is_in_doubt_say_nothing_about_their_size() {
    let mut search = MtuSearch::new(1420, Interest::Carrying);
    let mut now = Time::ZERO;
    for _ in 0..2 * LOST_IN_A_ROW {
        search.resume();
        assert_eq!(search.poll(now, ms(80)).unwrap().packet, 1280);
        search.pause();
        search.pause();
        now = now.after(ms(500));
        assert_eq!((search.poll(now, ms(80)), search.next_wake()), (None, None));
    }
    assert_eq!(search.phase(), Phase::Base);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn the_size_found_is_exactly_the_largest_that_crosses(
        seed: u64, mtu in 1280u16..=1420, six: bool, loss_permille in 0u64..=100,
    ) {
        let remote = if six { V6 } else { V4 };
        let weather = Weather { mtu, loss_permille, spread: ms(5), ..Weather::fair(ms(5)) };
        let mut sim = Sim::new(seed, remote, Interest::Carrying, weather);
        sim.advance(ms(40_000));
        prop_assert_eq!(sim.path.report().path_mtu, Some(mtu));
    }

    #[test]
    fn nothing_larger_than_the_device_or_smaller_than_1280_is_ever_tried(
        seed: u64, mtu in 1200u16..=1500, loss_permille in 0u64..=400,
    ) {
        let weather = Weather { mtu, loss_permille, ..Weather::fair(ms(5)) };
        let mut sim = Sim::new(seed, V4, Interest::Carrying, weather);
        sim.advance(ms(60_000));
        let large: Vec<u16> =
            sim.sent.iter().map(|(_, packet)| *packet).filter(|packet| *packet != 92).collect();
        prop_assert!(large.iter().all(|packet| (1280..=1420).contains(packet)), "{:?}", large);
    }
}

fn found(sim: &Sim) -> (Option<u16>, Phase) {
    let report = sim.path.report();
    (report.path_mtu, report.mtu_phase)
}

fn narrow(mtu: u16) -> Weather {
    Weather { mtu, ..Weather::fair(ms(10)) }
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}
