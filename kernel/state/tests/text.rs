//! Owns the golden text of hosts and changes. Does not own the order of changes.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use sealane_state::address::Address;
use sealane_state::change::Change;
use sealane_state::filter::{Chain, FilterRule, FilterTable, Hook, HookKind, HookPoint, PrefixSet};
use sealane_state::host::HostState;
use sealane_state::link::{Backend, Link, LinkKind, Mac, Vxlan};
use sealane_state::neighbour::{Fdb, Neighbour};
use sealane_state::route::{Route, RouteKey, Target};
use sealane_state::rule::{Family, MarkMatch, Rule, Sense};
use sealane_state::sysctl::SysctlKey;
use sealane_state::wireguard::{Device, Peer, PskFingerprint, PublicKey};

fn lane() -> Device {
    let peer = Peer {
        psk: Some(PskFingerprint([0xab; 8])),
        endpoint: Some("[2001:db8::7]:51820".parse().unwrap()),
        keepalive: Some(25),
        allowed_ips: BTreeSet::from(["10.2.0.0/16".parse().unwrap(), "fd02::/32".parse().unwrap()]),
        ..Peer::default()
    };
    Device {
        key: PublicKey([1; 32]),
        listen_port: 51820,
        mark: 0x2000,
        peers: BTreeMap::from([(PublicKey([2; 32]), peer)]),
    }
}

fn gateway() -> HostState {
    let out = "sealane0".parse().unwrap();
    let vx: sealane_state::name::LinkName = "sealane-vx".parse().unwrap();
    let vxlan = Vxlan {
        vni: 5182,
        port: 4801,
        local: "192.0.2.11".parse().unwrap(),
        underlay: "eth0".parse().unwrap(),
        mac: Mac([2, 0x5e, 0xa1, 0, 0, 1]),
    };
    let wireguard = LinkKind::WireGuard(Backend::Userspace);
    let key = |net: &str| RouteKey { table: 5182, destination: net.parse().unwrap(), metric: 0 };
    let hop = |gateway: &str| Target::Via { link: vx.clone(), gateway: gateway.parse().unwrap() };
    let route = |target| Route { target, source: None, mtu: None };
    HostState {
        links: BTreeMap::from([
            (vx.clone(), Link { kind: LinkKind::Vxlan(vxlan), mtu: 1450, up: true }),
            ("sealane0".parse().unwrap(), Link { kind: wireguard, mtu: 1420, up: false }),
        ]),
        devices: BTreeMap::from([("sealane0".parse().unwrap(), lane())]),
        addresses: BTreeSet::from([Address {
            link: vx.clone(),
            net: "10.1.0.0/32".parse().unwrap(),
        }]),
        neighbours: BTreeSet::from([Neighbour {
            link: vx.clone(),
            address: "fe80::2".parse().unwrap(),
            mac: Mac([2, 0x5e, 0xa1, 0, 0, 2]),
        }]),
        fdb: BTreeSet::from([Fdb {
            link: vx.clone(),
            mac: Mac([2, 0x5e, 0xa1, 0, 0, 2]),
            remote: "192.0.2.12".parse().unwrap(),
        }]),
        routes: BTreeMap::from([
            (
                key("10.2.0.0/16"),
                Route {
                    source: Some("10.1.0.0".parse().unwrap()),
                    mtu: Some(1420),
                    ..route(Target::Link(out))
                },
            ),
            (key("10.3.0.0/16"), route(hop("fe80::2"))),
            (RouteKey { metric: 7, ..key("10.4.0.0/16") }, route(Target::Unreachable)),
            (key("fd03::/32"), route(hop("fe80::2"))),
        ]),
        rules: BTreeSet::from([
            Rule {
                priority: 5183,
                family: Family::V6,
                input: Some("sealane0".parse().unwrap()),
                mark: None,
                table: 5183,
            },
            Rule {
                priority: 5186,
                family: Family::V4,
                input: None,
                mark: Some(MarkMatch { value: 0x2000, mask: 0x3000, sense: Sense::IsNot }),
                table: 5182,
            },
        ]),
        filter: Some(table()),
        sysctls: BTreeMap::from([(SysctlKey::new(["net", "ipv4", "ip_forward"]), "1".to_owned())]),
    }
}

