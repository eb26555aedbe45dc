//! Owns what probes have found, as facts. Does not probe and does not decide what follows.

use std::net::SocketAddr;
use std::time::Duration;

use crate::name::UnixSeconds;

/// Whether probes come back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathState {
    /// They do.
    Up,
    /// No verdict yet. Treated as usable, since a lane must carry packets before it can answer.
    #[default]
    Unknown,
    /// They do not.
    Down,
}

/// What probes have found of a lane.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LaneHealth {
    /// Whether probes come back.
    pub state: PathState,
    /// When `state` took its present value.
    pub since: Option<UnixSeconds>,
    /// Smoothed round trip.
    pub rtt: Option<Duration>,
    /// Probes lost, of 1000.
    pub loss_permille: u16,
    /// Largest inner packet that crosses whole, IP header included, in bytes; `None` until found.
    pub path_mtu: Option<u32>,
    /// What to do about the peer's endpoint.
    pub endpoint: EndpointAdvice,
}

/// What to do about a peer's endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EndpointAdvice {
    /// Leave the device's own value, which follows authenticated packets.
    #[default]
    Leave,
    /// Send to this address.
    Try(SocketAddr),
}

/// What probes have found of the leg to a gateway of our own member.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LegHealth {
    /// Whether probes come back.
    pub state: PathState,
    /// Smoothed round trip.
    pub rtt: Option<Duration>,
}
