//! Owns the simulation's runs: a thousand seeds, one seed again, and that a run is its seed's alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use sealane_tests::sim::hostile::LIES;
use sealane_tests::sim::world::{self, Summary};

/// Runs unless `SEALANE_SIM_RUNS` says otherwise; `make test-deep` asks for 1,000.
const RUNS: u64 = 150;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

fn run(seed: u64) -> Summary {
    world::run(seed).unwrap_or_else(|failure| panic!("\n{failure}"))
}

#[test]
fn whatever_fails_no_lane_is_cut_nothing_forged_counts_and_all_works_again_afterwards() {
    if let Some(seed) = number("SEALANE_SIM_SEED") {
        let summary = run(seed);
        println!("{}", summary.story);
        return println!("seed {seed}: works {:?} after the last fault", summary.settled_after);
    }
    let started = Instant::now();
    let runs = number("SEALANE_SIM_RUNS").unwrap_or(RUNS);
    // Each run has one thread; two of them share the seeds.
    let halves = [0, 1].map(|half| {
        std::thread::spawn(move || {
            (half..runs).step_by(2).map(|seed| (seed, run(seed))).fold(
                (Duration::ZERO, 0, 0, Duration::ZERO),
                |(slowest, slow, events, lasted), (seed, summary)| {
                    let (slowest, slow) = (slowest, slow).max((summary.settled_after, seed));
                    (slowest, slow, events + summary.events, lasted + summary.lasted)
                },
            )
        })
    });
    let [one, other] = halves.map(|half| half.join().unwrap_or_else(|_| panic!("see above")));
    let (slowest, slow) = (one.0, one.1).max((other.0, other.1));
    println!(
        "{runs} runs, {} events, {} h of virtual time in {:.1} s; slowest to work again: {slowest:?} (seed {slow})",
        one.2 + other.2,
        (one.3 + other.3).as_secs() / 3_600,
        started.elapsed().as_secs_f64(),
    );
}

/// Seeds among whose stories every fault and every lie is found.
const ENOUGH: u64 = 60;

/// How stories tell of each fault that is drawn, and of its end.
const FAULTS: [&str; 25] = [
    "BrokerAway",
    "BrokerBack",
    "BrokerLoses",
    "BrokerBackedUp",
    "BrokerRollsBack",
    "BrokerHides",
    "BrokerLosesOne",
    "no line to the broker",
    "line to the broker mended",
    "its agent is killed",
    "loses power",
    " starts",
    "its tunnels begin anew",
    "loses its disk",
    "its disk is backed up",
    "its disk is rolled back",
    "its clock is off by",
    "WeatherTurns",
    "are parted",
    "meet again",
    "Rebind",
    "off the list",
    "root lists",
    "root grants",
    " leaves",
];

/// What hosts refuse the lies for.
const REASONS: [&str; 5] = [
    "BadSignature",
    "CertBadSignature",
    "CidrNotGranted",
    "TunnelProofBad",
    "ClusterSetBadSignature",
];

#[test]
fn every_fault_strikes_and_every_lie_is_told_and_refused_for_what_it_is() {
    let stories: Vec<_> = (0..ENOUGH).map(|seed| run(seed).story).collect();
    let told = |words: &str| stories.iter().any(|story| story.tells(words));
    for fault in FAULTS {
        assert!(told(fault), "no run tells {fault:?}");
    }
    for lie in LIES {
        assert!(told(&format!("lies: {lie:?}")), "nobody told {lie:?}");
    }
    for reason in REASONS {
        assert!(told(&format!(": {reason} (")), "nothing was refused as {reason}");
    }
}

#[test]
fn a_seed_tells_the_same_story_every_time() {
    for seed in [3, 14, 15] {
        assert_eq!(run(seed).story, run(seed).story, "seed {seed}");
    }
}
