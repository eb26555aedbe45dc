//! Owns the proof that a host is read, changed and given back over rtnetlink, on a real kernel. Does
//! not prove nftables, settings or WireGuard.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use sealane_kernel::netlink::channel::Channel;
use sealane_kernel::netlink::own_links;
use sealane_kernel::outcome::Retry;
use sealane_state::facts::RouteQuestion;
use sealane_state::host::HostState;
use sealane_state::link::{Backend, Link, LinkKind};
use sealane_state::owner;
use sealane_state::route::{Route, RouteKey, Target};
use sealane_state::rule::{Family, MarkMatch, Sense};
use sealane_state::sysctl::SysctlKey;

use crate::common::namespace::{TestHost, assert_same, key, node, sh, via, vx};

#[test]
fn a_node_reads_back_as_wanted_and_leaves_no_trace() {
    let mut host = TestHost::fresh();
    let before = everything();
    host.reach(&node());
    host.reach(&node());
    host.reach(&HostState::default());
    assert_same(&before, &everything());
}

#[test]
fn a_node_without_ipv6_on_its_other_links_still_gets_its_lanes() {
    let mut host = TestHost::fresh();
    sh("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1");
    host.reach(&node());
    assert_eq!(sh("sysctl -n net.ipv6.conf.up0.disable_ipv6").trim(), "1");
}

#[test]
fn our_link_is_made_with_the_manners_of_our_vxlan() {
    let mut host = TestHost::fresh();
    host.reach(&node());
    let shown = sh("ip -d link show sealane-vx");
    for manner in ["nolearning", "ttl 64", "addrgenmode none", "alias sealane"] {
        assert!(shown.contains(manner), "{manner}: {shown}");
    }
    assert!(!sh("ip route show table 5182").contains("lock"), "an MTU is locked");
}

#[test]
fn what_foreign_hands_made_is_neither_listed_nor_touched() {
    let mut host = TestHost::fresh();
    sh("ip route add 10.77.0.0/16 dev up0 table 5182");
    sh("ip -6 route add fd77::/32 dev up0 table 5182");
    sh("ip route add 10.78.0.0/16 dev up0 table 99 proto 82");
    sh("ip rule add pref 5186 from 10.77.0.1 lookup 5182");
    sh("ip rule add pref 99 lookup 5182 proto 82");
    sh("ip neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev up0 nud permanent");
    let foreign = everything();
    assert_eq!(host.observe().ours, HostState::default());
    host.reach(&node());
    host.reach(&HostState::default());
    assert_same(&foreign, &everything());
}

#[test]
fn a_foreign_route_in_our_place_is_reported_and_kept() {
    let mut host = TestHost::fresh();
    sh("ip route add 10.2.0.0/16 dev up0 table 5182 proto static");
    sh("ip -6 route add fd02::/32 dev up0 table 5182 proto static metric 1024");
    let outcome = host.converge(&node());
    let changes: Vec<_> = outcome.errors.iter().map(|error| error.change.as_str()).collect();
    assert_eq!(
        changes,
        [
            "+ route 10.2.0.0/16 via inet6 fe80::21 dev sealane-vx table 5182 src 10.1.0.0 mtu 1400 onlink",
            "+ route fd02::/32 via fe80::21 dev sealane-vx table 5182 src fd01:: mtu 1400 onlink",
        ]
    );
    assert!(outcome.errors.iter().all(|error| error.retry == Retry::OnChange));
    assert!(sh("ip route show table 5182").contains("10.2.0.0/16 dev up0 proto static"));
    let seen = host.observe().ours;
    assert_eq!(seen.routes.len(), node().routes.len() - 2, "the others stand");
}

#[test]
fn a_foreign_link_of_our_name_is_reported_and_kept() {
    let links = [
        "veth peer name far1",
        // To the last attribute what we would make, but for the mark.
        "vxlan id 5182 dstport 4801 local 192.0.2.11 dev up0 nolearning ttl 64",
    ];
    for link in links {
        let mut host = TestHost::fresh();
        sh(&format!("ip link add sealane-vx address 02:5e:a1:00:00:11 type {link}"));
        let before = sh("ip -d link show sealane-vx; sysctl -a -r conf.sealane-vx 2>&1");
        let mut want = node();
        let loose = SysctlKey::new(["net", "ipv4", "conf", "sealane-vx", "rp_filter"]);
        want.sysctls.insert(loose, "2".to_owned());
        let outcome = host.converge(&want);
        let first = outcome.errors.first().unwrap();
        assert!(first.to_string().contains("link sealane-vx exists and is not ours"), "{first}");
        assert!(outcome.errors.iter().all(|error| error.retry == Retry::OnChange));
        assert_same(&before, &sh("ip -d link show sealane-vx; sysctl -a -r conf.sealane-vx 2>&1"));
        assert_eq!(sh("ip addr show sealane-vx").matches("inet ").count(), 0);
    }
}

