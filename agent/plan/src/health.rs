//! Owns what probes have found, as facts. Does not probe and does not decide what follows.

use std::net::SocketAddr;
use std::time::Duration;

use sealane_state::wireguard::Displaces;

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
    /// Whether the tunnel itself still works, whoever answers probes.
    pub session: Session,
}

/// Whether the two tunnels of a lane hold keys that packets can cross with.
///
/// Tunnels outlive agents: with a session, silence may mean no more than an agent that restarts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Session {
    /// [`Session::Live`], and packets come back through it although no probe is answered: the agent
    /// there is silent, its tunnel is not.
    Heard,
    /// The last handshake is younger than WireGuard's REJECT_AFTER_TIME.
    Live,
    /// There was no handshake, or it is too old.
    #[default]
    Gone,
}

/// What to do about a peer's endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EndpointAdvice {
    /// Leave the device's own value, which follows authenticated packets.
    #[default]
    Leave,
    /// Send to this address, unless the device has followed its peer elsewhere by then.
    Try {
        /// The address to try.
        endpoint: SocketAddr,
        /// What it may be written over.
        displaces: Displaces,
    },
}

impl EndpointAdvice {
    /// The same for another key of that gateway on the same link. Nobody looks where the device sends
    /// for that one, so it goes along.
    #[must_use]
    pub fn for_companion(self) -> Self {
        match self {
            Self::Leave => Self::Leave,
            Self::Try { endpoint, .. } => Self::Try { endpoint, displaces: Displaces::Anything },
        }
    }
}

/// What probes have found of the leg to a gateway of our own member.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LegHealth {
    /// Whether probes come back.
    pub state: PathState,
    /// Smoothed round trip.
    pub rtt: Option<Duration>,
}
