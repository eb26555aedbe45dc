//! Which gateway of a member carries what: by loss and round trips, by what each one reaches, and with two
//! keys on one way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod lab;

use lab::{NOW, Stack};
use sealane_plan::plan::plan;
use sealane_plan::remote::GatewayState;
use sealane_plan::world::NodeRole::Gateway;
use sealane_plan::world::World;
use sealane_state::owner;
use sealane_state::route::RouteKey;

const BOX: (&str, &str) = ("edge", "box");
const G1: (&str, &str) = ("north", "g1");
const G2: (&str, &str) = ("north", "g2");

#[test]
fn loss_counts_in_steps_of_a_twentieth_and_before_the_round_trip() {
    for (loss, carrier) in [(0, "g1"), (49, "g1"), (50, "g2"), (100, "g2"), (1000, "g2")] {
        let mut world = two_gateways();
        loses(&mut world, G1, loss);
        assert_eq!(carries(&world), lab::key("north", carrier), "g1 loses {loss} of 1000");
    }
}

#[test]
fn a_lane_that_carries_is_kept_only_while_it_is_as_good_in_every_respect() {
    type Change = fn(&mut World);
    let changes: [(&str, &str, Change); 5] = [
        ("it loses a little more", "g2", |world| loses(world, G2, 50)),
        ("it loses much more", "g1", |world| loses(world, G2, 51)),
        ("it takes much longer", "g1", |world| lab::up(world, BOX, G2, 26)),
        ("it fails", "g1", |world| lab::down(world, BOX, G2)),
        ("its gateway is about to stop", "g1", |world| {
            let gateway = world.gateways.get_mut(&lab::id("north", "g2")).unwrap();
            gateway.state = GatewayState::Draining;
        }),
    ];
    for (story, carrier, change) in changes {
        let mut world = two_gateways();
        lab::up(&mut world, BOX, G2, 20);
        world.choices = [(lab::id("north", "g2").member, lab::key("north", "g2"))].into();
        assert_eq!(carries(&world), lab::key("north", "g2"));
        change(&mut world);
        assert_eq!(carries(&world), lab::key("north", carrier), "{story}");
    }
}

#[test]
fn a_network_inside_one_that_a_better_gateway_has_is_no_way_of_its_own() {
    let mut world = two_gateways();
    networks(&mut world, G1, &["10.1.0.0/16"]);
    networks(&mut world, G2, &["10.1.5.0/24", "10.50.0.0/16"]);
    let plan = plan(&world, NOW);
    let remote = plan.host.routes.keys().filter(|key| key.table == owner::TABLE_REMOTE);
    let mut ways: Vec<_> = remote.map(|key| key.destination.to_string()).collect();
    ways.retain(|way| way.starts_with("10."));
    ways.dedup();
    assert_eq!(ways, ["10.1.0.0/16", "10.50.0.0/16"]);
}

#[test]
fn a_gateway_may_send_from_a_network_of_which_a_better_one_has_a_part() {
    let mut world = two_gateways();
    networks(&mut world, G1, &["10.1.5.0/24"]);
    networks(&mut world, G2, &["10.1.0.0/16", "10.50.0.0/16"]);
    let plan = plan(&world, NOW);
    let peers = &plan.host.devices.values().next().unwrap().peers;
    let sources = |gateway: (&str, &str)| {
        let peer = &peers[&lab::key(gateway.0, gateway.1)];
        peer.accepted_sources.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(sources(G2), ["10.1.0.0/16"], "what it has alone needs no second mention");
    assert!(sources(G1).is_empty());
}

#[test]
fn a_prefix_that_no_lane_leads_to_is_refused() {
    let mut world = two_gateways();
    networks(&mut world, G2, &["10.50.0.0/16"]);
    world.psks.remove(&lab::lane(BOX, G2));
    let routes = plan(&world, NOW).host.routes;
    let target = |destination: &str| {
        let destination = destination.parse().unwrap();
        let key = RouteKey { table: owner::TABLE_REMOTE, destination, metric: 0 };
        format!("{:?}", routes[&key].target)
    };
    assert_eq!(target("10.50.0.0/16"), "Unreachable");
    assert_eq!(target("10.1.0.0/16"), "Link(sealane0)");
}

#[test]
fn only_the_keys_of_one_gateway_share_what_is_found_out_of_their_way() {
    let mut world = two_gateways();
    lab::second_key(&mut world, BOX, G1, ("north", "g1-next"));
    let lanes = plan(&world, NOW).probes.lanes;
    let companions = |gateway: &str| {
        let target = lanes.values().find(|it| it.gateway == lab::id("north", gateway)).unwrap();
        target.companions.keys().copied().collect::<Vec<_>>()
    };
    assert_eq!(lanes.len(), 2, "of two keys one is probed");
    let probed = lanes.contains_key(&lab::lane(BOX, G1));
    let other = if probed { lab::key("north", "g1-next") } else { lab::key("north", "g1") };
    assert_eq!(companions("g1"), [other]);
    assert!(companions("g2").is_empty());
}

/// An edge host with lanes to two gateways: the first answers in 10 ms, the second in 30.
fn two_gateways() -> World {
    let north = lab::north(Stack::V4, &[("g1", Gateway), ("g2", Gateway)]);
    let mut world = lab::world(&lab::edge(Stack::V4), "box", &[&north]);
    lab::up(&mut world, BOX, G1, 10);
    lab::up(&mut world, BOX, G2, 30);
    world
}

fn carries(world: &World) -> sealane_state::wireguard::PublicKey {
    plan(world, NOW).choices.into_values().next().unwrap()
}

fn loses(world: &mut World, gateway: (&str, &str), permille: u16) {
    world.lanes.get_mut(&lab::lane(BOX, gateway)).unwrap().loss_permille = permille;
}

fn networks(world: &mut World, gateway: (&str, &str), pods: &[&str]) {
    let gateway = world.gateways.get_mut(&lab::id(gateway.0, gateway.1)).unwrap();
    gateway.networks = lab::networks(Stack::V4, pods, &[], &[]);
}
