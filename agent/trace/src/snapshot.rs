//! Owns what a walk is told of a host, and plain questions about it. Decides nothing.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use sealane_state::facts::{HostFacts, RoutingSnapshot};
use sealane_state::host::HostState;
use sealane_state::link::{LinkKind, Mac};
use sealane_state::name::LinkName;
use sealane_state::wireguard::PublicKey;
use sealane_view::peers::{LegView, PeerView, PeersDocument};

use crate::nft::ruleset::Ruleset;
use crate::packet::Entry;

/// One look at a host, all parts taken as close in time as they can be.
#[derive(Debug, Clone, Copy)]
pub struct Snapshot<'s> {
    /// `member.node` of the host.
    pub at: &'s str,
    /// Wall clock, Unix seconds.
    pub now: u64,
    /// All rules and routes.
    pub routing: &'s RoutingSnapshot,
    /// Our things as observed, not as planned; its filter table is not read.
    pub host: &'s HostState,
    /// The host besides.
    pub facts: &'s HostFacts,
    /// All nftables tables, ours too; `None` when they could not be read.
    pub ruleset: Option<&'s Ruleset>,
    /// Names, health and path MTU of lanes and legs.
    pub peers: &'s PeersDocument,
    /// Networks of our own member.
    pub networks: &'s [IpNetwork],
    /// Accepted networks of other members, with the member's name.
    pub remotes: &'s [(IpNetwork, String)],
}

/// Whose a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkUse {
    /// A lane link of ours.
    Lane,
    /// The leg.
    Leg,
    /// Not ours.
    Foreign,
}

impl<'s> Snapshot<'s> {
    /// Returns whose a link is.
    pub fn use_of(&self, link: &LinkName) -> LinkUse {
        match self.host.links.get(link).map(|link| &link.kind) {
            Some(LinkKind::WireGuard(_)) => LinkUse::Lane,
            Some(LinkKind::Vxlan(_)) => LinkUse::Leg,
            None => LinkUse::Foreign,
        }
    }

    /// Returns how a packet comes in that arrives by `link` from the agent at `from`: its address
    /// inside the lane, or its end of the leg.
    pub fn entry(&self, link: &LinkName, from: IpAddr) -> Entry {
        match self.use_of(link) {
            LinkUse::Lane => {
                Entry::Lane { link: link.clone(), peer: self.peer_holding(link, from) }
            }
            LinkUse::Leg => Entry::Leg { link: link.clone(), mac: self.mac_of(link, from) },
            LinkUse::Foreign => Entry::Link(link.clone()),
        }
    }

    /// Returns the peer that packets to `address` are encrypted for: the longest allowed IP wins.
    pub fn peer_holding(&self, link: &LinkName, address: IpAddr) -> Option<PublicKey> {
        let peers = self.host.devices.get(link).into_iter().flat_map(|device| &device.peers);
        let holding = peers.flat_map(|(key, peer)| {
            let nets = peer.allowed_ips.iter().filter(move |net| net.contains(address));
            nets.map(move |net| (net.prefix(), *key))
        });
        holding.max_by_key(|(length, _)| *length).map(|(_, key)| key)
    }

    /// Returns the link-layer address behind a next hop or an underlay address of the leg.
    pub fn mac_of(&self, link: &LinkName, address: IpAddr) -> Option<Mac> {
        let next_hop = self.host.neighbours.iter();
        let next_hop = next_hop.filter(|it| it.link == *link && it.address == address);
        let underlay = self.host.fdb.iter().filter(|it| it.link == *link && it.remote == address);
        next_hop.map(|it| it.mac).chain(underlay.map(|it| it.mac)).next()
    }

    /// Returns the underlay address that a link-layer address of the leg is behind.
    pub fn underlay_of(&self, link: &LinkName, mac: Mac) -> Option<IpAddr> {
        self.host.fdb.iter().find(|it| it.link == *link && it.mac == mac).map(|it| it.remote)
    }

    /// Returns what is known of a lane's other end.
    pub fn peer_view(&self, key: PublicKey) -> Option<&'s PeerView> {
        let text = key.to_string();
        self.peers.peers.iter().find(|peer| peer.public_key == text)
    }

    /// Returns what is known of the node behind an underlay address.
    pub fn leg_view(&self, underlay: IpAddr) -> Option<&'s LegView> {
        self.peers.legs.iter().find(|leg| leg.underlay == underlay)
    }

    /// Returns how a lane's other end is called: `member.gateway`, else its key.
    pub fn peer_name(&self, key: PublicKey) -> String {
        match self.peer_view(key) {
            Some(peer) => format!("{}.{}", peer.member, peer.gateway),
            None => format!("peer {key}"),
        }
    }

    /// Returns how the node behind the leg is called: `member.node`, else its underlay address.
    pub fn node_name(&self, underlay: IpAddr) -> String {
        match (self.leg_view(underlay), self.at.split_once('.')) {
            (Some(leg), Some((member, _))) => format!("{member}.{}", leg.node),
            (Some(leg), None) => leg.node.clone(),
            (None, _) => format!("node {underlay}"),
        }
    }

    /// Says whether an address lies in our own member's networks.
    pub fn is_ours(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|net| net.contains(address))
    }

    /// Returns the member whose network holds an address.
    pub fn member_of(&self, address: IpAddr) -> Option<&'s str> {
        let holding = self.remotes.iter().filter(|(net, _)| net.contains(address));
        holding.max_by_key(|(net, _)| net.prefix()).map(|(_, member)| member.as_str())
    }

    /// Says whether a link of this host has the address.
    pub fn has_address(&self, address: IpAddr) -> bool {
        let mut nets = self.facts.links.values().flat_map(|link| &link.addresses);
        address.is_loopback() || nets.any(|net| net.ip() == address)
    }
}
