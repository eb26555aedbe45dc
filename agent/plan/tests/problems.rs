//! What a host says where its plan is not whole. Every problem stands in `cases/problems/told.txt`: how much
//! of the host it touches, the thing, its cause and the next step.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod lab;

use lab::{NOW, Stack};
use sealane_plan::health::{PathState, Session};
use sealane_plan::name::{NodeName, UnixSeconds};
use sealane_plan::plan::plan;
use sealane_plan::world::NodeRole::{Gateway, Worker};
use sealane_plan::world::{HostSource, Node, Role, World};
use sealane_state::link::Backend;
use sealane_state::route::{Route, RouteKey, Target};
use sealane_state::rule::Family;

const BOX: (&str, &str) = ("edge", "box");
const G1: (&str, &str) = ("north", "g1");

#[test]
fn each_problem_names_the_thing_its_cause_and_the_next_step() {
    let mut told = String::new();
    for (story, world) in hosts().into_iter().chain(members()).chain(lanes()).chain(legs()) {
        told.push_str(&format!("{story}\n"));
        for problem in plan(&world, NOW).problems {
            let it = problem.view();
            assert_eq!(it.reason, problem.reason());
            let (severity, reason) = (it.severity, it.reason);
            let (thing, cause, next) = (it.thing, it.cause, it.next);
            told.push_str(&format!("  {severity:?} {reason} {thing}: {cause}; {next}\n"));
        }
    }
    lab::golden("problems/told", &told);
}

