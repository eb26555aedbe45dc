//! Liveness as its users see it: how soon a death is noticed, and what does not count as one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod weather;

use std::time::Duration;

use proptest::prelude::*;
use sealane_probe::health::{FIRST_VERDICT, Health, Interest, State};
use sealane_probe::seed::Seed;
use sealane_probe::time::Time;
use weather::{Partition, Sim, V4, V6, Weather};

#[test]
fn the_first_reply_brings_a_path_up() {
    for remote in [V4, V6] {
        let mut sim = Sim::new(1, remote, Interest::Idle, Weather::fair(ms(10)));
        assert_eq!(sim.advance_until(State::Up, ms(100)), ms(20));
        assert_eq!(sim.path.report().rtt.unwrap().last_us, 20_000);
    }
}

#[test]
fn a_path_that_never_answers_is_unknown_first_and_then_down() {
    let mut sim = Sim::new(1, V4, Interest::Idle, cut(ms(1)));
    sim.advance(Duration::from_secs(60));
    assert_eq!(
        sim.verdicts,
        [(Time::ZERO, State::Unknown), (Time::ZERO.after(FIRST_VERDICT), State::Down)]
    );
}

#[test]
fn a_late_handshake_is_noticed_at_once_while_the_path_is_young() {
    let mut sim = Sim::new(1, V4, Interest::Idle, cut(ms(1)));
    sim.advance(Duration::from_secs(5));
    sim.weather.partitioned = Partition::None;
    assert!(sim.advance_until(State::Up, ms(300)) <= ms(223));
}

#[test]
fn the_death_of_a_path_that_carries_traffic_is_noticed_within_a_second() {
    let table = [(1, 777), (50, 826), (100, 936)];
    for (rtt_ms, bound_ms) in table {
        for seed in 0..200 {
            let took = time_to_notice(seed, rtt_ms, Interest::Carrying, 0);
            assert!(took <= ms(bound_ms), "{took:?} at RTT {rtt_ms} ms, seed {seed}");
        }
    }
}

#[test]
fn a_young_path_whose_first_probe_waited_for_a_handshake_is_missed_as_soon_as_any() {
    for seed in 0..200 {
        let mut sim = Sim::new(seed, V4, Interest::Carrying, Weather::fair(ms(1_500)));
        sim.advance(ms(10));
        sim.weather = Weather::fair(ms(1));
        let before = 2_500 + sim.roll(500);
        sim.advance(ms(before));
        assert_eq!(sim.path.report().state, State::Up);
        assert!(sim.path.report().rtt.unwrap().smoothed_us < 100_000);
        sim.weather.partitioned = Partition::Both;
        let took = sim.advance_until(State::Down, ms(5_000));
        assert!(took <= ms(1_000), "{took:?}, seed {seed}");
    }
}

#[test]
fn the_death_of_a_path_that_no_other_waits_for_is_noticed_within_two_seconds() {
    for interest in [Interest::Alone, Interest::Idle] {
        for seed in 0..200 {
            assert!(time_to_notice(seed, 100, interest, 0) <= ms(1816));
        }
    }
}

#[test]
fn a_path_that_no_other_waits_for_is_probed_a_fifth_as_often() {
    let sent = |interest| {
        let mut sim = Sim::new(1, V4, interest, Weather::fair(ms(10)));
        sim.advance(Duration::from_secs(100));
        sim.sent.iter().filter(|(at, _)| at.since_origin() > Duration::from_secs(20)).count()
    };
    assert!(sent(Interest::Alone) * 4 < sent(Interest::Carrying));
}

#[test]
fn the_death_of_a_lossy_path_is_noticed_within_a_second() {
    for seed in 0..200 {
        assert!(time_to_notice(seed, 20, Interest::Carrying, 200) <= ms(1000));
    }
}

#[test]
fn a_path_that_answers_but_does_not_hear_us_is_down() {
    let mut sim = Sim::new(4, V6, Interest::Carrying, Weather::fair(ms(5)));
    sim.advance(Duration::from_secs(10));
    sim.weather.partitioned = Partition::ThereOnly;
    sim.advance_until(State::Down, ms(1000));
}

#[test]
fn a_fifth_lost_in_each_direction_never_takes_a_path_down() {
    for (seed, interest) in [(1, Interest::Carrying), (2, Interest::Carrying), (3, Interest::Idle)]
    {
        let weather = Weather {
            loss_permille: 200,
            duplicate_permille: 50,
            spread: ms(15),
            ..Weather::fair(ms(10))
        };
        let mut sim = Sim::new(seed, V4, interest, weather);
        sim.advance(Duration::from_secs(6 * 3600));
        assert_eq!(sim.verdicts.len(), 2, "flapped with seed {seed}: {:?}", sim.verdicts);
        let lost = sim.path.report().loss.permille();
        assert!(
            (200..550).contains(&lost),
            "360 permille of round trips are lost, {lost} reported"
        );
    }
}

