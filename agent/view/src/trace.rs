//! Owns the account of what a packet would meet: [`TraceDocument`].

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Asks what becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TraceRequest {
    /// Where the packet comes from; absent: from this host itself.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source: Option<IpAddr>,
    /// Where it goes.
    pub destination: IpAddr,
    /// IP packet size, headers included; absent: a full-sized packet of the route.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub size_bytes: Option<u32>,
}

/// What a packet meets, in the order in which it meets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TraceDocument {
    /// Source that the packet has.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source: Option<IpAddr>,
    /// Destination asked for.
    pub destination: IpAddr,
    /// Steps on this host, then on the remote one, then back.
    pub hops: Vec<HopView>,
    /// The worst outcome of all hops.
    pub outcome: Outcome,
    /// One sentence that names the place that fails, or says that none does.
    pub verdict: String,
}

/// One step of a trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HopView {
    /// `member.node` on which the step happens.
    pub at: String,
    /// What kind of step it is.
    pub stage: Stage,
    /// The thing met, such as `rule 5186`, `table 5182`, `10.2.0.0/16 dev sealane0`.
    pub what: String,
    /// What it does to the packet.
    pub detail: String,
    /// Whether the packet gets past it.
    pub outcome: Outcome,
}

/// Kinds of steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Stage {
    /// Choice of the source address.
    Source,
    /// A policy routing rule.
    Rule,
    /// A routing table.
    Table,
    /// A route.
    Route,
    /// An nftables chain.
    Nft,
    /// A WireGuard peer.
    Tunnel,
    /// The leg between nodes of one member.
    Leg,
    /// Packet size against the path.
    Mtu,
    /// Arrival at the destination's host.
    Delivery,
    /// The way of the answer.
    ReturnPath,
}

/// Whether a packet gets past a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// It does.
    Ok,
    /// It does, or nobody knows yet; the detail says.
    Warn,
    /// It does not.
    Fail,
}
