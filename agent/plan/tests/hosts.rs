//! What a host brings along itself: its sources, whether it forwards, how large its packets may be, and
//! which addresses it calls.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod lab;

use std::collections::BTreeSet;

use lab::{NOW, Stack};
use sealane_plan::plan::plan;
use sealane_plan::remote::{Candidate, CandidateKind};
use sealane_plan::world::NodeRole::Gateway;
use sealane_plan::world::{HostSource, Role, World};
use sealane_state::facts::LinkFacts;

#[test]
fn a_hosts_own_source_is_configured_or_local_or_the_address_of_its_first_network() {
    let configured = ["10.7.0.99", "10.9.9.9", "fd07::99"];
    let edge = |change: &dyn Fn(&mut World)| told_sources(&edge(change));
    assert_eq!(edge(&|_| {}), ["Local(10.7.0.1)", "Local(fd07::1)"]);
    let fixed = configured.map(|source| source.parse().unwrap());
    assert_eq!(
        edge(&|world| world.options.source = HostSource::Fixed(fixed.into())),
        ["Configured(10.7.0.99)", "Configured(fd07::99)"],
        "what lies outside our networks is no source"
    );
    assert_eq!(
        edge(&|world| drop(world.host.links.remove(&"lan0".parse().unwrap()))),
        ["Network(10.7.0.0)", "Network(fd07::)"]
    );
}

#[test]
fn a_host_forwards_only_where_its_networks_are_more_than_its_own_addresses() {
    for (networks, forwards) in [
        (["10.7.0.1/32", "fd07::1/128"], ""),
        (["10.7.0.0/24", "fd07::1/128"], "ip_forward"),
        (["10.7.0.9/32", "fd07::1/128"], "ip_forward"),
        (["10.7.0.1/32", "fd07::/64"], "forwarding"),
        (["10.7.0.1/32", "fd07::9/128"], "forwarding"),
    ] {
        let world = edge(&|world| {
            let own = world.me.as_mut().unwrap();
            own.networks = lab::networks(Stack::Dual, &[], &[], &networks);
        });
        let keys = plan(&world, NOW).host.sysctls.into_keys().map(|key| key.to_string());
        let mut keys: Vec<String> = keys.collect();
        keys.retain(|key| key.ends_with("ip_forward") || key.ends_with("forwarding"));
        let names: Vec<&str> = keys.iter().map(|key| key.rsplit('/').next().unwrap()).collect();
        assert_eq!(names.concat(), forwards, "{networks:?}");
    }
}

#[test]
fn without_a_default_route_the_narrowest_link_that_could_be_the_uplink_counts() {
    let link = |mtu, address: &str| LinkFacts {
        index: 9,
        mtu,
        running: true,
        addresses: [address.parse().unwrap()].into(),
        ours: false,
    };
    let mut world = edge(&|_| {});
    world.host.routes.clear();
    world.host.links = [
        ("lo", link(1300, "127.0.0.1/8")),
        ("eth0", link(1500, "192.0.2.1/24")),
        ("eth1", link(1450, "198.51.100.1/24")),
        ("down0", LinkFacts { running: false, ..link(1400, "192.0.2.9/24") }),
        ("bare0", LinkFacts { addresses: BTreeSet::new(), ..link(1400, "192.0.2.9/24") }),
        ("sealane0", LinkFacts { ours: true, ..link(1400, "fd00::1/128") }),
    ]
    .map(|(name, facts)| (name.parse().unwrap(), facts))
    .into();
    assert_eq!(plan(&world, NOW).lane_mtu, Some(1450 - 80));
}

#[test]
fn a_link_that_takes_just_the_least_packet_of_ipv6_is_no_problem() {
    let nodes = [("g1", Gateway), ("g2", Gateway)];
    let mut world = lab::world(&lab::north(Stack::V4, &nodes), "g1", &[&lab::edge(Stack::V4)]);
    let told = |world: &World| {
        let problems = plan(world, NOW).problems;
        problems.iter().filter(|it| it.reason() == "MtuTooSmall").count()
    };
    for (underlay, problems) in [(1330, 0), (1329, 1)] {
        world.host.links.get_mut(&"eth0".parse().unwrap()).unwrap().mtu = underlay;
        assert_eq!(told(&world), problems, "{underlay}");
    }
}

