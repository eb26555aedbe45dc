//! Owns what the leg does with a packet: neighbour, forwarding entry, node. Does not own routes.

use std::net::IpAddr;

use sealane_state::link::Mac;
use sealane_state::name::LinkName;
use sealane_view::peers::PathState;
use sealane_view::trace::Outcome;

use crate::snapshot::Snapshot;

/// What the leg does with a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leg {
    /// The other end, where it was found.
    pub end: Option<LegEnd>,
    /// How the other end, or the missing thing, is called.
    pub what: String,
    /// What it does.
    pub detail: String,
    /// Whether the packet gets past it.
    pub outcome: Outcome,
}

/// The other end of the leg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegEnd {
    /// Its link-layer address.
    pub mac: Mac,
    /// Its underlay address.
    pub underlay: IpAddr,
    /// `member.node`.
    pub node: String,
}

/// Judges a packet that leaves by the leg to a next hop.
pub fn outgoing(snapshot: &Snapshot<'_>, link: &LinkName, next_hop: Option<IpAddr>) -> Leg {
    let Some(next_hop) = next_hop else {
        return broken(format!("link {link}"), "needs a next hop, the route names none".to_owned());
    };
    let Some(mac) = snapshot.mac_of(link, next_hop) else {
        return broken(
            format!("neighbour {next_hop} dev {link}"),
            "is missing: the packet has no link-layer destination".to_owned(),
        );
    };
    let Some(underlay) = snapshot.underlay_of(link, mac) else {
        return broken(
            format!("forwarding entry {mac} dev {link}"),
            "is missing: the packet has no VXLAN destination".to_owned(),
        );
    };
    let node = snapshot.node_name(underlay);
    let view = snapshot.leg_view(underlay);
    let (detail, outcome) = match view.map(|view| (view.state, view.gateway)) {
        Some((PathState::Up, _)) => ("answers probes", Outcome::Ok),
        Some((PathState::Down, _)) => ("does not answer probes", Outcome::Fail),
        Some((PathState::Unknown, false)) => ("is not probed", Outcome::Ok),
        Some((PathState::Unknown, true)) => ("has no probe verdict yet", Outcome::Warn),
        None => ("is no node that is known (any more)", Outcome::Warn),
    };
    let detail = format!("at {underlay} {detail}");
    Leg {
        what: format!("leg to {node}"),
        end: Some(LegEnd { mac, underlay, node }),
        detail,
        outcome,
    }
}

fn broken(what: String, detail: String) -> Leg {
    Leg { end: None, what, detail, outcome: Outcome::Fail }
}
