//! Owns the proof that changes by other hands are told of in time, and noise is not. Does not own
//! what is then done about them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sealane_kernel::netlink::monitor::Monitor;
use sealane_kernel::netlink::relevance::HostEvent;
use tokio::sync::mpsc;

use crate::common::namespace::{TestHost, key, node, sh, via};

/// How long a condition may take to come true.
const DEADLINE: Duration = Duration::from_secs(5);
/// Foreign changes to our objects have to be known within this time.
const PROMPT: Duration = Duration::from_secs(1);

#[test]
fn foreign_changes_to_what_is_ours_are_told_within_a_second() {
    let edits = [
        ("sysctl -qw net.ipv4.ip_forward=1", HostEvent::SettingsChanged),
        ("sysctl -qw net.ipv4.ip_forward=0", HostEvent::SettingsChanged),
        ("sysctl -qw net.ipv4.conf.all.rp_filter=1", HostEvent::SettingsChanged),
        ("sysctl -qw net.ipv4.conf.sealane-vx.rp_filter=1", HostEvent::SettingsChanged),
        ("sysctl -qw net.ipv4.conf.sealane-vx.forwarding=1", HostEvent::SettingsChanged),
        ("sysctl -qw net.ipv6.conf.all.forwarding=1", HostEvent::SettingsChanged),
        ("sysctl -qw net.ipv6.conf.sealane-vx.forwarding=0", HostEvent::SettingsChanged),
        ("ip route del 10.2.0.0/16 table 5182 proto 82", HostEvent::RoutesChanged),
        ("ip route replace 10.3.0.0/16 dev up0 table 5182 proto static", HostEvent::RoutesChanged),
        ("ip -6 route del fd02::/32 table 5182 proto 82", HostEvent::RoutesChanged),
        ("ip rule del pref 5186", HostEvent::RulesChanged),
        ("ip -6 rule del pref 5186", HostEvent::RulesChanged),
        ("ip addr del 10.1.0.0/32 dev sealane-vx", HostEvent::AddressesChanged),
        ("ip neigh del fe80::21 dev sealane-vx", HostEvent::NeighboursChanged),
        (
            "bridge fdb del 02:5e:a1:00:00:21 dev sealane-vx dst 192.0.2.21 self",
            HostEvent::NeighboursChanged,
        ),
        ("sysctl -qw net.ipv6.conf.sealane-vx.disable_ipv6=1", HostEvent::AddressesChanged),
        ("ip link set sealane-vx mtu 1300", HostEvent::LinksChanged),
        ("ip link set sealane-vx alias theirs", HostEvent::LinksChanged),
        ("nft add table inet sealane", HostEvent::FilterChanged),
        ("nft flush ruleset", HostEvent::FilterChanged),
        ("ip link del sealane-vx", HostEvent::LinksChanged),
    ];
    let mut host = TestHost::fresh();
    host.reach(&node());
    let mut events = host.host.events().unwrap();
    for (edit, wanted) in edits {
        events_until_quiet(&mut events);
        sh(edit);
        let took = expect_event(&mut events, wanted);
        assert!(took < PROMPT, "{edit}: {took:?}");
    }
}

#[test]
fn a_link_that_went_down_and_up_is_told_of_and_gets_back_all_it_lost() {
    let mut host = TestHost::fresh();
    host.reach(&node());
    let mut events = host.host.events().unwrap();
    sh("ip link set sealane-vx down");
    expect_event(&mut events, HostEvent::LinksChanged);
    sh("ip link set sealane-vx up");
    assert_eq!(sh("ip -4 route show table 5182 proto 82").matches("via").count(), 0);
    expect_event(&mut events, HostEvent::LinksChanged);
    host.reach(&node());
}

#[test]
fn facts_that_decisions_need_are_told() {
    let mut host = TestHost::fresh();
    let mut events = host.host.events().unwrap();
    let edits = [
        ("ip addr add 192.0.2.12/24 dev up0", HostEvent::AddressesChanged),
        ("ip route add default via 192.0.2.1", HostEvent::RoutesChanged),
        ("ip link set far0 down", HostEvent::LinksChanged),
    ];
    for (edit, wanted) in edits {
        events_until_quiet(&mut events);
        sh(edit);
        expect_event(&mut events, wanted);
    }
}