#[test]
fn a_prefix_may_meet_loopback_and_link_local_addresses_of_this_host() {
    for (address, prefix, meets) in [
        ("127.0.0.1/8", "127.8.0.0/16", false),
        ("169.254.7.7/16", "169.254.9.0/24", false),
        ("::1/128", "::/64", false),
        ("fe80::1/64", "fe80::/16", false),
        ("192.0.2.1/24", "192.0.2.128/25", true),
        ("2001:db8:2::1/64", "2001:db8:2::/48", true),
    ] {
        let world = edge(&|world| {
            let lan0 = world.host.links.get_mut(&"lan0".parse().unwrap()).unwrap();
            lan0.addresses.insert(address.parse().unwrap());
            for gateway in world.gateways.values_mut() {
                gateway.networks = lab::networks(Stack::Dual, &[], &[], &[prefix]);
            }
        });
        let problems = plan(&world, NOW).problems;
        let told = problems.iter().any(|it| it.reason() == "OverlapsHost");
        assert_eq!(told, meets, "{prefix} and {address}");
    }
}

#[test]
fn only_addresses_of_other_hosts_outside_the_lanes_are_called() {
    for (endpoint, is_called) in [
        ("198.51.100.7:51820", true),
        ("[2001:db8:99::7]:51820", true),
        ("198.51.100.7:0", false),
        ("0.0.0.0:51820", false),
        ("127.0.0.2:51820", false),
        ("169.254.0.7:51820", false),
        ("224.0.0.7:51820", false),
        ("255.255.255.255:51820", false),
        ("[::]:51820", false),
        ("[::1]:51820", false),
        ("[fe80::7]:51820", false),
        ("[ff02::7]:51820", false),
        ("[::ffff:198.51.100.7]:51820", false),
        // This host itself, and what is reached by the lanes alone.
        ("203.0.113.7:51820", false),
        ("10.1.9.9:51820", false),
        // Inside our own networks, and yet a neighbour on a link.
        ("10.7.0.9:51820", true),
    ] {
        let called = called(&edge(&|_| {}), endpoint);
        assert_eq!(called, if is_called { vec![endpoint] } else { Vec::new() });
    }
    let without_ipv6 = edge(&|world| {
        world.host.families.remove(&sealane_state::rule::Family::V6);
        if let Some(Role::Gateway(own)) = world.me.as_mut().map(|me| &mut me.role) {
            own.probe4 = Some("10.7.0.255".parse().unwrap());
        }
        world.gateways.values_mut().for_each(|gateway| {
            gateway.probe4 = Some("10.1.255.1".parse().unwrap());
        });
    });
    assert!(called(&without_ipv6, "[2001:db8:99::7]:51820").is_empty());
    assert_eq!(called(&without_ipv6, "198.51.100.7:51820"), ["198.51.100.7:51820"]);
}

/// Returns the addresses that are tried when a gateway advertises one.
fn called(world: &World, endpoint: &str) -> Vec<String> {
    let mut world = world.clone();
    let candidate = Candidate { kind: CandidateKind::Public, endpoint: endpoint.parse().unwrap() };
    for gateway in world.gateways.values_mut() {
        gateway.tunnels[0].candidates = vec![candidate];
    }
    let lanes = plan(&world, NOW).probes.lanes;
    let target = lanes.values().next().unwrap();
    target.candidates.iter().map(|candidate| candidate.endpoint.to_string()).collect()
}

fn told_sources(world: &World) -> Vec<String> {
    let sources = plan(world, NOW).verdicts.sources;
    sources.values().map(|source| format!("{source:?}")).collect()
}

/// The edge host of the stories, but for a change.
fn edge(change: &dyn Fn(&mut World)) -> World {
    let north = lab::north(Stack::Dual, &[("g1", Gateway)]);
    let mut world = lab::world(&lab::edge(Stack::Dual), "box", &[&north]);
    change(&mut world);
    world
}
