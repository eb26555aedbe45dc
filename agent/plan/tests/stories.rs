//! What hosts should look like, story by story. The answers stand in `cases/`, one file for each
//! host, in the words of `ip`, `wg`, `bridge`, `sysctl` and `nft`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod lab;
#[path = "lab/text.rs"]
mod text;

use lab::{NOW, Stack};
use sealane_plan::health::PathState;
use sealane_plan::name::UnixSeconds;
use sealane_plan::plan::{Plan, Traffic, plan};
use sealane_plan::world::NodeRole::{Gateway, Worker};
use sealane_plan::world::{BackendChoice, Role, World};
use sealane_state::facts::LinkFacts;
use sealane_state::link::Backend;
use sealane_state::route::{Route, RouteKey, Target};
use sealane_state::rule::Family;
use text::check;

const BOX: (&str, &str) = ("edge", "box");
const G1: (&str, &str) = ("north", "g1");
const G2: (&str, &str) = ("north", "g2");

#[test]
fn a_cluster_of_one_node_and_an_edge_host_reach_each_other_in_each_family() {
    for (name, stack) in [("v4", Stack::V4), ("v6", Stack::V6), ("dual", Stack::Dual)] {
        let (north, edge) = (lab::north(stack, &[("g1", Gateway)]), lab::edge(stack));
        let mut world = lab::world(&north, "g1", &[&edge]);
        lab::up(&mut world, G1, BOX, 12);
        check(&format!("edge-and-cluster/{name}-cluster"), &plan(&world, NOW));
        let mut world = lab::world(&edge, "box", &[&north]);
        lab::up(&mut world, BOX, G1, 12);
        check(&format!("edge-and-cluster/{name}-edge"), &plan(&world, NOW));
    }
}

#[test]
fn a_worker_spreads_new_flows_over_the_gateways_that_answer() {
    let north = lab::north(Stack::Dual, &[("g1", Gateway), ("g2", Gateway), ("w1", Worker)]);
    let mut world = lab::world(&north, "w1", &[&lab::edge(Stack::Dual)]);
    lab::leg(&mut world, "g1", PathState::Up);
    lab::leg(&mut world, "g2", PathState::Up);
    check("worker/both-gateways-answer", &plan(&world, NOW));
    lab::leg(&mut world, "g2", PathState::Down);
    check("worker/one-gateway-is-dead", &plan(&world, NOW));
    lab::leg(&mut world, "g1", PathState::Down);
    check("worker/all-gateways-are-dead", &plan(&world, NOW));
}

#[test]
fn a_gateway_serves_the_nodes_behind_it() {
    let north = lab::north(Stack::Dual, &[("g1", Gateway), ("w1", Worker), ("w2", Worker)]);
    let mut world = lab::world(&north, "g1", &[&lab::edge(Stack::Dual)]);
    lab::up(&mut world, G1, BOX, 12);
    check("gateway/two-workers", &plan(&world, NOW));
}

#[test]
fn a_gateway_takes_in_what_another_gateway_brings() {
    let north = lab::north(Stack::V4, &[("g1", Gateway), ("g2", Gateway), ("w1", Worker)]);
    let mut world = lab::world(&north, "g1", &[&lab::edge(Stack::V4)]);
    lab::up(&mut world, G1, BOX, 12);
    lab::leg(&mut world, "g2", PathState::Up);
    check("gateway/another-gateway", &plan(&world, NOW));
}

#[test]
fn all_hosts_of_two_members_fit_together() {
    let nodes = [("g1", Gateway), ("g2", Gateway), ("w1", Worker)];
    let (north, edge) = (lab::north(Stack::Dual, &nodes), lab::edge(Stack::Dual));
    for node in ["g1", "g2", "w1"] {
        let mut world = lab::world(&north, node, &[&edge]);
        lab::up(&mut world, ("north", node), BOX, 12);
        lab::leg(&mut world, "g1", PathState::Up);
        lab::leg(&mut world, "g2", PathState::Up);
        check(&format!("whole/{node}"), &plan(&world, NOW));
    }
    let mut world = lab::world(&edge, "box", &[&north]);
    world.host.backends.insert(Backend::Kernel);
    lab::up(&mut world, BOX, G1, 4);
    lab::up(&mut world, BOX, G2, 30);
    check("whole/box", &plan(&world, NOW));
}

