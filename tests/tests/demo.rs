//! Owns the test that `make demo` tells its story to the end and that every claim of it holds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::Command;

/// What the story promises; each is a line of its summary.
const CLAIMS: [&str; 17] = [
    "every host reaches every member",
    "sealane status is all green",
    "sealane ping edge -> tokyo",
    "sealane trace pod -> remote pod, IPv4",
    "sealane trace pod -> remote pod, IPv6",
    "pod -> remote pod, IPv4 and IPv6, source kept",
    "pod -> remote Service, IPv4 and IPv6, source kept",
    "pod -> edge, IPv4 and IPv6, source kept",
    "edge -> pod, IPv4 and IPv6, source kept",
    "edge -> Service, IPv4 and IPv6, source kept",
    "Gbit/s",
    "agent SIGKILLed and restarted",
    "broker gone, agent restarted meanwhile",
    "tunnel SIGKILLed: flow back in <= 2 s",
    "leave gives the host back",
    "its word on the broker",
    "the others drop it",
];

/// The demo is to be watched: a minute where it runs alone, and this on a busy machine.
const LONGEST_SECONDS: f64 = 90.0;

#[test]
fn the_demo_ends_in_time_and_every_claim_of_it_holds() {
    let ended = Command::new(env!("CARGO_BIN_EXE_demo")).env("NO_COLOR", "1").output().unwrap();
    let told = String::from_utf8(ended.stdout).unwrap();
    assert!(ended.status.success(), "{told}");
    let summary = &told[told.rfind("\n\n ok ").unwrap()..];
    for claim in CLAIMS {
        let line = summary.lines().find(|line| line.contains(claim));
        assert!(line.is_some_and(|line| line.starts_with(" ok ")), "{claim}: {summary}");
    }
    let last = summary.trim_end().lines().last().unwrap();
    let (count, seconds) = last.split_once(" hold, ").unwrap();
    let (held, all) = count.trim().split_once(" of ").unwrap();
    assert_eq!(held, all, "{summary}");
    let seconds: f64 = seconds.strip_suffix(" s").unwrap().parse().unwrap();
    assert!(seconds < LONGEST_SECONDS, "{seconds} s");
}
