//! Owns the tests that what others do to our objects is repaired, and that theirs are left alone.

use std::time::{Duration, Instant};

use sealane_tests::lab::address::Family;
use sealane_tests::lab::host::Host;
use sealane_tests::lab::wait::{eventually, until};
use sealane_tests::product::agent;
use sealane_tests::product::page::Page;
use sealane_tests::product::traces::Traces;

use crate::stage::{ENDLESS, Stage, TABLE, alone, shared};

/// Within which what a foreign hand did is undone.
const REPAIR: Duration = Duration::from_secs(1);
/// The same for what no kernel tells: the next patrol.
const PATROL: Duration = Duration::from_secs(12);
/// Within which a repair is counted: numbers are set once a second.
const COUNTED: Duration = Duration::from_secs(5);

/// What shows objects of ours, whole.
const ROUTES4: &str = "ip route show table all proto 82";
const ROUTES6: &str = "ip -6 route show table all proto 82";
const RULES: &str = "ip rule; ip -6 rule";
const LEG: &str = "ip -br link show sealane-vx; bridge fdb show dev sealane-vx; \
                   ip neigh show dev sealane-vx nud permanent; ip -6 neigh show dev sealane-vx nud permanent";
const LANE: &str =
    "ip -br link show sealane0; ip -br address show sealane0; cat /sys/class/net/sealane0/mtu";
const PEERS: &str = "wg show sealane0 allowed-ips; wg show sealane0 preshared-keys; \
                     wg show sealane0 listen-port; wg show sealane0 fwmark";

/// What a foreign hand does on every host, and what must be as before.
const DEEDS: [(&str, &str); 10] = [
    ("ip route flush table 5182", ROUTES4),
    ("ip -6 route flush table 5182", ROUTES6),
    ("ip route add 198.18.0.0/24 dev lo table 5182 proto 82", ROUTES4),
    (
        "ip route change $(ip route show table 5182 | head -1 | sed 's/ mtu [0-9]*//') mtu 900 table 5182",
        ROUTES4,
    ),
    ("ip rule del priority 5186", RULES),
    ("ip -6 rule del priority 5186", RULES),
    ("nft delete table inet sealane", TABLE),
    ("nft flush chain inet sealane source_postrouting", TABLE),
    ("nft insert rule inet sealane guard_input accept", TABLE),
    ("nft add chain inet sealane more", TABLE),
];

/// On hosts with a leg.
const LEG_DEEDS: [(&str, &str); 4] = [
    ("ip link del sealane-vx", LEG),
    ("ip link set sealane-vx down", LEG),
    (
        "bridge fdb del $(bridge fdb show dev sealane-vx | head -1 | cut -d' ' -f1) dev sealane-vx",
        LEG,
    ),
    (
        "ip -6 neigh del $(ip -6 neigh show dev sealane-vx nud permanent | head -1 | cut -d' ' -f1) dev sealane-vx",
        LEG,
    ),
];

/// On gateways.
const LANE_DEEDS: [(&str, &str); 6] = [
    ("ip link set sealane0 mtu 1300", LANE),
    ("ip -6 address flush dev sealane0 scope global", LANE),
    ("ip link set sealane0 down", LANE),
    ("sysctl -w net.ipv4.ip_forward=0", "sysctl net.ipv4.ip_forward"),
    ("sysctl -w net.ipv6.conf.all.forwarding=0", "sysctl net.ipv6.conf.all.forwarding"),
    ("sysctl -w net.ipv6.conf.sealane0.disable_ipv6=1", LANE),
];

/// What no monitor tells.
const PEER_DEEDS: [&str; 4] = [
    "wg set sealane0 peer $(wg show sealane0 peers | head -1) remove",
    "wg set sealane0 peer $(wg show sealane0 peers | head -1) allowed-ips 198.18.0.0/24",
    "wg set sealane0 peer $(wg show sealane0 peers | head -1) preshared-key /dev/null",
    "wg set sealane0 fwmark 0",
];

#[test]
fn what_a_foreign_hand_does_to_our_objects_is_undone_within_a_second() {
    let _machine = alone();
    let stage = Stage::joined("foreign-hand", Family::Dual);
    let (gateway, worker) = (&stage.berlin.gateway.host, &stage.berlin.worker.host);
    let edge = &stage.edge.host;
    let mut slowest = Duration::ZERO;
    let everywhere = [gateway, worker, edge].map(|host| (host, &DEEDS[..]));
    let legs = [gateway, worker].map(|host| (host, &LEG_DEEDS[..]));
    let lanes = [gateway, edge].map(|host| (host, &LANE_DEEDS[..]));
    for (host, deeds) in everywhere.into_iter().chain(legs).chain(lanes) {
        for (deed, look) in deeds {
            slowest = slowest.max(undone(host, deed, look, REPAIR));
        }
    }
    stage.await_lanes();
    stage.loses_nothing();
    for deed in PEER_DEEDS {
        slowest = slowest.max(undone(gateway, deed, PEERS, REPAIR));
    }
    println!("foreign hand: the slowest repair took {} ms", slowest.as_millis());
    stage.await_lanes();
    stage.loses_nothing();
}