#[test]
fn the_better_of_two_remote_gateways_carries_and_both_may_send() {
    let north = lab::north(Stack::Dual, &[("g1", Gateway), ("g2", Gateway)]);
    let mut world = lab::world(&lab::edge(Stack::Dual), "box", &[&north]);
    check("two-gateways/no-verdict-yet", &plan(&world, NOW));
    lab::up(&mut world, BOX, G1, 30);
    lab::up(&mut world, BOX, G2, 4);
    check("two-gateways/second-is-faster", &plan(&world, NOW));
    lab::down(&mut world, BOX, G2);
    check("two-gateways/second-died", &plan(&world, NOW));
    lab::down(&mut world, BOX, G1);
    check("two-gateways/both-died", &plan(&world, NOW));
}

#[test]
fn of_two_keys_of_a_gateway_that_with_the_newest_handshake_carries_and_both_may_send() {
    let north = lab::north(Stack::Dual, &[("g1", Gateway)]);
    let next = ("north", "g1-next");
    for backend in [Backend::Userspace, Backend::Kernel] {
        let mut world = lab::world(&lab::edge(Stack::Dual), "box", &[&north]);
        world.host.backends = [backend].into();
        lab::up(&mut world, BOX, G1, 12);
        lab::second_key(&mut world, BOX, G1, next);
        let before = plan(&world, NOW);
        world.choices.clone_from(&before.choices);
        lab::shook_hands(&mut world, &before, G1, 100);
        if backend == Backend::Kernel {
            lab::up(&mut world, BOX, next, 12);
        }
        let carries = |plan: &Plan| plan.choices.values().copied().collect::<Vec<_>>();
        assert_eq!(carries(&plan(&world, NOW)), [lab::key(G1.0, G1.1)], "{backend:?}");
        if backend == Backend::Kernel {
            // There each key has a link, and each is probed.
            assert_eq!(before.probes.lanes.len(), 2);
            continue;
        }
        assert_eq!(before.host.devices.len(), 1);
        lab::shook_hands(&mut world, &before, next, 101);
        let after = plan(&world, NOW);
        let key = lab::key(next.0, next.1);
        assert_eq!(carries(&after), [key]);
        let peers = &after.host.devices.values().next().unwrap().peers;
        let old = &peers[&lab::key(G1.0, G1.1)];
        assert!(old.allowed_ips.is_empty());
        assert_eq!(old.accepted_sources, peers[&key].allowed_ips, "what is on its way arrives");
        assert_eq!(after.probes.lanes.keys().map(|id| id.remote).collect::<Vec<_>>(), [key]);
        let verdict = after.verdicts.members.values().next().unwrap();
        assert_eq!((verdict.gateways, verdict.live), (1, 1), "its health is that of the way");
        world.choices.clone_from(&after.choices);
        assert_eq!(carries(&plan(&world, NOW)), [key], "and there it stays");
    }
}

#[test]
fn a_silent_agent_cuts_no_lane_that_nobody_can_replace() {
    let north = lab::north(Stack::Dual, &[("g1", Gateway), ("g2", Gateway)]);
    let mut world = lab::world(&lab::edge(Stack::Dual), "box", &[&north]);
    lab::silent(&mut world, BOX, G2);
    lab::up(&mut world, BOX, G1, 30);
    check("two-gateways/silent-with-a-better-one", &plan(&world, NOW));
    lab::down(&mut world, BOX, G1);
    check("two-gateways/silent-as-last-resort", &plan(&world, NOW));
}

#[test]
fn kernel_wireguard_has_a_link_for_each_slot() {
    let north = lab::north(Stack::Dual, &[("g1", Gateway), ("g2", Gateway)]);
    let mut world = lab::world(&lab::edge(Stack::Dual), "box", &[&north]);
    world.host.backends.insert(Backend::Kernel);
    lab::up(&mut world, BOX, G1, 4);
    lab::up(&mut world, BOX, G2, 30);
    check("kernel-backend/two-slots", &plan(&world, NOW));
    for gateway in world.gateways.values_mut() {
        gateway.tunnels[0].slot = 3;
    }
    check("kernel-backend/one-slot-shared", &plan(&world, NOW));
}