#[test]
fn duplicates_and_reordering_are_not_loss() {
    let weather = Weather { duplicate_permille: 500, spread: ms(60), ..Weather::fair(ms(5)) };
    let mut sim = Sim::new(9, V4, Interest::Carrying, weather);
    sim.advance(Duration::from_secs(600));
    let report = sim.path.report();
    assert_eq!((report.state, report.loss.lost, sim.verdicts.len()), (State::Up, 0, 2));
    assert!(report.rtt.unwrap().last_us >= 10_000);
}

#[test]
fn what_was_sent_before_a_path_was_there_is_not_lost_on_it_and_an_outage_is() {
    for silent in [ms(3_000), ms(30_000)] {
        let mut sim = Sim::new(4, V4, Interest::Carrying, cut(ms(5)));
        sim.advance(silent);
        sim.weather.partitioned = Partition::None;
        sim.advance_until(State::Up, Duration::from_secs(3));
        sim.advance(ms(3_000));
        let loss = sim.path.report().loss;
        assert_eq!(loss.lost, 0, "silent for {silent:?}");
        assert!(loss.decided >= 10, "{loss:?}");
        sim.weather.partitioned = Partition::Both;
        sim.advance_until(State::Down, Duration::from_secs(3));
        sim.weather.partitioned = Partition::None;
        sim.advance_until(State::Up, Duration::from_secs(3));
        assert!(sim.path.report().loss.lost >= 14, "{:?}", sim.path.report().loss);
    }
}

#[test]
fn a_path_grown_slow_stays_up_and_its_new_rtt_is_learnt() {
    let mut sim = Sim::new(2, V4, Interest::Carrying, Weather::fair(ms(10)));
    sim.advance(Duration::from_secs(30));
    sim.weather.delay = ms(190);
    sim.advance(Duration::from_secs(30));
    assert_eq!(sim.verdicts.len(), 2);
    let smoothed = sim.path.report().rtt.unwrap().smoothed_us;
    assert!((375_000..=381_000).contains(&smoothed), "{smoothed} us");
}

#[test]
fn a_stalled_agent_does_not_find_its_paths_down() {
    let mut sim = Sim::new(3, V4, Interest::Carrying, Weather::fair(ms(10)));
    sim.advance(Duration::from_secs(30));
    for stall_s in [1, 2, 60, 3600] {
        sim.stall(Duration::from_secs(stall_s));
        sim.advance(Duration::from_secs(10));
    }
    assert_eq!(sim.verdicts.len(), 2, "{:?}", sim.verdicts);
}

#[test]
fn a_stall_is_not_taken_for_a_slow_path() {
    let mut sim = Sim::new(3, V4, Interest::Carrying, Weather::fair(ms(10)));
    sim.advance(Duration::from_secs(30));
    let asked = sim.sent.len();
    while sim.sent.len() == asked {
        sim.advance(ms(1));
    }
    sim.stall(Duration::from_secs(3600));
    sim.advance(Duration::from_secs(1));
    sim.weather.partitioned = Partition::Both;
    sim.advance_until(State::Down, ms(1000));
}

#[test]
fn a_path_that_returns_is_up_within_two_seconds_but_not_on_one_lucky_reply() {
    let mut sim = Sim::new(5, V4, Interest::Carrying, Weather::fair(ms(10)));
    sim.advance(Duration::from_secs(10));
    sim.weather.partitioned = Partition::Both;
    sim.advance(Duration::from_secs(20));
    sim.weather.partitioned = Partition::None;
    let took = sim.advance_until(State::Up, ms(2000));
    assert!(took <= ms(1100 + 2 * 110 + 20), "{took:?}");
    assert!(sim.path.report().answered_in_a_row >= 3);
}

#[test]
fn every_other_reply_does_not_bring_a_path_up() {
    let mut health = down();
    for _ in 0..20 {
        let (now, sequence) = next_probe(&mut health);
        health.replied(now, sequence, now);
        assert_eq!(health.answered_in_a_row(), 1, "probe {sequence}");
        next_probe(&mut health);
    }
    assert_eq!(health.state(), State::Down);
}

#[test]
fn a_reply_is_not_taken_back_by_the_loss_of_what_was_sent_before_it() {
    let mut health = down();
    let (first, sequence) = next_probe(&mut health);
    health.replied(first.after(ms(200)), sequence, first);
    let (lost, _) = next_probe(&mut health);
    let (second, sequence) = next_probe(&mut health);
    assert!(second.since(lost) < ms(200), "both are on their way");
    health.replied(second.after(ms(200)), sequence, second);
    assert_eq!(health.answered_in_a_row(), 2);
    health.poll(lost.after(ms(650)));
    assert_eq!((health.loss().lost > 0, health.answered_in_a_row()), (true, 2));
}

