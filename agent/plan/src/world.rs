//! Owns [`World`], all facts that a plan is made from. Decides nothing; holds no secret.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;
use sealane_state::facts::HostFacts;
use sealane_state::wireguard::{PskFingerprint, PublicKey};

use crate::health::{LaneHealth, LegHealth};
use crate::name::{GatewayId, LaneId, MemberId, NodeName};
use crate::remote::{Networks, RemoteGateway};

/// All facts known to one agent. Facts may contradict one another; the plan reports it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct World {
    /// Who this host is; `None` when it is in no clusterset, be it not yet or no longer.
    pub me: Option<Me>,
    /// Nodes of our member, this one included. Empty on an edge host that stands alone.
    pub nodes: BTreeMap<NodeName, Node>,
    /// Members that the ClusterSet lists, the own one left out.
    pub members: BTreeSet<MemberId>,
    /// What root granted to listed members that have spoken at least once: while it is granted,
    /// packets there never leave in clear.
    pub grants: BTreeMap<MemberId, BTreeSet<IpNetwork>>,
    /// Accepted gateways of other members.
    pub gateways: BTreeMap<GatewayId, RemoteGateway>,
    /// Pre-shared keys that the keyring holds, by lane.
    pub psks: BTreeMap<LaneId, PskFingerprint>,
    /// What probes have found of lanes; a missing one has no verdict yet.
    pub lanes: BTreeMap<LaneId, LaneHealth>,
    /// What probes have found of the legs to our own gateways; a missing one has no verdict yet.
    pub legs: BTreeMap<NodeName, LegHealth>,
    /// The lanes that carried traffic by the plan before this one ([`crate::plan::Plan::choices`]):
    /// they are kept unless another is clearly better.
    pub choices: BTreeMap<MemberId, PublicKey>,
    /// Addresses that must never be reached by a lane: brokers, resolvers, API servers.
    pub reserved: BTreeSet<IpAddr>,
    /// The host beside our own things.
    pub host: HostFacts,
    /// What the administrator chose.
    pub options: Options,
}

/// Who this host is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Me {
    /// Our member.
    pub member: MemberId,
    /// Our node.
    pub node: NodeName,
    /// What this host is for.
    pub role: Role,
    /// Our member's networks as granted and advertised.
    pub networks: Networks,
}

/// What a host of a member is for. A gateway of a member with further nodes is a node as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// Sends its traffic to the member's gateways.
    Node,
    /// Carries lanes.
    Gateway(OwnGateway),
}

/// Our own side of the lanes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnGateway {
    /// Our tunnel entry.
    pub tunnel: OwnTunnel,
    /// Our address inside the lanes.
    pub probe: Ipv6Addr,
    /// Our IPv4 address inside the lanes, from our own grant.
    pub probe4: Option<Ipv4Addr>,
}

/// Our tunnel entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnTunnel {
    /// WireGuard public key; the keyring has the private half.
    pub key: PublicKey,
    /// Index 0 to 7 as advertised.
    pub slot: u8,
}

/// A node of our member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Addresses by which the member's nodes reach one another.
    pub underlay: BTreeSet<IpAddr>,
    /// Pod networks of this node alone; empty when unknown or none.
    pub pods: BTreeSet<IpNetwork>,
    /// Whether it carries lanes.
    pub role: NodeRole,
}

/// Whether a node carries lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodeRole {
    /// It does.
    Gateway,
    /// It does not.
    Worker,
}

/// What the administrator chose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Who runs WireGuard.
    pub backend: BackendChoice,
    /// UDP port of the lanes. Kernel WireGuard uses this plus the remote slot.
    pub listen_port: u16,
    /// Largest inner packet in bytes; `None` derives it from the uplink.
    pub mtu: Option<u32>,
    /// The source of this host's own packets to other members.
    pub source: HostSource,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            backend: BackendChoice::Auto,
            listen_port: 51820,
            mtu: None,
            source: HostSource::Auto,
        }
    }
}

/// Who runs WireGuard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BackendChoice {
    /// The kernel where it can, else `sealane-tunnel`.
    Auto,
    /// The kernel's `wireguard` link kind.
    Kernel,
    /// `sealane-tunnel`.
    Userspace,
}

/// The source of this host's own packets to other members; it must lie in our own networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum HostSource {
    /// The first of: the network address of the node's pod network, a local address inside our
    /// networks, the network address of our first network (on a host that stands alone).
    #[default]
    Auto,
    /// These, of either family; put on a link of ours when no link has them.
    Fixed(BTreeSet<IpAddr>),
}
