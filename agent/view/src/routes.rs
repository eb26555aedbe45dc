//! Owns the view of where packets for other members go: [`RoutesDocument`].

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

/// All remote prefixes and what becomes of packets to them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RoutesDocument {
    /// Sorted by destination, IPv4 before IPv6.
    pub routes: Vec<RouteView>,
    /// The source that this host's own packets to other members carry, per family.
    pub sources: Vec<SourceView>,
}

/// One remote prefix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteView {
    /// The prefix.
    pub destination: IpNetwork,
    /// Whose it is.
    pub member: String,
    /// What becomes of packets.
    pub state: RouteState,
    /// Gateways that carry it: one remote gateway where this host has lanes, else the live
    /// gateways of the own member, among which new connections are spread.
    pub via: Vec<String>,
    /// Link that packets leave by; absent when they are refused.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub link: Option<String>,
    /// Source of this host's own packets.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source: Option<IpAddr>,
    /// Largest packet for this destination; absent when the link decides.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mtu_bytes: Option<u32>,
    /// One sentence: why.
    pub reason: String,
}

/// What becomes of packets to a remote prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RouteState {
    /// Sent by a way that answers, or that has no verdict yet.
    Routed,
    /// Refused with ICMP: no way to the member is alive.
    Unreachable,
    /// Not ours to route on this host; see the reason.
    LeftOut,
}

/// The source of this host's own packets in one family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceView {
    /// `ipv4` or `ipv6`.
    pub family: String,
    /// The address; absent when the host has none that other members would accept.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub address: Option<IpAddr>,
    /// Where it comes from.
    pub reason: String,
}
