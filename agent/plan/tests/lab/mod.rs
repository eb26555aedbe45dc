//! A small world to tell stories in: members, their nodes, and what one of their hosts knows. Shared
//! by the test files below `tests/`; not every one of them uses all of it.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use ipnetwork::IpNetwork;
use sealane_plan::health::{EndpointAdvice, LaneHealth, LegHealth, PathState, Session};
use sealane_plan::name::{GatewayId, LaneId, MemberId, NodeName, UnixSeconds};
use sealane_plan::plan::Plan;
use sealane_plan::remote::{
    Candidate, CandidateKind, GatewayState, Networks, RemoteGateway, RemoteTunnel,
};
use sealane_plan::world::{Me, Node, NodeRole, OwnGateway, OwnTunnel, Role, World};
use sealane_state::facts::LinkFacts;
use sealane_state::link::Backend;
use sealane_state::route::{Route, RouteKey, Target};
use sealane_state::rule::Family;
use sealane_state::wireguard::{Displaces, PskFingerprint, PublicKey};

/// The present, in all stories.
pub const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

/// Which families a story is told in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stack {
    /// IPv4 alone.
    V4,
    /// IPv6 alone.
    V6,
    /// Both.
    Dual,
}

impl Stack {
    fn has(self, prefix: IpNetwork) -> bool {
        match self {
            Self::V4 => prefix.is_ipv4(),
            Self::V6 => prefix.is_ipv6(),
            Self::Dual => true,
        }
    }

    fn only<T: std::str::FromStr>(self, texts: &[&str]) -> Vec<T> {
        let kept = texts.iter().filter(|text| self.has(host_or_net(text)));
        kept.map(|text| text.parse().ok().expect("fixture")).collect()
    }
}

/// A member of the story.
#[derive(Clone)]
pub struct Member {
    pub name: &'static str,
    pub networks: Networks,
    pub nodes: Vec<Host>,
}

