//! Owns the tests that lanes outlive a disk that takes no more writes, that the status says so, and that
//! all is well once it does again.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use sealane_tests::lab::address::Family;
use sealane_tests::lab::host::Host;
use sealane_tests::lab::wait::{eventually, until};
use sealane_tests::product::agent;
use sealane_tests::product::site::ClusterSite;
use sealane_view::status::{ProblemView, Severity};

use crate::stage::{ENDLESS, Stage, alone};

/// Within which a status tells of the disk, or no longer does.
const TOLD: Duration = Duration::from_secs(5);
/// Within which an agent that starts on a disk that it cannot write has its lanes back.
const COLD: Duration = Duration::from_secs(10);

const STATE: &str = "/var/lib/sealane";

/// A stage whose first gateway has its state on a small disk of its own; nobody has joined.
fn with_a_small_disk(name: &str) -> (Stage, Host) {
    let stage = Stage::bare(name, Family::Dual);
    let host = stage.berlin.gateway.host.clone();
    let mount = format!("mkdir -p {STATE}; mount -t tmpfs -o size=512k,mode=700 none {STATE}");
    host.shell(&mount).unwrap();
    (stage, host)
}

/// What the status says of the disk, with a next step.
fn told(host: &Host) -> Option<ProblemView> {
    let problems = agent::status(host).unwrap().problems;
    let told = problems.into_iter().find(|it| it.reason == "StateNotSaved");
    told.inspect(|it| assert!(it.next.contains("lanes go on"), "{it:?}"))
}

#[track_caller]
fn tells(host: &Host, severity: Severity, cause: &str, next: &str) {
    eventually(TOLD, format!("the status tells: {cause}"), || match told(host) {
        Some(it)
            if it.severity == severity && it.cause.contains(cause) && it.next.contains(next) =>
        {
            Ok(())
        }
        other => Err(format!("{other:?}")),
    })
    .unwrap();
}

#[test]
fn on_a_full_disk_lanes_go_on_and_what_is_new_counts_once_there_is_room() {
    let _machine = alone();
    let (mut stage, host) = with_a_small_disk("disk-full");
    let tokyo = ClusterSite::new(&stage.ground, "tokyo", 2).unwrap();
    stage.tokyo = Some(tokyo);
    stage.start_agents();
    stage.join_berlin();
    stage.join_edge();
    agent::comes_to_reach(&host, &["edge"]).unwrap();
    agent::comes_to_reach(&stage.edge.host, &["berlin"]).unwrap();

    let flow = stage.flow(1000, ENDLESS);
    host.shell(&format!("dd if=/dev/zero of={STATE}/filler bs=1k 2>/dev/null || true")).unwrap();
    tells(&host, Severity::Notice, "no space is left", "free space there");
    stage.join(stage.tokyo.as_ref().unwrap());
    agent::comes_to_reach(&stage.edge.host, &["berlin", "tokyo"]).unwrap();
    tells(&host, Severity::Part, "No space left on device", "free space there");
    // What a crash would take back does not count: there is no lane to who is new.
    let lanes = host.run("wg show sealane0 peers").unwrap();
    assert_eq!(lanes.lines().count(), 1, "{lanes}");
    assert!(host.run("sealane status").is_err(), "exit code 0");

    host.run(&format!("rm {STATE}/filler")).unwrap();
    let freed = Instant::now();
    agent::comes_to_reach(&host, &["edge", "tokyo"]).unwrap();
    let took = freed.elapsed();
    until(TOLD, "nothing is told any more", || told(&host).is_none()).unwrap();
    let report = flow.stop().unwrap();
    println!(
        "disk full: {} of {} packets lost; new lane {took:?} after room",
        report.lost, report.sent
    );
    assert_eq!(report.lost, 0, "{report:?}");
}

#[test]
fn an_agent_that_starts_on_a_read_only_disk_has_its_lanes_back() {
    let _machine = alone();
    let (mut stage, host) = with_a_small_disk("disk-read-only");
    stage.start_agents();
    stage.join_berlin();
    stage.join_edge();
    stage.await_lanes();
    stage.endpoints_are_saved(&host);

    host.run(&format!("mount -o remount,ro {STATE}")).unwrap();
    stage.agent(&host).kill().unwrap();
    for pid in host.find("sealane-tunnel").unwrap() {
        host.signal(pid, Signal::SIGKILL).unwrap();
    }
    until(TOLD, "no tunnel is left", || host.find("sealane-tunnel").unwrap().is_empty()).unwrap();
    let begin = Instant::now();
    stage.agent(&host).restart().unwrap();
    agent::answers(stage.agent(&host)).unwrap();
    agent::comes_to_reach(&host, &["edge"]).unwrap();
    let took = begin.elapsed();
    println!("disk read-only: lanes {} ms after a cold start", took.as_millis());
    assert!(took <= COLD, "{took:?}");
    stage.await_lanes();
    stage.loses_nothing();
    tells(&host, Severity::Notice, "mounted read-only", "mount it writable");
    let signed = |host: &Host| {
        let problems = agent::status(host).unwrap().problems;
        problems.iter().all(|it| it.reason != "NotSigned")
    };
    until(TOLD, "its own word is not signed", || !signed(&host)).unwrap();

    host.run(&format!("mount -o remount,rw {STATE}")).unwrap();
    until(TOLD, "nothing is told any more", || told(&host).is_none() && signed(&host)).unwrap();
    stage.loses_nothing();
}
