//! Owns what WireGuard does with a packet on a lane link, going out and coming in. Does not own the
//! link's MTU or the peers' names.

use std::net::IpAddr;

use sealane_state::name::LinkName;
use sealane_state::wireguard::{Peer, PublicKey};
use sealane_view::peers::{PathState, PeerView};
use sealane_view::trace::Outcome;

use crate::snapshot::Snapshot;

/// Age at which a session's keys are given up (WireGuard paper section 6.4, Reject-After-Time).
const SESSION_SECONDS: u64 = 180;

/// What a lane does with a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lane {
    /// The peer, where one was found.
    pub peer: Option<PublicKey>,
    /// How the peer, or the link, is called.
    pub what: String,
    /// What it does.
    pub detail: String,
    /// Whether the packet gets past it.
    pub outcome: Outcome,
}

/// Judges a packet that leaves by a lane link.
pub fn outgoing(snapshot: &Snapshot<'_>, link: &LinkName, destination: IpAddr) -> Lane {
    let Some(key) = snapshot.peer_holding(link, destination) else {
        return Lane {
            peer: None,
            what: format!("lane link {link}"),
            detail: format!("has no peer whose allowed IPs hold {destination}"),
            outcome: Outcome::Fail,
        };
    };
    let (detail, outcome) = state(snapshot, link, key);
    Lane { peer: Some(key), what: format!("peer {}", snapshot.peer_name(key)), detail, outcome }
}

fn state(snapshot: &Snapshot<'_>, link: &LinkName, key: PublicKey) -> (String, Outcome) {
    let facts = snapshot.facts.peers.get(link).and_then(|peers| peers.get(&key));
    let view = snapshot.peer_view(key);
    let health = view.map_or(PathState::Unknown, |view| view.state);
    let configured = snapshot.host.devices.get(link).and_then(|device| device.peers.get(&key));
    let endpoint = facts
        .and_then(|facts| facts.endpoint)
        .or_else(|| configured.and_then(|peer| peer.endpoint));
    let Some(endpoint) = endpoint else {
        return ("has no endpoint yet: nobody knows where to send".to_owned(), Outcome::Fail);
    };
    let Some(handshake) = facts.and_then(|facts| facts.counters.last_handshake) else {
        return (format!("at {endpoint} has never completed a handshake"), Outcome::Fail);
    };
    let age = snapshot.now.saturating_sub(handshake);
    let seen = format!("at {endpoint}, last handshake {age} s ago");
    match health {
        PathState::Down if view.is_some_and(|view| view.agent_silent) => (
            format!("{seen}, carries packets, though its agent does not answer probes"),
            Outcome::Warn,
        ),
        PathState::Down => {
            let reason = view.map_or("", |view| view.reason.as_str());
            (format!("{seen}, does not answer probes: {reason}"), Outcome::Fail)
        }
        PathState::Up => (format!("{seen}, answers probes{}", rtt(view)), Outcome::Ok),
        PathState::Unknown if age > SESSION_SECONDS => {
            (format!("{seen}, has no session now"), Outcome::Warn)
        }
        PathState::Unknown => (format!("{seen}, has no probe verdict yet"), Outcome::Warn),
    }
}

fn rtt(view: Option<&PeerView>) -> String {
    let rtt = view.and_then(|view| view.rtt_microseconds);
    rtt.map(|rtt| format!(", round trip {}.{:03} ms", rtt / 1000, rtt % 1000)).unwrap_or_default()
}

/// Judges a packet that comes in by a lane link: a source that the peer may not use is dropped.
pub fn incoming(
    snapshot: &Snapshot<'_>,
    link: &LinkName,
    peer: Option<PublicKey>,
    source: IpAddr,
) -> Lane {
    let Some(key) = peer else {
        return Lane {
            peer: None,
            what: format!("lane link {link}"),
            detail: "nobody knows which peer sends the packet".to_owned(),
            outcome: Outcome::Warn,
        };
    };
    let device = snapshot.host.devices.get(link);
    let (detail, outcome) = match device.and_then(|device| device.peers.get(&key)) {
        None => ("is no peer of this host (any more)".to_owned(), Outcome::Fail),
        Some(peer) if may_send(snapshot, link, (key, peer), source) => {
            (format!("may send from {source}"), Outcome::Ok)
        }
        Some(_) => {
            (format!("may not send from {source}: the packet is dropped on arrival"), Outcome::Fail)
        }
    };
    Lane { peer, what: format!("peer {}", snapshot.peer_name(key)), detail, outcome }
}

/// An allowed IP counts only where no other peer has a longer one; accepted sources may overlap.
fn may_send(
    snapshot: &Snapshot<'_>,
    link: &LinkName,
    (key, peer): (PublicKey, &Peer),
    source: IpAddr,
) -> bool {
    peer.accepted_sources.iter().any(|net| net.contains(source))
        || snapshot.peer_holding(link, source) == Some(key)
}
