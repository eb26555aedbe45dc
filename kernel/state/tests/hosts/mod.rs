//! Owns random hosts for the laws: small universes, so that two hosts often share and often clash.

mod kin;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnetwork::IpNetwork;
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use sealane_state::address::Address;
use sealane_state::filter::{Chain, FilterRule, FilterTable};
use sealane_state::host::HostState;
use sealane_state::link::{Backend, Link, LinkKind, Mac, Vxlan};
use sealane_state::name::LinkName;
use sealane_state::neighbour::{Fdb, Neighbour};
use sealane_state::route::{Route, RouteKey, Target};
use sealane_state::rule::{Family, MarkMatch, Rule, Sense};
use sealane_state::sysctl::SysctlKey;
use sealane_state::wireguard::{Device, Displaces, Peer, PskFingerprint, PublicKey};

const LINKS: [&str; 3] = ["sealane0", "sealane1", "sealane-vx"];

fn name() -> impl Strategy<Value = LinkName> {
    (0..LINKS.len()).prop_map(|index| LINKS[index].parse().unwrap())
}

fn net() -> impl Strategy<Value = IpNetwork> {
    (0..3u8, any::<bool>()).prop_map(|(index, v4)| {
        let text = if v4 { format!("10.{index}.0.0/16") } else { format!("fd00:{index}::/32") };
        text.parse().unwrap()
    })
}

fn ip() -> impl Strategy<Value = IpAddr> {
    (1..4u8, any::<bool>()).prop_map(|(host, v4)| {
        if v4 {
            Ipv4Addr::new(192, 0, 2, host).into()
        } else {
            Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, host.into()).into()
        }
    })
}

fn link() -> impl Strategy<Value = Link> {
    let vxlan = (ip(), 1..3u8).prop_map(|(local, mac)| {
        let underlay = "eth0".parse().unwrap();
        let mac = Mac([2, 0, 0, 0, 0, mac]);
        LinkKind::Vxlan(Vxlan { vni: 5182, port: 4801, local, underlay, mac })
    });
    let wireguard = prop_oneof![Just(Backend::Kernel), Just(Backend::Userspace)];
    let kind = prop_oneof![1 => vxlan, 3 => wireguard.prop_map(LinkKind::WireGuard)];
    (kind, 1400..1403u32).prop_map(|(kind, mtu)| Link { kind, mtu, up: true })
}

fn peer() -> impl Strategy<Value = Peer> {
    let endpoint = || option::of(ip().prop_map(|ip| SocketAddr::new(ip, 51820)));
    let displaces = prop_oneof![
        3 => endpoint().prop_map(Displaces::from),
        1 => Just(Displaces::Anything),
    ];
    let aim = (endpoint(), displaces);
    let psk = option::of((0..2u8).prop_map(|byte| PskFingerprint([byte; 8])));
    let nets = || btree_set(net(), 0..4);
    (psk, aim, option::of(25..27u16), nets(), nets()).prop_map(
        |(psk, (endpoint, displaces), keepalive, allowed_ips, accepted_sources)| Peer {
            psk,
            endpoint,
            displaces,
            keepalive,
            allowed_ips,
            accepted_sources,
        },
    )
}

fn device() -> impl Strategy<Value = Device> {
    let peers = vec(((0..4u8).prop_map(|byte| PublicKey([byte; 32])), peer()), 0..5);
    (0..2u8, 51820..51823u16, peers).prop_map(|(key, listen_port, peers)| {
        let peers = peers.into_iter().collect();
        Device { key: PublicKey([key; 32]), listen_port, mark: 0x2000, peers }
    })
}

fn route() -> impl Strategy<Value = (RouteKey, Route)> {
    let target = prop_oneof![
        name().prop_map(Target::Link),
        (name(), ip()).prop_map(|(link, gateway)| Target::Via { link, gateway }),
        Just(Target::Unreachable),
    ];
    let key = (5182..5184u32, net()).prop_map(|(table, destination)| RouteKey {
        table,
        destination,
        metric: 0,
    });
    (key, target, option::of(ip()), option::of(1400..1402u32))
        .prop_map(|(key, target, source, mtu)| (key, Route { target, source, mtu }))
}

fn rule() -> impl Strategy<Value = Rule> {
    let mark = (0..2u32, any::<bool>()).prop_map(|(value, is)| MarkMatch {
        value,
        mask: 0x307f,
        sense: if is { Sense::Is } else { Sense::IsNot },
    });
    (5183..5187u32, any::<bool>(), option::of(name()), option::of(mark)).prop_map(
        |(priority, v4, input, mark)| Rule {
            priority,
            family: if v4 { Family::V4 } else { Family::V6 },
            input,
            mark,
            table: 5182,
        },
    )
}

fn sysctl() -> impl Strategy<Value = (SysctlKey, String)> {
    let key = prop_oneof![
        Just(SysctlKey::new(["net", "ipv4", "ip_forward"])),
        name().prop_map(|l| SysctlKey::new(["net", "ipv4", "conf", l.as_str(), "rp_filter"])),
        Just(SysctlKey::new(["net", "ipv6", "conf", "all", "forwarding"])),
    ];
    (key, (0..3u8).prop_map(|value| value.to_string()))
}