#[test]
fn each_gateway_looks_for_kernel_wireguard_on_the_port_that_is_kept_for_it() {
    let north = lab::north(Stack::Dual, &[("g1", Gateway), ("g2", Gateway)]);
    let mut edge = lab::world(&lab::edge(Stack::Dual), "box", &[&north]);
    edge.host.backends.insert(Backend::Kernel);
    let edge = plan(&edge, NOW).host;
    for gateway in ["g1", "g2"] {
        let own = lab::key("north", gateway);
        let kept = edge.devices.values().find(|device| device.peers.contains_key(&own)).unwrap();
        let world = lab::world(&north, gateway, &[&lab::edge(Stack::Dual)]);
        let target = plan(&world, NOW).probes.lanes.into_values().next().unwrap();
        let mut looked = target.candidates.iter().map(|candidate| candidate.endpoint.port());
        assert!(looked.any(|port| port == kept.listen_port), "{gateway}: {}", kept.listen_port);
    }
    let ports: Vec<u16> = edge.devices.values().map(|device| device.listen_port).collect();
    assert_eq!(ports, [51820, 51821], "one for each slot of the remote gateways");
}

#[test]
fn a_lane_that_stands_keeps_its_backend_until_another_is_asked_for() {
    let north = lab::north(Stack::Dual, &[("g1", Gateway)]);
    let mut world = lab::world(&lab::edge(Stack::Dual), "box", &[&north]);
    let before = plan(&world, NOW).host.links;
    world.host.standing.insert(Backend::Userspace);
    world.host.backends.insert(Backend::Kernel);
    assert_eq!(plan(&world, NOW).host.links, before);
    world.options.backend = BackendChoice::Kernel;
    assert_ne!(plan(&world, NOW).host.links, before);
}

#[test]
fn a_host_behind_nat_calls_and_is_never_called() {
    let north = lab::north(Stack::V4, &[("g1", Gateway)]);
    let mut edge = lab::edge(Stack::V4);
    edge.nodes[0].candidates.clear();
    let mut world = lab::world(&edge, "box", &[&north]);
    lab::tries(&mut world, BOX, G1, "192.168.10.1:51820");
    check("nat/edge", &plan(&world, NOW));
    let world = lab::world(&north, "g1", &[&edge]);
    check("nat/cluster", &plan(&world, NOW));
}

#[test]
fn a_grant_that_shrinks_takes_its_routes_along_and_nothing_else() {
    let mut north = lab::north(Stack::V4, &[("g1", Gateway)]);
    north.networks = lab::networks(Stack::V4, &["10.1.0.0/17"], &[], &[]);
    let mut world = lab::world(&lab::edge(Stack::V4), "box", &[&north]);
    lab::up(&mut world, BOX, G1, 12);
    check("shrinking-grant/edge", &plan(&world, NOW));
}

#[test]
fn prefixes_that_the_host_needs_itself_are_left_out() {
    let mut north = lab::north(Stack::Dual, &[("g1", Gateway)]);
    north.networks = lab::networks(
        Stack::Dual,
        &["10.1.0.0/16", "10.7.0.0/16", "fd01::/48"],
        &["203.0.113.0/28", "172.20.0.0/16"],
        &["2001:db8:53::/48", "198.51.100.0/24"],
    );
    let mut world = lab::world(&lab::edge(Stack::Dual), "box", &[&north]);
    world.reserved = ["2001:db8:53::53".parse().unwrap()].into();
    lab::up(&mut world, BOX, G1, 12);
    check("overlaps-host/edge", &plan(&world, NOW));
}

#[test]
fn a_link_with_a_name_like_ours_is_the_hosts_unless_it_bears_our_mark() {
    let north = lab::north(Stack::V4, &[("g1", Gateway)]);
    let mut world = lab::world(&lab::edge(Stack::V4), "box", &[&north]);
    let foreign = LinkFacts {
        index: 9,
        mtu: 1400,
        running: true,
        addresses: ["10.1.7.1/24".parse().unwrap()].into(),
        ours: false,
    };
    for name in ["sealane0", "sealane5", "sealane12"] {
        let mut world = world.clone();
        world.host.links.insert(name.parse().unwrap(), foreign.clone());
        let problems = plan(&world, NOW).problems;
        assert!(problems.iter().any(|it| it.reason() == "OverlapsHost"), "{name}: {problems:?}");
    }
    world.host.links.insert("sealane0".parse().unwrap(), LinkFacts { ours: true, ..foreign });
    assert!(plan(&world, NOW).problems.iter().all(|it| it.reason() != "OverlapsHost"));
}

