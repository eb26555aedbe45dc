//! How facts and plan read: the documents of three hosts, and the sentence for each state of a member and
//! each role of a lane.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod lab;

use std::fmt::Write as _;
use std::time::Duration;

use lab::{NOW, Stack};
use sealane_plan::documents;
use sealane_plan::health::{PathState, Session};
use sealane_plan::plan::plan;
use sealane_plan::remote::{CandidateKind, GatewayState};
use sealane_plan::world::NodeRole::{Gateway, Worker};
use sealane_plan::world::{HostSource, World};

const BOX: (&str, &str) = ("edge", "box");
const G1: (&str, &str) = ("north", "g1");
const G2: (&str, &str) = ("north", "g2");

#[test]
fn the_documents_of_an_edge_host_tell_lanes_routes_and_what_is_left_out() {
    let mut north = lab::north(Stack::Dual, &[("g1", Gateway)]);
    north.networks.external = ["203.0.113.0/28".parse().unwrap()].into();
    let mut world = lab::world(&lab::edge(Stack::Dual), "box", &[&north]);
    lab::up(&mut world, BOX, G1, 12);
    lab::second_key(&mut world, BOX, G1, ("north", "g1-next"));
    let before = plan(&world, NOW);
    lab::shook_hands(&mut world, &before, G1, 100);
    let gateway = world.gateways.get_mut(&lab::id("north", "g1")).unwrap();
    gateway.tunnels[0].slot = 5;
    gateway.tunnels[0].candidates[0].kind = CandidateKind::Observed;
    gateway.tunnels[0].candidates[1].kind = CandidateKind::Public;
    check("documents/edge", &world);
}

#[test]
fn the_documents_of_a_gateway_tell_the_nodes_behind_it() {
    let nodes = [("g1", Gateway), ("g2", Gateway), ("w1", Worker)];
    let mut world = lab::world(&lab::north(Stack::Dual, &nodes), "g1", &[&lab::edge(Stack::Dual)]);
    lab::silent(&mut world, G1, BOX);
    lab::tries(&mut world, G1, BOX, "198.51.100.7:51820");
    world.lanes.get_mut(&lab::lane(G1, BOX)).unwrap().session = Session::Heard;
    lab::leg(&mut world, "g2", PathState::Up);
    world.legs.values_mut().for_each(|leg| leg.rtt = Some(Duration::from_micros(700)));
    world.gateways.values_mut().for_each(|gateway| gateway.state = GatewayState::Draining);
    let fixed = ["10.1.1.0".parse().unwrap()];
    world.options.source = HostSource::Fixed(fixed.into());
    check("documents/gateway", &world);
}

#[test]
fn the_documents_of_a_worker_tell_its_gateways() {
    let nodes = [("g1", Gateway), ("w1", Worker)];
    let mut world = lab::world(&lab::north(Stack::Dual, &nodes), "w1", &[&lab::edge(Stack::Dual)]);
    lab::leg(&mut world, "g1", PathState::Down);
    check("documents/worker", &world);
}

#[test]
fn each_state_of_a_member_and_each_role_of_a_lane_has_its_sentence() {
    let mut told = String::new();
    for (story, world) in at_the_edge().into_iter().chain(at_a_worker()) {
        let plan = plan(&world, NOW);
        let _ = writeln!(told, "{story}");
        for member in documents::members::of(&world, &plan) {
            let (state, via) = (member.state, member.via.as_deref().unwrap_or("-"));
            let (live, all, why) = (member.live_gateways, member.gateways, member.reason);
            let _ = writeln!(told, "  {state:?} {live}/{all} via {via}: {why}");
        }
        for peer in documents::peers::of(&world, &plan).peers {
            let does = if peer.carries { "carries" } else { "does not carry" };
            let _ = writeln!(told, "  {} {:?} {does}: {}", peer.gateway, peer.state, peer.reason);
        }
    }
    lab::golden("documents/reasons", &told);
}