type Story = (&'static str, World);

fn hosts() -> Vec<Story> {
    let without_backend = edge(|world| world.host.backends.clear());
    let without_uplink = edge(|world| {
        world.host.routes.clear();
        world.host.links.clear();
    });
    let without_ipv6 = edge(|world| {
        world.host.families.remove(&Family::V6);
    });
    let foreign_source = edge(|world| {
        let sources = ["10.1.9.9", "10.7.0.1", "fd01::9"].map(|source| source.parse().unwrap());
        world.options.source = HostSource::Fixed(sources.into());
    });
    vec![
        ("a host that can run no WireGuard", without_backend),
        ("a host without links", without_uplink),
        ("a host whose kernel has no IPv6", without_ipv6),
        ("a host whose configured sources lie outside its networks", foreign_source),
    ]
}

fn members() -> Vec<Story> {
    let dual = lab::north(Stack::Dual, &[("g1", Gateway)]);
    let narrow = || lab::world(&lab::edge(Stack::V4), "box", &[&dual]);
    let mut not_offered = narrow();
    not_offered.host.families.remove(&Family::V6);
    let overlaps = |claim: &str| {
        let mut north = lab::north(Stack::V4, &[("g1", Gateway)]);
        north.networks = lab::networks(Stack::V4, &["10.1.0.0/16", claim], &[], &[]);
        lab::world(&lab::edge(Stack::V4), "box", &[&north])
    };
    let mut reserved = overlaps("10.53.0.0/16");
    reserved.reserved.insert("10.53.0.53".parse().unwrap());
    let mut shadowed = overlaps("10.5.0.0/16");
    let key = RouteKey { table: 254, destination: "10.5.1.0/24".parse().unwrap(), metric: 0 };
    let target = Target::Link("lan0".parse().unwrap());
    shadowed.host.routes.insert(key, Route { target, source: None, mtu: None });
    let mut south = lab::north(Stack::V4, &[("g1", Gateway)]);
    let wider_and_narrower = ["10.0.0.0/15", "10.96.7.0/24", "10.97.0.0/16"];
    (south.name, south.networks) =
        ("south", lab::networks(Stack::V4, &wider_and_narrower, &[], &[]));
    let taken = lab::world(
        &lab::edge(Stack::V4),
        "box",
        &[&lab::north(Stack::V4, &[("g1", Gateway)]), &south],
    );
    let held = edge(|world| {
        world.gateways.values_mut().for_each(|it| it.expires = UnixSeconds(NOW.0 - 1));
    });
    vec![
        ("a family that only others have", narrow()),
        ("a family that only others have, and not even the kernel", not_offered),
        ("a prefix that overlaps a network of our own", overlaps("10.7.0.0/16")),
        ("a prefix that overlaps a link", overlaps("203.0.113.0/28")),
        ("a prefix over the resolver", reserved),
        ("a prefix over a route of the host's own", shadowed),
        ("prefixes of two members overlap", taken),
        ("an advertisement that has expired", held),
    ]
}

fn lanes() -> Vec<Story> {
    let (own, other) = (lab::key(BOX.0, BOX.1), lab::key(G1.0, G1.1));
    let two = |change: &dyn Fn(&mut World)| {
        let north = lab::north(Stack::Dual, &[("g1", Gateway), ("g2", Gateway)]);
        let mut world = lab::world(&lab::edge(Stack::Dual), "box", &[&north]);
        change(&mut world);
        world
    };
    let keyed = |key| {
        two(&|world| {
            let second = world.gateways.get_mut(&lab::id("north", "g2")).unwrap();
            second.tunnels[0].key = key;
        })
    };
    let slots = |slot: u8| {
        two(&|world| {
            world.host.backends = [Backend::Kernel].into();
            world.gateways.values_mut().for_each(|gateway| gateway.tunnels[0].slot = slot);
        })
    };
    let silent = edge(|world| {
        lab::silent(world, BOX, G1);
        world.lanes.get_mut(&lab::lane(BOX, G1)).unwrap().session = Session::Heard;
    });
    let nowhere = edge(|world| {
        world.gateways.values_mut().for_each(|gateway| gateway.tunnels[0].candidates.clear());
    });
    let deaf = edge(|world| {
        world.host.families.remove(&Family::V6);
        let Some(me) = &mut world.me else { return };
        if let Role::Gateway(own) = &mut me.role {
            own.probe4 = Some("10.7.0.255".parse().unwrap());
        }
    });
    vec![
        ("a lane without a key of the keyring", edge(|world| world.psks.clear())),
        ("a gateway with our own key", keyed(own)),
        ("a gateway with the key of another", keyed(other)),
        ("two gateways in one slot", slots(3)),
        ("gateways in a slot that is none", slots(8)),
        ("a gateway that does not answer", edge(|world| lab::down(world, BOX, G1))),
        ("a gateway whose agent does not answer", silent),
        ("a gateway without an address to try", nowhere),
        ("a gateway that can be probed over IPv6 alone", deaf),
    ]
}

fn legs() -> Vec<Story> {
    let away = worker(|world| {
        let eth0 = world.host.links.get_mut(&"eth0".parse().unwrap()).unwrap();
        eth0.addresses = ["192.0.2.1/24".parse().unwrap()].into();
    });
    let nowhere = worker(|world| world.nodes.values_mut().for_each(|node| node.underlay.clear()));
    let narrow = worker(|world| {
        world.host.links.get_mut(&"eth0".parse().unwrap()).unwrap().mtu = 1300;
    });
    let odd = worker(|world| {
        let node = world.nodes.get_mut(&NodeName("g1".to_owned())).unwrap();
        node.underlay = ["2001:db8:10::1".parse().unwrap()].into();
    });
    let without_source = worker(|world| {
        world.host.links.remove(&"cni0".parse().unwrap());
        world.nodes.values_mut().for_each(|node| node.pods.clear());
    });
    let mut podless = lab::world(
        &lab::north(Stack::V4, &[("g1", Gateway), ("w1", Worker)]),
        "g1",
        &[&lab::edge(Stack::V4)],
    );
    podless.nodes.get_mut(&NodeName("w1".to_owned())).unwrap().pods.clear();
    let crowd = worker(|world| {
        let gateway = |n: u8| {
            let underlay = [[192, 168, 10, n].into()].into();
            let node = Node { underlay, pods: [].into(), role: Gateway };
            (NodeName(format!("x{n:03}")), node)
        };
        world.nodes.extend((100..219).map(gateway));
    });
    let alone = lab::north(Stack::V4, &[("w1", Worker)]);
    vec![
        ("a member without gateways", lab::world(&alone, "w1", &[&lab::edge(Stack::V4)])),
        ("a gateway of our own that does not answer", {
            worker(|world| lab::leg(world, "g1", PathState::Down))
        }),
        ("a node whose address is on none of its links", away),
        ("nodes without any address", nowhere),
        ("a node on a narrow link", narrow),
        ("a gateway without an address of the nodes' family", odd),
        ("a node without a source", without_source),
        ("a node whose pods are unknown", podless),
        ("more gateways than marks", crowd),
    ]
}

/// The edge host of the stories, but for a change.
fn edge(change: impl Fn(&mut World)) -> World {
    let north = lab::north(Stack::Dual, &[("g1", Gateway)]);
    let mut world = lab::world(&lab::edge(Stack::Dual), "box", &[&north]);
    change(&mut world);
    world
}

/// A worker behind one gateway, but for a change.
fn worker(change: impl Fn(&mut World)) -> World {
    let north = lab::north(Stack::V4, &[("g1", Gateway), ("w1", Worker), ("w2", Worker)]);
    let mut world = lab::world(&north, "w1", &[&lab::edge(Stack::V4)]);
    change(&mut world);
    world
}
