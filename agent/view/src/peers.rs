//! Owns the view of the lanes and legs of one host: [`PeersDocument`].

use std::net::{IpAddr, SocketAddr};

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

/// Remote gateways as WireGuard sees them, and own gateways as this node sees them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PeersDocument {
    /// Lanes, sorted by member, gateway and public key.
    pub peers: Vec<PeerView>,
    /// Legs to nodes of the own member, sorted by node.
    pub legs: Vec<LegView>,
}

/// Whether probes come back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PathState {
    /// Probes are answered.
    Up,
    /// No verdict yet.
    #[default]
    Unknown,
    /// Probes are not answered.
    Down,
}

/// One lane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerView {
    /// Remote member.
    pub member: String,
    /// Remote gateway.
    pub gateway: String,
    /// WireGuard public key of the remote tunnel entry, base64.
    pub public_key: String,
    /// Slot of that entry: tells the entries of one gateway apart.
    #[serde(default)]
    pub slot: u8,
    /// Lane link on this host.
    pub link: String,
    /// Whether probes come back.
    pub state: PathState,
    /// Since when, Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub since_unix_seconds: Option<u64>,
    /// Whether packets for the member leave by this lane.
    pub carries: bool,
    /// Whether packets come back by this lane although no probe is answered: the agent there is
    /// silent, its tunnel is not.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub agent_silent: bool,
    /// Endpoint in use.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub endpoint: Option<SocketAddr>,
    /// Addresses that the remote gateway advertises, in the order in which they are tried.
    #[serde(default)]
    pub candidates: Vec<CandidateView>,
    /// Last completed handshake, Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_handshake_unix_seconds: Option<u64>,
    /// Authenticated bytes received.
    #[serde(default)]
    pub received_bytes: u64,
    /// Bytes sent.
    #[serde(default)]
    pub sent_bytes: u64,
    /// Round trip through the lane.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rtt_microseconds: Option<u64>,
    /// Probes lost, of 1000.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub loss_permille: Option<u16>,
    /// Largest packet that crosses whole, IP header included.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub path_mtu_bytes: Option<u32>,
    /// Persistent keepalive.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub keepalive_seconds: Option<u16>,
    /// Destinations sent to this peer and sources taken from it.
    pub allowed_ips: Vec<IpNetwork>,
    /// Sources taken from it besides.
    #[serde(default)]
    pub accepted_sources: Vec<IpNetwork>,
    /// One sentence: why it carries traffic, or why not.
    pub reason: String,
}

/// A remote address that may be tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CandidateView {
    /// How the remote gateway knows it.
    pub kind: CandidateKind,
    /// Address and UDP port.
    pub endpoint: SocketAddr,
}

/// How a gateway knows an address of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CandidateKind {
    /// It is on a link of the gateway.
    Private,
    /// It was configured as reachable from elsewhere.
    Public,
    /// Two other members have seen it.
    Observed,
}

/// The leg between this node and another of the same member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LegView {
    /// The other node.
    pub node: String,
    /// Whether it is a gateway.
    pub gateway: bool,
    /// Underlay address that carries the leg.
    pub underlay: IpAddr,
    /// Whether probes come back; legs to nodes that are not gateways are not probed.
    pub state: PathState,
    /// Round trip over the leg.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rtt_microseconds: Option<u64>,
}
