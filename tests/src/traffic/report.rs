//! Owns what the traffic programs print as JSON and tests read. No behaviour beyond that.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The end of a paced UDP flow, as its sender saw it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FlowReport {
    /// Packets sent.
    pub sent: u64,
    /// Different packets that came back.
    pub received: u64,
    /// `sent - received`.
    pub lost: u64,
    /// Packets that came back once more.
    pub duplicates: u64,
    /// Packets that came back after a later one.
    pub reordered: u64,
    /// The longest time without any packet coming back, from the first sent to the last sent.
    pub longest_gap_ms: f64,
    /// Median time there and back.
    pub rtt_p50_ms: f64,
    /// Ninety-ninth percentile of the time there and back.
    pub rtt_p99_ms: f64,
    /// From the first packet sent to the last.
    pub seconds: f64,
    /// How long the sender stood still, beyond what it caught up with: the rate was not held meanwhile.
    pub stood_still_ms: f64,
    /// When what never came back was due to be sent, to look up in the logs: `23:59:59.999 x 3`, UTC.
    /// The first ten such spans.
    pub lost_at: Vec<String>,
}

/// A TCP transfer in one direction, as its receiver saw it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BulkReport {
    /// Payload bytes.
    pub bytes: u64,
    /// From the first byte to the end.
    pub seconds: f64,
    /// 10^9 bits of payload per second.
    pub gbit_per_s: f64,
}

/// What the HTTP server answers: who it saw, and who it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpAnswer {
    /// The client's source address, as it arrived.
    pub peer: IpAddr,
    /// The server's host name.
    pub server: String,
}
