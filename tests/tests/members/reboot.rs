//! Owns the test that a host which boots again, with its disk and nothing else, has its lanes back
//! without the broker.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use sealane_tests::lab::address::Family;
use sealane_tests::lab::host::Host;
use sealane_tests::lab::wait::{eventually, until};
use sealane_tests::product::agent;

use crate::stage::{ENDLESS, Stage, TABLE, alone};

/// From the start of the agent to the first packet through, on a machine with two cores.
const BAR: Duration = Duration::from_secs(5);
/// Longer than it takes, to tell how long it took.
const BACK: Duration = Duration::from_secs(30);

on_each_family!(a_host_that_boots_again_has_its_lanes_back_without_the_broker);

fn a_host_that_boots_again_has_its_lanes_back_without_the_broker(family: Family) {
    let _machine = alone();
    let mut stage = Stage::joined("reboot", family);
    stage.broker.process.kill().unwrap();
    for (host, _, member) in stage.hosts() {
        let ours = format!("{OURS}; {TABLE}");
        let before = host.shell(&ours).unwrap();
        stage.endpoints_are_saved(&host);
        stage.agent(&host).kill().unwrap();
        lose_all_but_the_disk(&host);
        assert!(stage.is_whole().is_err(), "{}: nothing was lost", host.name());
        let begin = Instant::now();
        stage.agent(&host).restart().unwrap();
        let to = stage.edge.app.link.addresses();
        let flows: Vec<_> = to.into_iter().map(|to| stage.flow_by(to, 1000, ENDLESS)).collect();
        for flow in &flows {
            eventually(BACK, "packets flow again", || flow.flows()).unwrap();
        }
        let took = begin.elapsed();
        flows.into_iter().for_each(|flow| drop(flow.stop().unwrap()));
        stage.loses_nothing();
        println!(
            "reboot: {}: packets flow {} ms after the agent's start",
            host.name(),
            took.as_millis()
        );
        assert!(took <= BAR, "{}: {took:?}", host.name());
        agent::comes_to_reach(&host, &stage.others(member)).unwrap();
        eventually(BACK, "all of ours is back", || match host.shell(&ours) {
            Ok(now) if now == before => Ok(()),
            Ok(now) => Err(format!("{now}\nbefore: {before}")),
            Err(error) => Err(error.to_string()),
        })
        .unwrap();
    }
    stage.await_lanes();
    stage.loses_nothing();
}

/// Everything of ours on a host but our table; addresses and their like come from keys, and stay.
const OURS: &str = "ip -br link | grep -o '^sealane[^ @]*'; ip rule; ip -6 rule; \
                    ip route show table all proto 82; ip -6 route show table all proto 82";

/// As a kernel that starts anew: no process, link, route, rule, table or setting of ours is left, and
/// nothing below `/run`.
fn lose_all_but_the_disk(host: &Host) {
    for pid in host.find("sealane-tunnel").unwrap() {
        host.signal(pid, Signal::SIGKILL).unwrap();
    }
    until(Duration::from_secs(5), "no tunnel is left", || {
        host.find("sealane-tunnel").unwrap().is_empty()
    })
    .unwrap();
    host.shell(
        "for link in $(ip -br link | grep -o '^sealane[^ @]*'); do ip link del $link 2>/dev/null || true; done
         for family in -4 -6; do
             ip $family rule | sed -n 's/^\\(518[2-9]\\):.*/\\1/p' | while read priority; do
                 ip $family rule del priority $priority
             done
             for table in $(seq 5182 5210); do
                 ip $family route flush table $table 2>/dev/null || true
             done
         done
         nft delete table inet sealane
         conntrack -F 2>/dev/null || true
         rm -rf /run/sealane /run/wireguard",
    )
    .unwrap();
    // What a lab's router needs for others stays; what only we turned on is off.
    let forwards = host.shell("nft list tables | grep -c ' nat$' || true").unwrap();
    if forwards.trim() == "0" {
        host.sysctl("net.ipv4.ip_forward", "0").unwrap();
        host.sysctl("net.ipv6.conf.all.forwarding", "0").unwrap();
    }
    let left = host.shell("ip rule; ip -6 rule; ip -br link; nft list tables").unwrap();
    let is_ours = |line: &str| line.starts_with("518") || line.contains("sealane");
    assert!(!left.lines().any(is_ours), "{left}");
}
