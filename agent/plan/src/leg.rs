//! Owns the leg between the nodes of our member: the VXLAN link, who is at its other ends, and the
//! next hops there. Does not own what is routed over it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

use ipnetwork::IpNetwork;
use sealane_state::address::Address;
use sealane_state::host::HostState;
use sealane_state::link::{Link, LinkKind, Mac, Vxlan};
use sealane_state::name::LinkName;
use sealane_state::neighbour::{Fdb, Neighbour};
use sealane_state::owner;
use sealane_state::route::{Route, RouteKey, Target};
use sealane_state::rule::Family;

use crate::digest;
use crate::ground::Ground;
use crate::health::PathState;
use crate::mtu;
use crate::name::NodeName;
use crate::prefix;
use crate::problem::Problem;
use crate::world::{Node, NodeRole};

/// This node's end of the leg.
#[derive(Debug, Clone)]
pub struct Leg<'a> {
    /// The VXLAN link.
    pub link: LinkName,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Outer source, and the link that has it.
    pub local: IpAddr,
    /// The link that has `local`.
    pub underlay: LinkName,
    /// The nodes at the other ends: all others for a gateway, the gateways for a worker.
    pub ends: BTreeMap<&'a NodeName, End<'a>>,
}

/// Another node, as seen over the leg.
#[derive(Debug, Clone)]
pub struct End<'a> {
    /// The node.
    pub node: &'a Node,
    /// Outer destination.
    pub remote: IpAddr,
    /// Its end's link-layer address.
    pub mac: Mac,
    /// Next hop for both families; IPv4 only where this host has no IPv6.
    pub next_hop: IpAddr,
    /// What probes say; not probed unless it is a gateway.
    pub state: PathState,
}

impl<'a> Leg<'a> {
    /// Returns this node's end; `None` on a host that stands alone or cannot take part.
    pub fn survey(ground: &Ground<'a>, problems: &mut BTreeSet<Problem>) -> Option<Self> {
        let others = others(ground);
        if others.is_empty() {
            if ground.gateway().is_none() {
                problems.insert(Problem::NoGateway);
            }
            return None;
        }
        let outer = outer_family(ground);
        let Some((local, underlay, underlay_mtu)) = own_end(ground, outer) else {
            problems.insert(Problem::UnderlayNotHere(ground.me.node.clone()));
            return None;
        };
        let ends = ends(ground, others, outer, problems);
        let link: LinkName = owner::VXLAN_LINK.parse().ok()?;
        let mtu = mtu::of_leg(underlay_mtu, outer, ground.lane_mtu);
        mtu::check(&link, mtu, problems);
        Some(Self { link, mtu, local, underlay, ends })
    }

    /// Returns the ends that carry lanes, by name.
    pub fn gateways(&self) -> impl Iterator<Item = (&'a NodeName, &End<'a>)> {
        self.ends.iter().filter(|(_, end)| end.node.role == NodeRole::Gateway).map(|(n, e)| (*n, e))
    }

    /// Returns the way to another end.
    pub fn target(&self, end: &End<'_>) -> Target {
        Target::Via { link: self.link.clone(), gateway: end.next_hop }
    }

    /// Puts the link, its addresses, neighbours and forwarding entries into `host`.
    pub fn place(&self, ground: &Ground<'_>, host: &mut HostState) {
        let vxlan = Vxlan {
            vni: owner::VXLAN_VNI,
            port: owner::VXLAN_PORT,
            local: self.local,
            underlay: self.underlay.clone(),
            mac: mac(&ground.me.node),
        };
        let kind = LinkKind::Vxlan(vxlan);
        host.links.insert(self.link.clone(), Link { kind, mtu: self.mtu, up: true });
        if ground.offered.contains(&Family::V6) {
            let own = IpNetwork::new(link_local(&ground.me.node).into(), 64);
            let link = self.link.clone();
            host.addresses.extend(own.ok().map(|net| Address { link, net }));
        }
        for end in self.ends.values() {
            let (link, mac) = (self.link.clone(), end.mac);
            host.fdb.insert(Fdb { link: link.clone(), mac, remote: end.remote });
            host.neighbours.insert(Neighbour { link, address: end.next_hop, mac });
        }
        host.routes.extend(self.ends.values().filter_map(|end| self.route_to(end)));
    }

    /// Our addresses bring no routes of their own, so what is sent to another end itself, such as a
    /// probe, needs one. Without IPv6 the ends are underlay addresses, which the host reaches.
    fn route_to(&self, end: &End<'_>) -> Option<(RouteKey, Route)> {
        let destination = prefix::host(end.next_hop);
        let key = RouteKey { table: owner::TABLE_REMOTE, destination, metric: 0 };
        let route = Route { target: Target::Link(self.link.clone()), source: None, mtu: None };
        (prefix::family(destination) == Family::V6).then_some((key, route))
    }
}

/// Returns the link-local address of a node's end.
pub fn link_local(node: &NodeName) -> Ipv6Addr {
    let id = digest::of("leg address", &[node.0.as_bytes()]);
    Ipv6Addr::from((0xfe80_u128 << 112) | u128::from(id))
}

/// Returns the link-layer address of a node's end: locally administered, 40 bits of the name's hash.
pub fn mac(node: &NodeName) -> Mac {
    let [_, _, _, a, b, c, d, e] = digest::of("leg mac", &[node.0.as_bytes()]).to_be_bytes();
    Mac([0x02, a, b, c, d, e])
}

fn others<'a>(ground: &Ground<'a>) -> BTreeMap<&'a NodeName, &'a Node> {
    let all = ground.gateway().is_some();
    let others = ground.world.nodes.iter().filter(|(name, _)| **name != ground.me.node);
    others.filter(|(_, node)| all || node.role == NodeRole::Gateway).collect()
}

/// Returns the family of all outer packets: the one that most nodes have, IPv4 where both do. Every
/// node of the member comes to the same answer, whatever the node is.
fn outer_family(ground: &Ground<'_>) -> Family {
    let reach = |family: Family| {
        let nodes = ground.world.nodes.values();
        nodes.filter(|node| underlay(node, family).is_some()).count()
    };
    if reach(Family::V6) > reach(Family::V4) { Family::V6 } else { Family::V4 }
}

fn underlay(node: &Node, family: Family) -> Option<IpAddr> {
    node.underlay.iter().copied().find(|address| prefix::family_of(*address) == family)
}

fn own_end(ground: &Ground<'_>, outer: Family) -> Option<(IpAddr, LinkName, u32)> {
    let node = ground.world.nodes.get(&ground.me.node)?;
    let own = underlay(node, outer)?;
    let (link, _) = ground.foreign_networks().find(|(_, net)| net.ip() == own)?;
    Some((own, link.clone(), ground.world.host.links.get(link)?.mtu))
}

fn ends<'a>(
    ground: &Ground<'a>,
    others: BTreeMap<&'a NodeName, &'a Node>,
    outer: Family,
    problems: &mut BTreeSet<Problem>,
) -> BTreeMap<&'a NodeName, End<'a>> {
    let mut ends = BTreeMap::new();
    for (name, node) in others {
        let Some(remote) = underlay(node, outer) else {
            problems.insert(Problem::UnderlayFamily { node: name.clone(), family: outer });
            continue;
        };
        let next_hop = match ground.offered.contains(&Family::V6) {
            true => link_local(name).into(),
            false => remote,
        };
        let state = ground.world.legs.get(name).map_or(PathState::Unknown, |leg| leg.state);
        ends.insert(name, End { node, remote, mac: mac(name), next_hop, state });
    }
    ends
}