/// A node of a member, and the links it has.
#[derive(Clone)]
pub struct Host {
    pub name: &'static str,
    pub role: NodeRole,
    pub underlay: Vec<IpAddr>,
    pub pods: Vec<IpNetwork>,
    pub links: Vec<(&'static str, u32, Vec<IpNetwork>)>,
    pub slot: u8,
    pub candidates: Vec<Candidate>,
}

/// The cluster of most stories: pods 10.1.0.0/16 and fd01::/48, a network of them on each node.
pub fn north(stack: Stack, nodes: &[(&'static str, NodeRole)]) -> Member {
    let number = |place: usize| place + 1;
    let hosts = nodes.iter().enumerate().map(|(place, (name, role))| {
        let n = number(place);
        let addresses = [format!("192.168.10.{n}"), format!("2001:db8:10::{n}")];
        let pods = [format!("10.1.{n}.0/24"), format!("fd01:0:0:{n}::/64")];
        let bridge = [format!("10.1.{n}.1/24"), format!("fd01:0:0:{n}::1/64")];
        let on_link = [format!("192.168.10.{n}/24"), format!("2001:db8:10::{n}/64")];
        let texts = |four: &[String; 2]| stack.only(&[four[0].as_str(), four[1].as_str()]);
        Host {
            name,
            role: *role,
            underlay: texts(&addresses).into_iter().map(|net: IpNetwork| net.ip()).collect(),
            pods: texts(&pods),
            links: vec![("eth0", 1500, texts(&on_link)), ("cni0", 1450, texts(&bridge))],
            slot: u8::try_from(place).unwrap(),
            candidates: reached_at(stack, &addresses),
        }
    });
    Member {
        name: "north",
        networks: networks(
            stack,
            &["10.1.0.0/16", "fd01::/48"],
            &["10.96.0.0/16", "fd96::/112"],
            &[],
        ),
        nodes: hosts.collect(),
    }
}

/// An edge host that stands alone, with a LAN behind it.
pub fn edge(stack: Stack) -> Member {
    let lan = stack.only(&["10.7.0.1/24", "fd07::1/64"]);
    let outside = stack.only(&["203.0.113.7/24", "2001:db8:7::7/64"]);
    Member {
        name: "edge",
        networks: networks(stack, &[], &[], &["10.7.0.0/24", "fd07::/64"]),
        nodes: vec![Host {
            name: "box",
            role: NodeRole::Gateway,
            underlay: Vec::new(),
            pods: Vec::new(),
            links: vec![("wan0", 1500, outside), ("lan0", 1500, lan)],
            slot: 0,
            candidates: reached_at(stack, &["203.0.113.7".to_owned(), "2001:db8:7::7".to_owned()]),
        }],
    }
}

/// What host `node` of `own` knows when all is new: nobody was probed yet.
pub fn world(own: &Member, node: &str, others: &[&Member]) -> World {
    let host = own.nodes.iter().find(|host| host.name == node).expect("fixture");
    let mut world = World::default();
    let role = match host.role {
        NodeRole::Worker => Role::Node,
        NodeRole::Gateway => Role::Gateway(OwnGateway {
            tunnel: OwnTunnel { key: key(own.name, host.name), slot: host.slot },
            probe: probe(own.name, host.name),
            probe4: None,
        }),
    };
    world.me = Some(Me {
        member: MemberId(own.name.to_owned()),
        node: NodeName(host.name.to_owned()),
        role,
        networks: own.networks.clone(),
    });
    if own.nodes.len() > 1 || !host.pods.is_empty() {
        world.nodes =
            own.nodes.iter().map(|host| (NodeName(host.name.into()), facts(host))).collect();
    }
    for other in others {
        world.members.insert(MemberId(other.name.to_owned()));
        for gateway in other.nodes.iter().filter(|host| host.role == NodeRole::Gateway) {
            let tunnel = key(other.name, gateway.name);
            let lane = LaneId { own: key(own.name, host.name), remote: tunnel };
            world.psks.insert(lane, PskFingerprint(tunnel.0[..8].try_into().unwrap()));
            world.gateways.insert(id(other.name, gateway.name), remote(other, gateway));
        }
    }
    furnish(&mut world, host);
    world
}

/// Lets probes find a lane up, with a round trip in milliseconds.
pub fn up(world: &mut World, own: (&str, &str), remote: (&str, &str), rtt_milliseconds: u64) {
    let health = LaneHealth {
        state: PathState::Up,
        since: Some(NOW),
        rtt: Some(Duration::from_millis(rtt_milliseconds)),
        ..LaneHealth::default()
    };
    world.lanes.insert(lane(own, remote), health);
}

/// Lets probes find a lane down.
pub fn down(world: &mut World, own: (&str, &str), remote: (&str, &str)) {
    let health = LaneHealth { state: PathState::Down, ..LaneHealth::default() };
    world.lanes.insert(lane(own, remote), health);
}

/// Lets probes find a lane down whose tunnel still has a session.
pub fn silent(world: &mut World, own: (&str, &str), remote: (&str, &str)) {
    down(world, own, remote);
    world.lanes.entry(lane(own, remote)).or_default().session = Session::Live;
}

/// Lets the prober ask for an address to be tried.
pub fn tries(world: &mut World, own: (&str, &str), remote: (&str, &str), endpoint: &str) {
    let health = world.lanes.entry(lane(own, remote)).or_default();
    let endpoint = endpoint.parse().unwrap();
    health.endpoint = EndpointAdvice::Try { endpoint, displaces: Displaces::Nothing };
}

/// Gives a remote gateway a further key, in the slot four above.
pub fn second_key(world: &mut World, own: (&str, &str), of: (&str, &str), next: (&str, &str)) {
    let id = lane(own, next);
    world.psks.insert(id, PskFingerprint(id.remote.0[..8].try_into().unwrap()));
    let gateway = world.gateways.get_mut(&self::id(of.0, of.1)).unwrap();
    let first = gateway.tunnels[0].clone();
    gateway.tunnels.push(RemoteTunnel { key: id.remote, slot: first.slot + 4, ..first });
}

/// Lets the devices of a plan have shaken hands with a key.
pub fn shook_hands(world: &mut World, plan: &Plan, with: (&str, &str), at: u64) {
    let key = key(with.0, with.1);
    for (link, device) in &plan.host.devices {
        if device.peers.contains_key(&key) {
            let facts = world.host.peers.entry(link.clone()).or_default().entry(key).or_default();
            facts.counters.last_handshake = Some(at);
        }
    }
}

/// Sets what probes say of the leg to a gateway.
pub fn leg(world: &mut World, node: &str, state: PathState) {
    world.legs.insert(NodeName(node.to_owned()), LegHealth { state, rtt: None });
}

pub fn id(member: &str, gateway: &str) -> GatewayId {
    GatewayId { member: MemberId(member.to_owned()), gateway: NodeName(gateway.to_owned()) }
}

pub fn lane(own: (&str, &str), remote: (&str, &str)) -> LaneId {
    LaneId { own: key(own.0, own.1), remote: key(remote.0, remote.1) }
}

/// A key that is told by its first letters in base64.
pub fn key(member: &str, gateway: &str) -> PublicKey {
    let mut bytes = [0u8; 32];
    for (place, byte) in format!("{member}.{gateway}").bytes().take(32).enumerate() {
        bytes[place] = byte;
    }
    PublicKey(bytes)
}

pub fn probe(member: &str, gateway: &str) -> Ipv6Addr {
    let text = format!("{member}.{gateway}");
    let mut octets = [0u8; 16];
    octets[0] = 0xfd;
    for (place, byte) in text.bytes().rev().take(10).enumerate() {
        octets[15 - place] = byte;
    }
    octets.into()
}

pub fn networks(stack: Stack, pods: &[&str], services: &[&str], external: &[&str]) -> Networks {
    let set = |texts| stack.only::<IpNetwork>(texts).into_iter().collect();
    Networks { pods: set(pods), services: set(services), external: set(external) }
}

/// Compares a text with `tests/cases/<case>.txt`; with `UPDATE_EXPECT=1` writes that file instead.
pub fn golden(case: &str, found: &str) {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(format!("{case}.txt"));
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    if found != expected {
        let first = found.lines().zip(expected.lines()).find(|(a, b)| a != b);
        panic!("{case} differs, first at {first:#?}; UPDATE_EXPECT=1 accepts this:\n{found}");
    }
}

fn facts(host: &Host) -> Node {
    Node {
        underlay: host.underlay.iter().copied().collect(),
        pods: host.pods.iter().copied().collect(),
        role: host.role,
    }
}

fn remote(member: &Member, gateway: &Host) -> RemoteGateway {
    RemoteGateway {
        networks: member.networks.clone(),
        probe: probe(member.name, gateway.name),
        probe4: None,
        tunnels: vec![RemoteTunnel {
            key: key(member.name, gateway.name),
            slot: gateway.slot,
            mtu: 1420,
            candidates: gateway.candidates.clone(),
        }],
        state: GatewayState::Active,
        expires: UnixSeconds(NOW.0 + 2_592_000),
        until: Some(UnixSeconds(NOW.0 + 5_184_000)),
    }
}

fn furnish(world: &mut World, host: &Host) {
    world.host.families = [Family::V4, Family::V6].into();
    world.host.backends = [Backend::Userspace].into();
    for (place, (name, mtu, addresses)) in host.links.iter().enumerate() {
        let link = LinkFacts {
            index: u32::try_from(place).unwrap() + 2,
            mtu: *mtu,
            running: true,
            addresses: addresses.iter().copied().collect(),
            ours: false,
        };
        world.host.links.insert(name.parse().unwrap(), link);
    }
    let (uplink, ..) = host.links[0];
    let key = RouteKey { table: 254, destination: "0.0.0.0/0".parse().unwrap(), metric: 0 };
    let target = Target::Link(uplink.parse().unwrap());
    world.host.routes = BTreeMap::from([(key, Route { target, source: None, mtu: None })]);
}

fn reached_at(stack: Stack, addresses: &[String; 2]) -> Vec<Candidate> {
    let ips: Vec<IpNetwork> = stack.only(&[addresses[0].as_str(), addresses[1].as_str()]);
    let endpoint = |net: IpNetwork| (net.ip(), 51820).into();
    ips.into_iter()
        .map(|net| Candidate { kind: CandidateKind::Private, endpoint: endpoint(net) })
        .collect()
}

fn host_or_net(text: &str) -> IpNetwork {
    text.parse().expect("fixture")
}
