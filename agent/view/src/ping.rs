//! Owns the account of a series of probes: [`PingDocument`].

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Asks for probes through a lane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PingRequest {
    /// A member, `member.gateway`, or an address inside a remote prefix.
    pub target: String,
    /// Probes to send, 1 to 1000.
    pub count: u32,
    /// Time between two probes.
    pub interval_milliseconds: u32,
    /// IP packet size of a probe, headers included; absent: small.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub size_bytes: Option<u32>,
}

/// What became of the probes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PingDocument {
    /// Remote member.
    pub member: String,
    /// Remote gateway that was probed.
    pub gateway: String,
    /// Probe address of that gateway.
    pub address: IpAddr,
    /// Probes in the order sent.
    pub replies: Vec<ReplyView>,
    /// Probes sent.
    pub sent: u32,
    /// Probes answered.
    pub received: u32,
    /// Shortest round trip.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rtt_min_microseconds: Option<u64>,
    /// Mean round trip.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rtt_mean_microseconds: Option<u64>,
    /// Longest round trip.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rtt_max_microseconds: Option<u64>,
    /// Largest packet that crosses whole, as far as known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub path_mtu_bytes: Option<u32>,
}

/// One probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplyView {
    /// Number of the probe, from 1.
    pub sequence: u32,
    /// Round trip; absent when no answer came in time.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rtt_microseconds: Option<u64>,
}