#[test]
fn a_route_of_the_hosts_that_a_prefix_swallows_is_told() {
    let north = lab::north(Stack::V4, &[("g1", Gateway)]);
    let mut world = lab::world(&lab::edge(Stack::V4), "box", &[&north]);
    let mut lead = |destination: &str| {
        let destination = destination.parse().unwrap();
        let key = RouteKey { table: 254, destination, metric: 0 };
        let target = Target::Link("lan0".parse().unwrap());
        world.host.routes.insert(key, Route { target, source: None, mtu: None });
    };
    // The second is wider than what the member has, and loses to it as to any narrower route.
    lead("10.1.128.0/17");
    lead("10.0.0.0/12");
    let problems = plan(&world, NOW).problems;
    let told: Vec<String> = problems
        .iter()
        .filter(|it| it.reason() == "ShadowsRoute")
        .map(|it| format!("{}: {}", it.view().thing, it.view().cause))
        .collect();
    let prefix = "prefix 10.1.0.0/16 of member north";
    let cause = "the lane takes the packets of this host's own route to 10.1.128.0/17";
    assert_eq!(told, [format!("{prefix}: {cause}")]);
}

#[test]
fn a_host_without_ipv6_takes_part_in_ipv4() {
    let north = lab::north(Stack::Dual, &[("g1", Gateway), ("w1", Worker)]);
    let mut world = lab::world(&north, "w1", &[&lab::edge(Stack::Dual)]);
    lab::leg(&mut world, "g1", PathState::Up);
    without_ipv6(&mut world);
    check("no-ipv6/worker", &plan(&world, NOW));

    let mut world = lab::world(&north, "g1", &[&lab::edge(Stack::Dual)]);
    without_ipv6(&mut world);
    check("no-ipv6/gateway-without-probe4", &plan(&world, NOW));
    if let Some(Role::Gateway(own)) = world.me.as_mut().map(|me| &mut me.role) {
        own.probe4 = Some("10.1.255.1".parse().unwrap());
    }
    for gateway in world.gateways.values_mut() {
        gateway.probe4 = Some("10.7.0.255".parse().unwrap());
    }
    check("no-ipv6/gateway-with-probe4", &plan(&world, NOW));
    for gateway in world.gateways.values_mut() {
        gateway.probe4 = None;
    }
    assert_eq!(plan(&world, NOW).problems[0].reason(), "FamilyNotOffered");
    let silent = |world: &World| {
        let reasons = plan(world, NOW).problems.iter().map(|it| it.reason()).collect::<Vec<_>>();
        reasons.contains(&"NoProbeFamily")
    };
    assert!(silent(&world), "its peer names no address");
}

#[test]
fn gateways_that_both_name_an_ipv4_address_probe_over_ipv4_though_one_has_ipv6() {
    let north = lab::north(Stack::Dual, &[("g1", Gateway)]);
    let mut world = lab::world(&lab::edge(Stack::Dual), "box", &[&north]);
    let ends = |world: &World| {
        let plan = plan(world, NOW);
        let target = plan.probes.lanes.values().next().unwrap().clone();
        (target.source.is_ipv4(), target.destination.is_ipv4())
    };
    assert_eq!(ends(&world), (false, false));
    if let Some(Role::Gateway(own)) = world.me.as_mut().map(|me| &mut me.role) {
        own.probe4 = Some("10.7.0.255".parse().unwrap());
    }
    assert_eq!(ends(&world), (false, false), "the other end names none");
    for gateway in world.gateways.values_mut() {
        gateway.probe4 = Some("10.1.255.1".parse().unwrap());
    }
    assert_eq!(ends(&world), (true, true));
}

#[test]
fn a_narrow_path_narrows_its_routes_alone() {
    let north = lab::north(Stack::Dual, &[("g1", Gateway), ("w1", Worker)]);
    let mut edge = lab::world(&lab::edge(Stack::Dual), "box", &[&north]);
    lab::up(&mut edge, BOX, G1, 12);
    edge.lanes.values_mut().for_each(|health| health.path_mtu = Some(1200));
    check("mtu/narrow-path", &plan(&edge, NOW));

    let mut worker = lab::world(&north, "w1", &[&lab::edge(Stack::Dual)]);
    worker.gateways.values_mut().for_each(|gateway| gateway.tunnels[0].mtu = 1360);
    check("mtu/narrow-gateway-seen-by-a-worker", &plan(&worker, NOW));
}