#[test]
fn settings_of_a_foreign_link_that_took_the_place_of_ours_are_not_given_back() {
    let mut host = TestHost::fresh();
    let mut want = node();
    let loose = SysctlKey::new(["net", "ipv4", "conf", "sealane-vx", "rp_filter"]);
    want.sysctls.insert(loose, "2".to_owned());
    host.reach(&want);
    sh("ip link del sealane-vx");
    sh("ip link add sealane-vx type veth peer name far1");
    sh("sysctl -qw net.ipv4.conf.sealane-vx.rp_filter=2");
    let outcome = host.converge(&HostState::default());
    assert_eq!(outcome.errors, []);
    assert_eq!(sh("sysctl -n net.ipv4.conf.sealane-vx.rp_filter").trim(), "2");
    assert_eq!(host.observe().ours, HostState::default());
}

#[test]
fn a_change_that_fails_does_not_stop_the_others() {
    let mut host = TestHost::fresh();
    let mut want = node();
    let lost = Route { target: Target::Link("sealane9".parse().unwrap()), source: None, mtu: None };
    want.routes.insert(key(owner::TABLE_REMOTE, "10.9.0.0/16"), lost);
    let outcome = host.converge(&want);
    let errors: Vec<_> = outcome.errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        errors,
        ["+ route 10.9.0.0/16 dev sealane9 table 5182: link sealane9 is not there (ENODEV)"]
    );
    assert_eq!(host.observe().ours, node());
}

#[test]
fn routes_change_their_way_in_place() {
    let mut host = TestHost::fresh();
    let mut want = node();
    host.reach(&want);
    for net in ["10.2.0.0/16", "fd02::/32"] {
        want.routes.insert(key(owner::TABLE_REMOTE, net), via("fe80::22"));
    }
    want.neighbours.pop_last();
    want.routes.remove(&key(owner::TABLE_REMOTE, "10.3.0.0/16"));
    host.reach(&want);
}

#[test]
fn a_rule_whose_match_turns_round_is_changed_not_doubled() {
    let mut host = TestHost::fresh();
    let mut want = node();
    host.reach(&want);
    let turned = want.rules.iter().cloned().map(|mut rule| {
        rule.mark = rule.mark.map(|mark| MarkMatch {
            sense: if mark.sense == Sense::Is { Sense::IsNot } else { Sense::Is },
            ..mark
        });
        rule
    });
    want.rules = turned.collect();
    host.reach(&want);
}

#[test]
fn a_link_with_other_fixed_attributes_is_made_anew_with_all_that_hangs_on_it() {
    let mut host = TestHost::fresh();
    host.reach(&node());
    let mut want = node();
    if let Some(Link { kind: LinkKind::Vxlan(vxlan), mtu, .. }) = want.links.get_mut(&vx()) {
        vxlan.local = "2001:db8::11".parse().unwrap();
        *mtu = 1430;
    }
    want.fdb = want
        .fdb
        .into_iter()
        .zip(["2001:db8::21", "2001:db8::22"])
        .map(|(entry, remote)| sealane_state::neighbour::Fdb {
            remote: remote.parse().unwrap(),
            ..entry
        })
        .collect();
    host.reach(&want);
}

#[test]
fn the_last_ipv4_address_goes_without_its_routes() {
    let mut host = TestHost::fresh();
    let mut want = node();
    host.reach(&want);
    want.addresses.retain(|address| address.net.is_ipv6());
    want.routes.values_mut().for_each(|route| route.source = None);
    host.reach(&want);
}

#[test]
fn what_another_hand_changed_in_our_routes_is_seen_and_repaired() {
    let edits = [
        "ip route replace 10.2.0.0/16 dev up0 table 5182 proto 82",
        "ip route replace blackhole 10.2.0.0/16 table 5182 proto 82",
        "ip route replace 10.2.0.0/16 table 5182 proto 82 nexthop dev up0 nexthop dev lo",
        "ip route replace 10.2.0.0/16 dev up0 table 5182 proto 82 mtu lock 1400",
        "ip -6 route replace fd02::/32 dev up0 table 5182 proto 82",
        "ip -6 route append fd02::/32 dev up0 table 5182 proto 82 metric 9",
        "ip route del 10.2.0.0/16 table 5182",
        "ip rule del pref 5186",
        "ip -6 rule add pref 5189 lookup 5182 proto 82",
        "ip neigh replace fe80::21 lladdr 02:00:00:00:00:01 dev sealane-vx nud permanent",
        "ip neigh del fe80::22 dev sealane-vx",
        "bridge fdb replace 02:5e:a1:00:00:21 dev sealane-vx dst 192.0.2.99 self permanent",
        "bridge fdb append 02:00:00:00:00:99 dev sealane-vx dst 192.0.2.99 self permanent",
        "ip addr add 10.66.0.1/32 dev sealane-vx",
        "ip addr del 10.1.0.0/32 dev sealane-vx",
        "ip link set sealane-vx mtu 1300",
    ];
    let mut host = TestHost::fresh();
    host.reach(&node());
    for edit in edits {
        sh(edit);
        assert_ne!(host.observe().ours, node(), "{edit}: not seen");
        host.reach(&node());
    }
}