#[test]
fn a_path_that_went_down_has_no_round_trip_time_until_it_answers_again() {
    let mut sim = Sim::new(6, V4, Interest::Carrying, Weather::fair(ms(10)));
    sim.advance(ms(3_000));
    assert!(sim.path.report().rtt.is_some());
    sim.weather.partitioned = Partition::Both;
    sim.advance_until(State::Down, ms(2_000));
    assert_eq!(sim.path.report().rtt, None);
    sim.weather = Weather::fair(ms(40));
    sim.advance_until(State::Up, ms(3_000));
    assert!(sim.path.report().rtt.unwrap().smoothed_us >= 80_000, "the old way's is forgotten");
}

#[test]
fn a_path_that_is_down_is_probed_once_a_second() {
    let mut sim = Sim::new(6, V4, Interest::Carrying, cut(ms(1)));
    sim.advance(Duration::from_secs(20));
    let before = sim.sent.len();
    sim.advance(Duration::from_secs(60));
    let sent = sim.sent.len() - before;
    assert!((54..=67).contains(&sent), "{sent} in a minute");
}

/// Down, and never up.
fn down() -> Health {
    let mut health = Health::new(Time::ZERO, Seed(3), Interest::Carrying);
    while health.state() != State::Down {
        let wake = health.next_wake();
        health.poll(wake);
    }
    health
}

/// Polls until a probe is due; returns when, and its number.
fn next_probe(health: &mut Health) -> (Time, u64) {
    loop {
        let wake = health.next_wake();
        if let Some(due) = health.poll(wake) {
            return (wake, due.sequence);
        }
    }
}

#[test]
fn a_spare_path_costs_about_one_small_packet_a_second() {
    let mut sim = Sim::new(6, V4, Interest::Idle, Weather::fair(ms(10)));
    sim.advance(Duration::from_secs(60));
    sim.sent.clear();
    sim.advance(Duration::from_secs(600));
    let small = sim.sent.iter().filter(|(_, packet)| *packet == 64 + 28).count();
    assert!((560..=640).contains(&small), "{small} in 600 s");
    assert!(sim.sent.len() - small <= 11, "{} large ones", sim.sent.len() - small);
}

#[test]
fn a_spare_path_that_is_given_traffic_is_watched_closely_at_once() {
    let mut sim = Sim::new(7, V4, Interest::Idle, Weather::fair(ms(1)));
    sim.advance(Duration::from_secs(10));
    sim.path.set_interest(Interest::Carrying);
    sim.weather.partitioned = Partition::Both;
    sim.advance_until(State::Down, ms(778));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn an_outage_under_400_ms_never_takes_a_path_down(
        seed: u64, begins_ms in 5_000u64..8_000, lasts_ms in 1u64..=400, rtt_ms in 0u64..60,
    ) {
        let mut sim = Sim::new(seed, V4, Interest::Carrying, Weather::fair(Duration::from_micros(rtt_ms * 500)));
        sim.advance(ms(begins_ms));
        sim.weather.partitioned = Partition::Both;
        sim.advance(ms(lasts_ms));
        sim.weather.partitioned = Partition::None;
        sim.advance(ms(5_000));
        prop_assert_eq!(sim.verdicts.len(), 2);
    }

    #[test]
    fn the_same_seed_and_weather_give_the_same_probes(seed: u64, loss_permille in 0u64..500) {
        let run = || {
            let weather = Weather { loss_permille, spread: ms(30), ..Weather::fair(ms(5)) };
            let mut sim = Sim::new(seed, V6, Interest::Carrying, weather);
            sim.advance(ms(20_000));
            (sim.sent, sim.verdicts, sim.path.report())
        };
        prop_assert_eq!(run(), run());
    }
}

fn time_to_notice(seed: u64, rtt_ms: u64, interest: Interest, loss_permille: u64) -> Duration {
    let weather = Weather { loss_permille, ..Weather::fair(Duration::from_micros(rtt_ms * 500)) };
    let mut sim = Sim::new(seed, V4, interest, weather);
    let before = 20_000 + sim.roll(2_000);
    sim.advance(ms(before));
    assert_eq!(sim.path.report().state, State::Up);
    sim.weather.partitioned = Partition::Both;
    let death = sim.now;
    sim.advance(ms(5_000));
    let (noticed, state) = *sim.verdicts.last().unwrap();
    assert_eq!(state, State::Down);
    noticed.since(death)
}

fn cut(one_way: Duration) -> Weather {
    Weather { partitioned: Partition::Both, ..Weather::fair(one_way) }
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}
