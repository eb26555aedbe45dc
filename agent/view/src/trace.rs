//! Owns the account of what a packet would meet: [`TraceDocument`], and what agents ask one another to
//! make it: [`TraceQuestion`] and [`TraceAnswer`]. Does not check what came from others.

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

/// What one agent asks the next one on a packet's way. Which way the packet comes in by is not
/// asked: the asked agent knows it from the lane or leg that brought the question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TraceQuestion {
    /// Version of the form, now 1; others are refused.
    pub version: u8,
    /// Source as it leaves the asking host, translated if it is.
    pub source: IpAddr,
    /// Destination as it leaves the asking host.
    pub destination: IpAddr,
    /// IP packet size, headers included; absent: as large as each way takes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub size_bytes: Option<u32>,
    /// Which of several equal ways to follow.
    pub choice: u8,
    /// Agents that may still be asked after this one.
    pub hops_left: u8,
}

/// What the asked agent and those behind it say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TraceAnswer {
    /// Version of the form, now 1; others are refused.
    pub version: u8,
    /// Steps onward, from the asked host to where the packet ends.
    pub hops: Vec<HopView>,
    /// Steps of the answer, from where the packet ended back to the asked host.
    pub back: Vec<HopView>,
    /// Where the packet ends.
    pub end: TraceEnd,
}

/// Where a packet ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "kind")]
pub enum TraceEnd {
    /// A process of the host, or a neighbour on one of its links, gets it.
    Delivered {
        /// `member.node` that hands it over.
        at: String,
        /// The link of the neighbour; absent for a process of the host.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        link: Option<String>,
    },
    /// It goes to a router that no agent sees.
    Left {
        /// `member.node` that sends it.
        at: String,
        /// The link it leaves by.
        link: String,
        /// The router; absent when the route names none.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        next_hop: Option<IpAddr>,
    },
    /// It is dropped or refused; the failing hop says by what.
    Dropped {
        /// `member.node` that drops it.
        at: String,
    },
    /// The next agent did not say.
    Unknown {
        /// `member.node` that was to be asked.
        at: String,
    },
}