#[test]
fn a_busy_foreign_daemon_tells_us_nothing() {
    let mut host = TestHost::fresh();
    host.reach(&node());
    let mut events = host.host.events().unwrap();
    events_until_quiet(&mut events);
    let routes = (0..2_000)
        .map(|i| format!("route add 10.77.{}.{}/32 dev up0 proto bgp\n", i / 256, i % 256));
    batch("ip", &["-batch", "-"], &routes.collect::<String>());
    let neighbours =
        (1..250).map(|i| format!("neigh add 192.0.2.{i} lladdr 02:00:00:00:00:01 dev up0\n"));
    batch(
        "ip",
        &["-batch", "-"],
        &neighbours.filter(|line| !line.contains(".11 ")).collect::<String>(),
    );
    sh("ip rule add pref 100 lookup 100");
    sh("ip addr replace 2001:db8::11/64 dev up0 nodad");
    sh("nft 'table inet theirs { set s { type ipv4_addr; elements = { 10.0.0.1 } }; }'");
    assert_eq!(events_until_quiet(&mut events), BTreeSet::new());
}

#[test]
fn what_we_change_ourselves_tells_us_nothing() {
    let mut host = TestHost::fresh();
    let mut events = host.host.events().unwrap();
    host.reach(&node());
    let mut want = node();
    want.routes.insert(key(5182, "10.9.0.0/16"), via("fe80::22"));
    want.rules.pop_last();
    events_until_quiet(&mut events);
    host.reach(&want);
    assert_eq!(events_until_quiet(&mut events), BTreeSet::new());
}

#[test]
fn after_more_notices_than_fit_we_are_told_to_look_anew() {
    const ROOM_FOR_A_FEW: usize = 4096;
    let mut host = TestHost::fresh();
    let mut want = node();
    for number in 0..3_000u32 {
        want.routes.insert(key(5182, &format!("fd10:{number:x}::/32")), via("fe80::21"));
    }
    host.reach(&want);
    let (_monitor, mut events) = Monitor::start_with_buffer(0, ROOM_FOR_A_FEW).unwrap();
    // The kernel tells of every IPv6 route that falls with its link, all at once.
    sh("ip link del sealane-vx");
    expect_event(&mut events, HostEvent::Resync);
}

#[test]
fn dropping_the_host_ends_the_listening() {
    let mut host = TestHost::fresh();
    let mut events = host.host.events().unwrap();
    drop(host);
    let start = Instant::now();
    while events.try_recv() != Err(mpsc::error::TryRecvError::Disconnected) {
        assert!(start.elapsed() < DEADLINE, "events go on");
        std::thread::yield_now();
    }
}

fn batch(program: &str, arguments: &[&str], input: &str) {
    use std::io::Write;
    let mut child = Command::new(program).args(arguments).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

/// Waits for an event of this kind; returns how long it took.
fn expect_event(events: &mut mpsc::Receiver<HostEvent>, wanted: HostEvent) -> Duration {
    let start = Instant::now();
    while start.elapsed() < DEADLINE {
        match events.try_recv() {
            Ok(event) if event == wanted => return start.elapsed(),
            Ok(_) => {}
            Err(_) => std::thread::yield_now(),
        }
    }
    panic!("no {wanted:?} within {DEADLINE:?}");
}

/// Reads away what has been told so far, until the monitor has told nothing for a while.
fn events_until_quiet(events: &mut mpsc::Receiver<HostEvent>) -> BTreeSet<HostEvent> {
    let mut seen = BTreeSet::new();
    let mut last = Instant::now();
    while last.elapsed() < Duration::from_millis(300) {
        match events.try_recv() {
            Ok(event) => {
                seen.insert(event);
                last = Instant::now();
            }
            Err(_) => std::thread::yield_now(),
        }
    }
    seen
}