type Story = (&'static str, World);

fn at_the_edge() -> Vec<Story> {
    let up = |world: &mut World| {
        lab::up(world, BOX, G1, 4);
        lab::up(world, BOX, G2, 30);
    };
    let down = |world: &mut World| {
        lab::down(world, BOX, G1);
        lab::down(world, BOX, G2);
    };
    let session = |world: &mut World, session| {
        down(world);
        world.lanes.get_mut(&lab::lane(BOX, G2)).unwrap().session = session;
    };
    let state = |world: &mut World, gateway: &str, state| {
        world.gateways.get_mut(&lab::id("north", gateway)).unwrap().state = state;
    };
    let lone = |change: &dyn Fn(&mut World)| {
        let north = lab::north(Stack::V4, &[("g1", Gateway)]);
        let mut world = lab::world(&lab::edge(Stack::V4), "box", &[&north]);
        change(&mut world);
        world
    };
    vec![
        ("listed alone", lone(&|world| world.gateways.clear())),
        ("one gateway, not heard of yet", lone(&|_| {})),
        ("one gateway, up", lone(&|world| lab::up(world, BOX, G1, 4))),
        ("one gateway, down", lone(&|world| lab::down(world, BOX, G1))),
        ("one gateway without a key", lone(&|world| world.psks.clear())),
        ("two gateways, none heard of yet", edge(&|_| {})),
        ("two gateways, both up", edge(&up)),
        ("two gateways, the slower one carried before", {
            edge(&|world| {
                lab::up(world, BOX, G1, 4);
                lab::up(world, BOX, G2, 6);
                world.choices = [(lab::id("north", "g2").member, lab::key("north", "g2"))].into();
            })
        }),
        ("two gateways, one of them down", {
            edge(&|world| {
                up(world);
                lab::down(world, BOX, G1);
            })
        }),
        ("two gateways, one of them about to stop", {
            edge(&|world| {
                up(world);
                state(world, "g1", GatewayState::Draining);
            })
        }),
        ("two gateways, the slower one alone has a network", {
            edge(&|world| {
                up(world);
                let slower = world.gateways.get_mut(&lab::id("north", "g2")).unwrap();
                slower.networks.external = ["10.50.0.0/16".parse().unwrap()].into();
            })
        }),
        ("two gateways, both down", edge(&down)),
        ("both down, one tunnel has a session", edge(&|world| session(world, Session::Live))),
        ("both down, one tunnel is heard", edge(&|world| session(world, Session::Heard))),
    ]
}

fn at_a_worker() -> Vec<Story> {
    let worker = |nodes: &[_], legs: &[(&str, PathState)]| {
        let own = lab::north(Stack::V4, nodes);
        let mut world = lab::world(&own, "w1", &[&lab::edge(Stack::V4)]);
        for (gateway, state) in legs {
            lab::leg(&mut world, gateway, *state);
        }
        world
    };
    let (one, two) = ([("g1", Gateway), ("w1", Worker)], [("g1", Gateway), ("g2", Gateway)]);
    let two: Vec<_> = two.into_iter().chain([("w1", Worker)]).collect();
    let (up, down) = (PathState::Up, PathState::Down);
    vec![
        ("a worker without a gateway", worker(&[("w1", Worker)], &[])),
        ("a worker whose gateway was not heard of yet", worker(&one, &[])),
        ("a worker whose gateway answers", worker(&one, &[("g1", up)])),
        ("a worker whose gateway is silent", worker(&one, &[("g1", down)])),
        ("a worker, one of its two gateways answers", worker(&two, &[("g1", up), ("g2", down)])),
        ("a worker, both gateways are silent", worker(&two, &[("g1", down), ("g2", down)])),
    ]
}

/// An edge host and a member of two gateways, but for a change.
fn edge(change: &dyn Fn(&mut World)) -> World {
    let north = lab::north(Stack::V4, &[("g1", Gateway), ("g2", Gateway)]);
    let mut world = lab::world(&lab::edge(Stack::V4), "box", &[&north]);
    change(&mut world);
    world
}

/// Compares all documents of a host with a golden file, as `-o json` prints them.
fn check(case: &str, world: &World) {
    let plan = plan(world, NOW);
    let mut document = documents::plan(world, &plan, vec!["one step".to_owned()]);
    let host = std::mem::take(&mut document.host).join("\n");
    assert_eq!(format!("{host}\n"), plan.host.to_string());
    let texts = [
        ("plan", serde_json::to_string_pretty(&document)),
        ("peers", serde_json::to_string_pretty(&documents::peers::of(world, &plan))),
        ("routes", serde_json::to_string_pretty(&documents::routes::of(&plan))),
        ("world", serde_json::to_string_pretty(&documents::world::of(world))),
    ];
    let texts = texts.map(|(name, text)| format!("{name} {}\n", text.unwrap()));
    lab::golden(case, &texts.concat());
}