/// Does it, waits until what is looked at is as before, and says how long that took.
#[track_caller]
fn undone(host: &Host, deed: &str, look: &str, within: Duration) -> Duration {
    let before = host.shell(look).unwrap();
    assert!(!before.trim().is_empty(), "{}: `{look}` shows nothing", host.name());
    let made = || Page::of(host).unwrap().value("sealane_host_changes_total").unwrap();
    let repairs = made();
    host.shell(deed).unwrap();
    let begin = Instant::now();
    let undone = eventually(PATROL, format!("{}: `{deed}` is undone", host.name()), || {
        let now = host.shell(look).map_err(|error| error.to_string())?;
        if now == before { Ok(()) } else { Err(format!("{now}\nbefore: {before}")) }
    });
    let took = begin.elapsed();
    undone.unwrap();
    // What changed nothing was not undone.
    eventually(COUNTED, format!("{}: `{deed}`: a repair is counted", host.name()), || {
        let now = made();
        if now > repairs { Ok(()) } else { Err(format!("{now} as before")) }
    })
    .unwrap();
    assert!(took <= within, "{}: `{deed}` is undone after {took:?}", host.name());
    took
}

#[test]
fn a_lane_that_a_foreign_hand_deletes_comes_back() {
    let _machine = alone();
    let stage = Stage::joined("link-deleted", Family::Dual);
    let gateway = &stage.berlin.gateway.host;
    let shown = format!("{LANE}; {ROUTES4}; {ROUTES6}; {PEERS}");
    let took = undone(gateway, "ip link del sealane0", &shown, REPAIR);
    println!("foreign hand: a lane is back after {} ms", took.as_millis());
    agent::comes_to_reach(gateway, &["edge"]).unwrap();
    stage.loses_nothing();
}

#[test]
fn objects_of_others_are_left_alone_even_where_they_look_like_ours() {
    let _machine = shared();
    let mut stage = Stage::bare("foreign-objects", Family::Dual);
    let host = stage.edge.host.clone();
    // Of another owner: near our tables, priorities and names, without our marks.
    host.shell(
        "ip link add other0 type bridge\n\
         ip link add sealane-other type bridge\n\
         ip route add 198.18.0.0/24 dev lo table 5182 proto static\n\
         ip route add 198.18.1.0/24 dev lo table 77\n\
         ip rule add priority 5181 from 198.18.9.9 lookup 77\n\
         ip -6 rule add priority 5190 from 2001:db8:99::/48 lookup 77\n\
         nft add table inet sealane2\n\
         nft add chain inet sealane2 forward '{ type filter hook forward priority 0; }'\n\
         nft add rule inet sealane2 forward counter comment sealane",
    )
    .unwrap();
    let before = Traces::of(&host).unwrap();
    stage.start_agents();
    stage.join_berlin();
    stage.join_edge();
    stage.await_lanes();
    host.run("sealane leave").unwrap();
    before.same_as(&Traces::of(&host).unwrap()).unwrap();
}

/// Within which a fight is told, on a busy machine.
const NOTICED: Duration = Duration::from_secs(30);
/// How long the fight is watched after that.
const FIGHT: Duration = Duration::from_secs(10);
/// Repairs in that time, at most: waits are 1, 2, 4 and 8 s, then a patrol.
const ROUNDS: f64 = 5.0;

#[test]
fn a_foreign_hand_that_never_rests_gets_ever_fewer_repairs_and_is_told() {
    let _machine = alone();
    let stage = Stage::joined("rival", Family::Dual);
    let host = &stage.edge.host;
    let v6 = stage.edge.app.link.addresses().into_iter().find(|it| it.is_ipv6()).unwrap();
    let rules = host.shell(RULES).unwrap();
    let flow = stage.flow_by(v6, 1000, ENDLESS);
    flow.flows().unwrap();
    let rival = "while :; do ip rule del priority 5186 2>/dev/null || true; done";
    let rival = host.command("sh").args(["-c", rival]).spawn().unwrap();
    let told = eventually(NOTICED, "the fight is told", || {
        let problems = agent::status(host).map_err(|error| error.to_string())?.problems;
        let told = problems.iter().find(|it| it.reason == "Undone" && it.thing.contains("5186"));
        told.cloned().ok_or_else(|| format!("{problems:?}"))
    })
    .unwrap();
    assert!(told.cause.contains("something else on this host has undone it"), "{told:?}");
    assert!(told.next.contains("find and stop what does"), "{told:?}");

    let repairs = || Page::of(host).unwrap().value("sealane_host_changes_total").unwrap();
    let (before, begin) = (repairs(), Instant::now());
    until(FIGHT * 2, "some time passes", || begin.elapsed() >= FIGHT).unwrap();
    let rounds = repairs() - before;
    assert!(rounds <= ROUNDS, "{rounds} repairs in {FIGHT:?}");

    rival.kill().unwrap();
    let begin = Instant::now();
    eventually(PATROL, "the rules are whole again", || {
        let now = host.shell(RULES).map_err(|error| error.to_string())?;
        if now == rules { Ok(()) } else { Err(now) }
    })
    .unwrap();
    let took = begin.elapsed();
    // The family that nobody touched.
    let report = flow.stop().unwrap();
    println!(
        "rival: {rounds} repairs in {FIGHT:?}, whole {took:?} after; IPv6 lost {}",
        report.lost
    );
    assert_eq!(report.lost, 0, "{report:?}");
    stage.loses_nothing();
}