#[test]
fn ten_thousand_routes_are_written_and_read_without_loss() {
    let mut host = TestHost::fresh();
    let mut want = node();
    for number in 0..5_000u32 {
        let [_, high, mid, low] = number.to_be_bytes();
        let v4 = format!("100.{}.{mid}.{low}/32", 64 + high);
        want.routes.insert(key(owner::TABLE_REMOTE, &v4), via("fe80::21"));
        let v6 = format!("fd10:{number:x}::/32");
        want.routes.insert(key(owner::TABLE_REMOTE, &v6), via("fe80::21"));
    }
    host.reach(&want);
    assert_eq!(host.observe().ours.routes.len(), 10_000 + node().routes.len());
    host.reach(&HostState::default());
}

#[test]
fn a_tun_device_of_a_tunnel_is_marked_when_it_appears() {
    let mut host = TestHost::fresh();
    sh("ip tuntap add sealane0 mode tun");
    assert_eq!(host.observe().ours, HostState::default());
    let lane = Link { kind: LinkKind::WireGuard(Backend::Userspace), mtu: 1420, up: true };
    let name = "sealane0".parse().unwrap();
    let mut channel = Channel::open().unwrap();
    own_links::take_over_tun(&mut channel, &name, &lane).unwrap();
    assert_eq!(host.observe().ours.links, [(name, lane)].into());
    assert!(!sh("ip -6 addr show sealane0").contains("fe80"), "the kernel made an address");
}

#[test]
fn facts_tell_of_foreign_links_addresses_and_routes() {
    let mut host = TestHost::fresh();
    sh("ip route add default via 192.0.2.1");
    sh("ip -6 route add default nexthop via 2001:db8::1 nexthop via 2001:db8::2");
    sh("ip rule add pref 77 lookup 770");
    sh("ip route add 10.7.0.0/16 via 192.0.2.7 table 770");
    host.reach(&node());
    let facts = host.observe().facts;
    let uplink = &facts.links[&"up0".parse().unwrap()];
    assert!(uplink.running);
    assert!(uplink.addresses.contains(&"192.0.2.11/24".parse().unwrap()));
    assert!(uplink.addresses.contains(&"2001:db8::11/64".parse().unwrap()));
    let hop = |gateway: &str| Target::Via {
        link: "up0".parse().unwrap(),
        gateway: gateway.parse().unwrap(),
    };
    assert_eq!(facts.routes[&key(254, "0.0.0.0/0")].target, hop("192.0.2.1"));
    assert_eq!(facts.routes[&key(770, "10.7.0.0/16")].target, hop("192.0.2.7"));
    let v6 = RouteKey { metric: 1024, ..key(254, "::/0") };
    assert_eq!(facts.routes[&v6].target, hop("2001:db8::1"));
    assert!(facts.routes.keys().all(|key| !owner::TABLES.contains(&key.table)));
    assert_eq!(facts.families, [Family::V4, Family::V6].into());
}

#[test]
fn the_kernel_is_asked_which_way_a_packet_takes() {
    let mut host = TestHost::fresh();
    host.reach(&node());
    let to = |destination: &str, mark| RouteQuestion {
        destination: destination.parse().unwrap(),
        source: None,
        input: None,
        mark,
    };
    let answer = host.host.route_of(&to("10.2.3.4", 0)).unwrap();
    assert_eq!((answer.table, answer.kind.as_str()), (owner::TABLE_REMOTE, "unicast"));
    assert_eq!(answer.hop.link, Some(vx()));
    assert_eq!(answer.hop.gateway, Some("fe80::21".parse().unwrap()));
    assert_eq!(answer.source, Some("10.1.0.0".parse().unwrap()));
    assert_eq!(answer.mtu, Some(1400));
    let steered = host.host.route_of(&to("fd02::1", owner::MARK_GATEWAY_BASE + 1)).unwrap();
    assert_eq!(steered.table, owner::TABLE_GATEWAY_BASE + 1);
    let refused = host.host.route_of(&to("10.4.0.1", 0)).unwrap_err();
    assert_eq!(refused.errno, nix::errno::Errno::EHOSTUNREACH);
    let snapshot = host.host.routing().unwrap();
    assert!(snapshot.routes[&owner::TABLE_REMOTE].len() == 5);
    assert!(snapshot.routes[&255].iter().any(|route| route.kind == "local"));
    assert_eq!(snapshot.rules.iter().filter(|rule| rule.protocol == owner::PROTOCOL).count(), 8);
}

/// What a person would compare: everything that rtnetlink shows, without counters and lifetimes.
fn everything() -> String {
    let lines = [
        "ip -o link | sed 's/ qlen.*//'",
        "ip -o addr | sed 's/valid_lft.*//'",
        "ip route show table all",
        "ip -6 route show table all",
        "ip rule",
        "ip -6 rule",
        "ip neigh show nud permanent",
        "bridge fdb show | grep -v 33:33",
    ];
    lines.iter().map(|line| sh(line)).collect()
}