fn filter() -> impl Strategy<Value = FilterTable> {
    (0..3u8).prop_map(|count| {
        let rules = (0..count).map(|i| FilterRule(format!("meta mark {i} accept"))).collect();
        let chains = BTreeMap::from([("steer".to_owned(), Chain { hook: None, rules })]);
        FilterTable { sets: BTreeMap::new(), chains }
    })
}

/// A host as it may be found: as [`host`], or with a WireGuard link whose process just died.
pub(crate) fn found() -> impl Strategy<Value = HostState> {
    (host(), 0..4u8).prop_map(|(host, dice)| perhaps_without_processes(observed(host), dice))
}

/// A wanted host and a found one that have much in common.
pub(crate) fn pair() -> impl Strategy<Value = (HostState, HostState)> {
    (host(), host(), vec(0..3u8, 61), 0..8u8).prop_map(|(want, mut have, throws, dice)| {
        kin::resemble(&mut have, &want, &mut kin::Dice::new(throws));
        make_possible(&mut have);
        (want, perhaps_without_processes(observed(have), dice))
    })
}

/// What a device says of its peers holds no wish.
fn observed(mut host: HostState) -> HostState {
    let peers = host.devices.values_mut().flat_map(|device| device.peers.values_mut());
    peers.for_each(|peer| peer.displaces = Displaces::Nothing);
    host
}

fn perhaps_without_processes(mut host: HostState, dice: u8) -> HostState {
    if dice == 0 {
        host.devices.clear();
    }
    host
}

/// A host as Linux could be: nothing hangs on a link that is not there, no port is taken twice.
pub(crate) fn host() -> impl Strategy<Value = HostState> {
    let first = (vec((name(), link()), 0..7), vec((name(), device()), 0..7));
    let address = (name(), ip(), any::<bool>()).prop_map(|(link, ip, host)| {
        let length = if host { if ip.is_ipv4() { 32 } else { 128 } } else { 24 };
        Address { link, net: IpNetwork::new(ip, length).unwrap() }
    });
    let mac = || (1..4u8).prop_map(|byte| Mac([2, 0, 0, 0, 0, byte]));
    let neighbour =
        (name(), ip(), mac()).prop_map(|(link, address, mac)| Neighbour { link, address, mac });
    let fdb = (name(), mac(), ip()).prop_map(|(link, mac, remote)| Fdb { link, mac, remote });
    let second = (vec(address, 0..5), vec(neighbour, 0..4), vec(fdb, 0..4));
    let third = (vec(route(), 0..8), btree_set(rule(), 0..5), vec(sysctl(), 0..4));
    (first, second, third, option::of(filter())).prop_map(|(first, second, third, filter)| {
        let mut host = HostState {
            links: first.0.into_iter().collect(),
            devices: first.1.into_iter().collect(),
            addresses: second.0.into_iter().collect(),
            neighbours: second.1.into_iter().collect(),
            fdb: second.2.into_iter().collect(),
            routes: third.0.into_iter().collect(),
            rules: third.1,
            sysctls: third.2.into_iter().collect(),
            filter,
        };
        make_possible(&mut host);
        host
    })
}

fn make_possible(host: &mut HostState) {
    let mut vxlan_seen = false;
    host.links.retain(|_, link| match link.kind {
        LinkKind::Vxlan(_) => !std::mem::replace(&mut vxlan_seen, true),
        LinkKind::WireGuard(_) => true,
    });
    let mut ports = BTreeSet::new();
    host.devices.retain(|_, device| ports.insert(device.listen_port));
    for device in host.devices.values_mut() {
        let mut owned = BTreeSet::new();
        for peer in device.peers.values_mut() {
            peer.allowed_ips.retain(|net| owned.insert(*net));
        }
    }
    let devices = &mut host.devices;
    host.links.retain(|name, link| match link.kind {
        LinkKind::Vxlan(_) => {
            devices.remove(name);
            true
        }
        LinkKind::WireGuard(_) => devices.contains_key(name),
    });
    let links = host.links.clone();
    host.devices.retain(|name, _| links.contains_key(name));
    let mut places = BTreeSet::new();
    host.addresses.retain(|address| {
        let place = (address.link.clone(), address.net.ip());
        links.contains_key(&address.link) && (address.net.is_ipv4() || places.insert(place))
    });
    let mut hops = BTreeSet::new();
    host.neighbours
        .retain(|n| links.contains_key(&n.link) && hops.insert((n.link.clone(), n.address)));
    let mut macs = BTreeSet::new();
    host.fdb.retain(|e| links.contains_key(&e.link) && macs.insert((e.link.clone(), e.mac)));
    host.routes.retain(|_, route| route.target.link().is_none_or(|l| links.contains_key(l)));
    host.sysctls.retain(|key, _| key.link().is_none_or(|link| links.contains_key(&link)));
    // The kernel takes rules that differ in the sense of a mark alone for the same rule.
    let mut rules = BTreeSet::new();
    host.rules.retain(|rule| {
        let mut blind = rule.clone();
        blind.mark = blind.mark.map(|mark| MarkMatch { sense: Sense::Is, ..mark });
        rules.insert(blind)
    });
}