#[test]
fn addresses_of_a_member_that_left_are_refused_until_root_takes_them_back() {
    let north = lab::north(Stack::Dual, &[("g1", Gateway)]);
    let granted = ["10.1.0.0/16", "fd01::/48", "203.0.0.0/16", "172.20.0.0/16"];
    let grant = |world: &mut World| {
        let nets = granted.iter().map(|net| net.parse().unwrap()).collect();
        world.grants.insert(lab::id("north", "g1").member, nets);
        let key = RouteKey { table: 254, destination: "172.20.3.0/24".parse().unwrap(), metric: 0 };
        let target = Target::Link("lan0".parse().unwrap());
        world.host.routes.insert(key, Route { target, source: None, mtu: None });
    };
    let mut world = lab::world(&lab::edge(Stack::Dual), "box", &[&north]);
    grant(&mut world);
    lab::up(&mut world, BOX, G1, 12);
    check("member-left/before", &plan(&world, NOW));
    world.gateways.clear();
    check("member-left/afterwards", &plan(&world, NOW));
    world.host.backends.clear();
    check("member-left/without-a-backend", &plan(&world, NOW));
    world.grants.clear();
    world.members.clear();
    assert!(plan(&world, NOW).host.routes.is_empty());
}

#[test]
fn a_host_that_left_keeps_no_trace() {
    let mut world =
        lab::world(&lab::edge(Stack::Dual), "box", &[&lab::north(Stack::Dual, &[("g1", Gateway)])]);
    assert!(!plan(&world, NOW).host.routes.is_empty());
    world.me = None;
    check("left/edge", &plan(&world, NOW));
}

#[test]
fn an_advertisement_is_held_after_its_expiry_and_then_dropped() {
    let north = lab::north(Stack::V4, &[("g1", Gateway)]);
    let mut world = lab::world(&lab::edge(Stack::V4), "box", &[&north]);
    let (expires, until) = (UnixSeconds(NOW.0 + 10), UnixSeconds(NOW.0 + 20));
    for gateway in world.gateways.values_mut() {
        (gateway.expires, gateway.until) = (expires, Some(until));
    }
    assert_eq!(plan(&world, NOW).wake_at, Some(expires));
    let held = plan(&world, expires);
    assert_eq!(held.wake_at, Some(until));
    assert_eq!(held.problems[0].reason(), "Held");
    assert_eq!(held.host, plan(&world, NOW).host);
    let dropped = plan(&world, until);
    assert!(dropped.host.devices.values().all(|device| device.peers.is_empty()));
}

#[test]
fn a_lane_that_carries_is_not_left_for_one_that_is_a_little_faster() {
    let north = lab::north(Stack::V4, &[("g1", Gateway), ("g2", Gateway)]);
    let mut world = lab::world(&lab::edge(Stack::V4), "box", &[&north]);
    lab::up(&mut world, BOX, G1, 12);
    lab::up(&mut world, BOX, G2, 10);
    let carrier = |world: &World| plan(world, NOW).choices.into_values().next().unwrap();
    assert_eq!(carrier(&world), lab::key("north", "g2"));
    world.choices = [(lab::id("north", "g1").member, lab::key("north", "g1"))].into();
    assert_eq!(carrier(&world), lab::key("north", "g1"));
    lab::up(&mut world, BOX, G2, 3);
    assert_eq!(carrier(&world), lab::key("north", "g2"));
    lab::down(&mut world, BOX, G2);
    assert_eq!(carrier(&world), lab::key("north", "g1"));
}

fn without_ipv6(world: &mut World) {
    world.host.families.remove(&Family::V6);
    for link in world.host.links.values_mut() {
        link.addresses.retain(ipnetwork::IpNetwork::is_ipv4);
    }
}

#[test]
fn a_lane_is_watched_for_its_traffic_when_a_live_gateway_beside_it_could_take_that_over() {
    let north = lab::north(Stack::Dual, &[("g1", Gateway), ("g2", Gateway)]);
    let mut world = lab::world(&lab::edge(Stack::Dual), "box", &[&north]);
    let watched = |world: &World| {
        let lanes = plan(world, NOW).probes.lanes;
        [G1, G2].map(|remote| lanes[&lab::lane(BOX, remote)].traffic)
    };
    lab::up(&mut world, BOX, G1, 1);
    lab::up(&mut world, BOX, G2, 50);
    assert_eq!(watched(&world), [Traffic::Movable, Traffic::Spare]);
    lab::down(&mut world, BOX, G2);
    assert_eq!(watched(&world), [Traffic::Bound, Traffic::Spare], "the other one is dead");
    let lone = lab::north(Stack::Dual, &[("g1", Gateway)]);
    let world = lab::world(&lab::edge(Stack::Dual), "box", &[&lone]);
    assert_eq!(plan(&world, NOW).probes.lanes[&lab::lane(BOX, G1)].traffic, Traffic::Bound);
}
