//! Owns the readable summary of all facts that the agent plans from: [`WorldDocument`].

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use crate::peers::{CandidateView, PathState};
use crate::status::NetworksView;

/// All facts known, without secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorldDocument {
    /// Own member; absent when this host is in no clusterset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// Own node; absent like `member`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Own networks.
    pub networks: NetworksView,
    /// Nodes of the own member by name.
    pub nodes: BTreeMap<String, NodeView>,
    /// Members on the list, sorted, the own one left out.
    pub members: Vec<String>,
    /// Accepted remote gateways by `member.gateway`.
    pub gateways: BTreeMap<String, GatewayView>,
    /// WireGuard backends that this host can run.
    pub backends: Vec<String>,
    /// Families that this host's kernel offers.
    pub families: Vec<String>,
    /// Links with addresses, foreign ones too, by name.
    pub links: BTreeMap<String, Vec<IpNetwork>>,
}

/// A node of the own member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeView {
    /// Whether it carries lanes.
    pub gateway: bool,
    /// Addresses by which other nodes reach it.
    pub underlay: Vec<IpAddr>,
    /// Its own pod networks.
    pub pods: Vec<IpNetwork>,
    /// Whether its leg answers.
    pub leg: PathState,
}

/// An accepted gateway of another member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayView {
    /// Accepted networks.
    pub networks: NetworksView,
    /// Its address inside the lane.
    pub probe: IpAddr,
    /// When its advertisement expires, Unix seconds.
    pub expires_unix_seconds: u64,
    /// Whether it asks for no new traffic.
    pub draining: bool,
    /// Its tunnel entries.
    pub tunnels: Vec<TunnelView>,
}

/// A tunnel entry of another member's gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TunnelView {
    /// WireGuard public key, base64.
    pub public_key: String,
    /// Advertised slot.
    pub slot: u8,
    /// Advertised inner MTU.
    pub mtu_bytes: u32,
    /// Addresses to try.
    pub candidates: Vec<CandidateView>,
    /// Whether the lane answers.
    pub state: PathState,
}