fn table() -> FilterTable {
    let hook = Hook { kind: HookKind::Nat, point: HookPoint::Postrouting, priority: 80 };
    let rule = FilterRule("ip saddr @local4 ip daddr @remote4 snat ip to ip saddr".to_owned());
    let elements = (0..5).map(|i| format!("10.{i}.0.0/16").parse().unwrap()).collect();
    FilterTable {
        sets: BTreeMap::from([
            ("local4".to_owned(), PrefixSet { family: Family::V4, elements }),
            ("remote6".to_owned(), PrefixSet { family: Family::V6, elements: BTreeSet::new() }),
        ]),
        chains: BTreeMap::from([
            ("identity".to_owned(), Chain { hook: Some(hook), rules: vec![rule] }),
            ("out1".to_owned(), Chain { hook: None, rules: vec![] }),
        ]),
    }
}

#[test]
fn a_gateway_reads_as_its_tools_would_show_it() {
    let expected = "\
sysctl net/ipv4/ip_forward = 1
link sealane-vx type vxlan id 5182 dstport 4801 local 192.0.2.11 dev eth0 address 02:5e:a1:00:00:01 mtu 1450
link sealane0 type wireguard (userspace) mtu 1420 down
wireguard sealane0 public-key AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE= listen-port 51820 fwmark 0x2000
peer AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI= dev sealane0 preshared-key #abababababababab endpoint [2001:db8::7]:51820 persistent-keepalive 25 allowed-ips 10.2.0.0/16,fd02::/32
address 10.1.0.0/32 dev sealane-vx
neigh fe80::2 lladdr 02:5e:a1:00:00:02 dev sealane-vx permanent
fdb 02:5e:a1:00:00:02 dev sealane-vx dst 192.0.2.12 self permanent
route 10.2.0.0/16 dev sealane0 table 5182 src 10.1.0.0 mtu 1420
route 10.3.0.0/16 via inet6 fe80::2 dev sealane-vx table 5182 onlink
route unreachable 10.4.0.0/16 table 5182 metric 7
route fd03::/32 via fe80::2 dev sealane-vx table 5182 onlink
rule 5183: iif sealane0 lookup 5183 (v6)
rule 5186: not fwmark 0x2000/0x3000 lookup 5182 (v4)
table inet sealane {
\tset local4 {
\t\ttype ipv4_addr
\t\tflags interval
\t\telements = { 10.0.0.0/16, 10.1.0.0/16, 10.2.0.0/16, 10.3.0.0/16,
\t\t\t     10.4.0.0/16 }
\t}
\tset remote6 {
\t\ttype ipv6_addr
\t\tflags interval
\t}
\tchain identity {
\t\ttype nat hook postrouting priority 80; policy accept;
\t\tip saddr @local4 ip daddr @remote4 snat ip to ip saddr
\t}
\tchain out1 {
\t}
}
";
    assert_eq!(gateway().to_string(), expected);
}

#[test]
fn a_change_says_what_it_adds_takes_or_alters() {
    let line = |change: Change| change.to_string();
    let host = gateway();
    let (key, route) = host.routes.first_key_value().unwrap();
    assert_eq!(
        line(Change::PutRoute(*key, route.clone())),
        "+ route 10.2.0.0/16 dev sealane0 table 5182 src 10.1.0.0 mtu 1420"
    );
    assert_eq!(line(Change::DeleteRoute(*key)), "- route 10.2.0.0/16 table 5182");
    assert_eq!(line(Change::DeleteLink("sealane0".parse().unwrap())), "- link sealane0");
    assert_eq!(
        line(Change::ReplaceFilter(table())),
        "~ table inet sealane (sets 2, chains 2, rules 1)"
    );
    assert_eq!(
        line(Change::DeleteRule(host.rules.last().unwrap().clone())),
        "- rule 5186: not fwmark 0x2000/0x3000 lookup 5182 (v4)"
    );
}
