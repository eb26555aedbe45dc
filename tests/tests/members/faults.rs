//! Owns the tests that programs which die cost what they may cost, and no more.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use sealane_tests::lab::address::Family;
use sealane_tests::lab::host::Host;
use sealane_tests::lab::wait::{eventually, throughout, until};
use sealane_tests::product::agent;
use sealane_view::status::MemberState;

use crate::stage::{RATE, Stage, alone};

/// How long an agent is away: others have found out after 777 ms (a gateway) or a second more.
const AWAY: Duration = Duration::from_secs(2);
/// The gap that a killed tunnel may cause, in milliseconds.
const TUNNEL_GAP_MS: f64 = 2000.0;

on_each_family!(
    no_packet_is_lost_while_an_agent_is_dead_nor_when_it_returns,
    lanes_come_back_from_disk_while_the_broker_is_gone,
    traffic_is_back_within_two_seconds_of_a_tunnels_death,
);

fn no_packet_is_lost_while_an_agent_is_dead_nor_when_it_returns(family: Family) {
    let _machine = alone();
    let mut stage = Stage::joined("agent-killed", family);
    let begin = Instant::now();
    let flows = stage.flows(RATE);
    for (host, _, member) in stage.hosts() {
        stage.agent(&host).kill().unwrap();
        throughout(AWAY, "the agent is away", || match agent::status(&host) {
            Ok(status) => Err(format!("{status:?}")),
            Err(_) => Ok(()),
        })
        .unwrap();
        others_find_it_dead(&stage, &host, member);
        stage.agent(&host).restart().unwrap();
        agent::answers(stage.agent(&host)).unwrap();
        agent::comes_to_reach(&host, &stage.others(member)).unwrap();
    }
    let spanned = begin.elapsed().as_secs_f64();
    for flow in flows {
        let report = flow.stop().unwrap();
        println!("agents killed: {} of {} packets lost", report.lost, report.sent);
        assert!(report.seconds + 3.0 > spanned, "{spanned} s: {report:?}");
        assert_eq!(report.lost, 0, "{report:?}");
    }
}

/// Of a gateway; nobody depends on the agent of another node.
fn others_find_it_dead(stage: &Stage, host: &Host, member: &str) {
    let other = match (host.name() == stage.berlin.worker.host.name(), member) {
        (true, _) => return,
        (false, "edge") => &stage.berlin.gateway.host,
        (false, _) => &stage.edge.host,
    };
    eventually(AWAY, format!("{} misses {}", other.name(), host.name()), || {
        let status = agent::status(other).map_err(|error| error.to_string())?;
        match status.members.iter().all(|it| it.state == MemberState::Down) {
            true => Ok(()),
            false => Err(format!("{:?}", status.members)),
        }
    })
    .unwrap();
}

fn lanes_come_back_from_disk_while_the_broker_is_gone(family: Family) {
    let _machine = alone();
    let mut stage = Stage::joined("broker-gone", family);
    stage.broker.process.kill().unwrap();
    for (host, _, member) in stage.hosts() {
        stage.endpoints_are_saved(&host);
        stage.agent(&host).kill().unwrap();
        kill_tunnels(&host);
        let begin = Instant::now();
        stage.agent(&host).restart().unwrap();
        agent::answers(stage.agent(&host)).unwrap();
        agent::comes_to_reach(&host, &stage.others(member)).unwrap();
        println!("cold start of {}: lanes {} ms later", host.name(), begin.elapsed().as_millis());
        let told = agent::status(&host).unwrap().broker.unwrap();
        assert!(!told.connected, "{told:?}");
    }
    stage.await_lanes();
    stage.loses_nothing();

    stage.broker.restart().unwrap();
    for (host, ..) in stage.hosts() {
        until(Duration::from_secs(15), "the agent finds the broker again", || {
            agent::status(&host).unwrap().broker.unwrap().connected
        })
        .unwrap();
    }
}

/// A reboot would have ended them as well: nothing but the disk is left.
fn kill_tunnels(host: &Host) {
    for pid in host.find("sealane-tunnel").unwrap() {
        host.signal(pid, Signal::SIGKILL).unwrap();
    }
    until(Duration::from_secs(5), "no tunnel is left", || {
        host.find("sealane-tunnel").unwrap().is_empty()
    })
    .unwrap();
}

/// Of the side that is called, and of the side that nobody can call.
fn traffic_is_back_within_two_seconds_of_a_tunnels_death(family: Family) {
    let _machine = alone();
    let stage = Stage::joined("tunnel-killed", family);
    for (host, other) in [(&stage.berlin.gateway.host, "edge"), (&stage.edge.host, "berlin")] {
        let killed = host.find("sealane-tunnel").unwrap();
        assert!(!killed.is_empty());
        let flows = stage.flows(1000);
        for pid in &killed {
            host.signal(*pid, Signal::SIGKILL).unwrap();
        }
        until(Duration::from_secs(10), "another tunnel runs", || {
            let running = host.find("sealane-tunnel").unwrap();
            !running.is_empty() && running != killed
        })
        .unwrap();
        agent::comes_to_reach(host, &[other]).unwrap();
        eventually(Duration::from_secs(10), "nothing is lost any more", || stage.is_whole())
            .unwrap();
        for flow in flows {
            let report = flow.stop().unwrap();
            println!("tunnel killed at {}: gap {:.0} ms", host.name(), report.longest_gap_ms);
            assert!(report.lost > 0, "nothing happened: {report:?}");
            assert!(report.longest_gap_ms <= TUNNEL_GAP_MS, "{}: {report:?}", host.name());
        }
    }
}
