//! Owns the tests that programs which die cost what they may cost, and no more.

use std::time::Duration;

use nix::sys::signal::Signal;
use sealane_tests::lab::address::Family;
use sealane_tests::lab::wait::until;
use sealane_tests::product::agent;

use crate::stage::{BRIEF, RATE, SPAN, Stage, alone};

on_each_family!(
    no_packet_is_lost_when_an_agent_is_killed_and_restarted,
    lanes_come_back_from_disk_while_the_broker_is_gone,
    traffic_is_back_within_two_seconds_of_a_tunnels_death,
);

fn no_packet_is_lost_when_an_agent_is_killed_and_restarted(family: Family) {
    let _machine = alone();
    let mut stage = Stage::joined("agent-killed", family);
    let flow = stage.flow(RATE, SPAN);
    for (host, _, member) in stage.hosts() {
        stage.agent(&host).restart().unwrap();
        agent::answers(stage.agent(&host)).unwrap();
        agent::comes_to_reach(&host, &stage.others(member)).unwrap();
    }
    let report = flow.finish().unwrap();
    assert!(report.sent > u64::from(RATE), "{report:?}");
    assert_eq!(report.lost, 0, "{report:?}");
}

fn lanes_come_back_from_disk_while_the_broker_is_gone(family: Family) {
    let _machine = alone();
    let mut stage = Stage::joined("broker-gone", family);
    stage.broker.process.kill().unwrap();
    let gateway = stage.berlin.gateway.host.clone();
    stage.agent(&gateway).kill().unwrap();
    // A reboot would have ended these as well: nothing but the disk is left.
    for pid in gateway.find("sealane-tunnel").unwrap() {
        gateway.signal(pid, Signal::SIGKILL).unwrap();
    }
    until(Duration::from_secs(5), "no tunnel is left", || {
        gateway.find("sealane-tunnel").unwrap().is_empty()
    })
    .unwrap();
    stage.agent(&gateway).restart().unwrap();
    agent::answers(stage.agent(&gateway)).unwrap();
    agent::comes_to_reach(&gateway, &["edge"]).unwrap();
    assert_eq!(stage.flow(1000, BRIEF).finish().unwrap().lost, 0);
    let told = agent::status(&gateway).unwrap().broker.unwrap();
    assert!(!told.connected, "{told:?}");

    stage.broker.restart().unwrap();
    until(Duration::from_secs(15), "the agent finds the broker again", || {
        agent::status(&gateway).unwrap().broker.unwrap().connected
    })
    .unwrap();
}

fn traffic_is_back_within_two_seconds_of_a_tunnels_death(family: Family) {
    let _machine = alone();
    let stage = Stage::joined("tunnel-killed", family);
    let gateway = &stage.berlin.gateway.host;
    let killed = gateway.find("sealane-tunnel").unwrap();
    assert!(!killed.is_empty());
    let flow = stage.flow(1000, SPAN);
    for pid in &killed {
        gateway.signal(*pid, Signal::SIGKILL).unwrap();
    }
    until(Duration::from_secs(10), "another tunnel runs", || {
        let running = gateway.find("sealane-tunnel").unwrap();
        !running.is_empty() && running != killed
    })
    .unwrap();
    agent::comes_to_reach(gateway, &["edge"]).unwrap();
    let report = flow.finish().unwrap();
    assert!(report.longest_gap_ms <= 2000.0, "{report:?}");
}
