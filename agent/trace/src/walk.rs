//! Owns one host's account of a packet: its way on, the way of its answer, and who is asked next.
//! Does not own what the asked one says.

use std::net::IpAddr;

use sealane_state::facts::SeenHop;
use sealane_state::name::LinkName;
use sealane_state::wireguard::PublicKey;
use sealane_view::trace::{HopView, Outcome, Stage, TraceEnd, TraceRequest};

use crate::bits::Bits;
use crate::course::{self, Course, Exit};
use crate::packet::{Entry, Flow, Packet};
use crate::routing::{self, Found, Lookup};
use crate::snapshot::{LinkUse, Snapshot};

/// What the steps of an answer's way that are not in order begin with.
pub const ANSWER: &str = "answer: ";

/// One host's account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// `member.node` of the host.
    pub at: String,
    /// Steps onward.
    pub hops: Vec<HopView>,
    /// Steps of the answer, should it come back to this host the way the packet left.
    pub back: Vec<HopView>,
    /// Where the packet is from here.
    pub next: Next,
    /// The packet as it leaves; the source is `None` only where it does not leave.
    pub source: Option<IpAddr>,
    /// Its destination then.
    pub destination: IpAddr,
    /// Its size in bytes, IP header included; `None` is as large as each way takes.
    pub size: Option<u32>,
    /// Which of several equal ways it took.
    pub choice: u8,
}

/// Who knows what comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Nobody: the packet ends here.
    End(TraceEnd),
    /// The gateway at the other end of a lane.
    AskPeer {
        /// The lane link.
        link: LinkName,
        /// Its tunnel entry.
        key: PublicKey,
        /// `member.gateway`.
        name: String,
    },
    /// A node of our own member.
    AskNode {
        /// The leg link.
        link: LinkName,
        /// Its address on the node network.
        underlay: IpAddr,
        /// `member.node`.
        name: String,
    },
}

/// Makes the packet that a person asks for, as this host would see it.
///
/// A source that is not this host's is taken to come in by the link that leads to it.
pub fn packet(snapshot: Snapshot<'_>, request: &TraceRequest) -> Packet {
    let entry = match request.source {
        Some(source) if !snapshot.has_address(source) => entry_of(snapshot, source),
        _ => Entry::Host,
    };
    Packet {
        source: request.source,
        destination: request.destination,
        size: request.size_bytes,
        entry,
        mark: Bits::exactly(0),
        flow: Flow::New,
        choice: 0,
    }
}

fn entry_of(snapshot: Snapshot<'_>, source: IpAddr) -> Entry {
    // Pods of other nodes come in by the leg, which only packets from lanes are routed to.
    let lanes = snapshot.host.links.keys().filter(|link| snapshot.use_of(link) == LinkUse::Lane);
    let by_leg = lanes
        .filter_map(|lane| way_to(snapshot, source, Some(lane)))
        .find(|hop| hop.link.as_ref().is_some_and(|link| snapshot.use_of(link) == LinkUse::Leg));
    match by_leg.or_else(|| way_to(snapshot, source, None)) {
        Some(SeenHop { link: Some(link), gateway, .. }) => {
            snapshot.entry(link, gateway.unwrap_or(source))
        }
        _ => Entry::Host,
    }
}

/// Returns the way to an address, unless only a default route leads there.
fn way_to<'s>(
    snapshot: Snapshot<'s>,
    address: IpAddr,
    input: Option<&LinkName>,
) -> Option<&'s SeenHop> {
    let mark = Bits::exactly(0);
    let lookup = Lookup { destination: address, source: None, input, mark, choice: 0 };
    match routing::route(snapshot.routing, &lookup).found {
        Found::Route(_, route, Some(way)) if route.destination.prefix() > 0 => Some(way.hop),
        _ => None,
    }
}

/// Walks a packet through this host, and its answer back.
pub fn walk(snapshot: Snapshot<'_>, packet: &Packet) -> Account {
    let onward = course::follow(snapshot, packet);
    let back = way_back(snapshot, packet, &onward);
    Account {
        at: snapshot.at.to_owned(),
        next: next(snapshot, &onward),
        back,
        source: onward.source,
        destination: onward.destination,
        size: onward.size,
        choice: packet.choice,
        hops: onward.hops,
    }
}

fn next(snapshot: Snapshot<'_>, onward: &Course) -> Next {
    let at = snapshot.at.to_owned();
    match &onward.exit {
        Exit::Local => Next::End(TraceEnd::Delivered { at, link: None }),
        Exit::Link(link, None) => {
            Next::End(TraceEnd::Delivered { at, link: Some(link.to_string()) })
        }
        Exit::Link(link, next_hop) => {
            Next::End(TraceEnd::Left { at, link: link.to_string(), next_hop: *next_hop })
        }
        Exit::Lane(link, key) => {
            Next::AskPeer { link: link.clone(), key: *key, name: snapshot.peer_name(*key) }
        }
        Exit::Leg(link, end) => {
            Next::AskNode { link: link.clone(), underlay: end.underlay, name: end.node.clone() }
        }
        Exit::Dropped => Next::End(TraceEnd::Dropped { at }),
    }
}

/// Follows the answer: this host's translations undone, in by where the packet went out.
fn way_back(snapshot: Snapshot<'_>, packet: &Packet, onward: &Course) -> Vec<HopView> {
    let Some(destination) = packet.source.or(onward.source) else { return Vec::new() };
    let entry = match &onward.exit {
        Exit::Local => Entry::Host,
        Exit::Link(link, _) => Entry::Link(link.clone()),
        Exit::Lane(link, key) => Entry::Lane { link: link.clone(), peer: Some(*key) },
        Exit::Leg(link, end) => Entry::Leg { link: link.clone(), mac: Some(end.mac) },
        Exit::Dropped => return Vec::new(),
    };
    let answer = Packet {
        source: Some(onward.destination),
        destination,
        size: None,
        entry,
        mark: Bits::exactly(0),
        flow: Flow::Reply { mark: onward.connection },
        choice: packet.choice,
    };
    let back = course::follow(snapshot, &answer);
    let mut hops: Vec<HopView> = back.hops.iter().filter(|hop| tells(hop)).cloned().collect();
    for hop in &mut hops {
        hop.stage = Stage::ReturnPath;
        hop.what.insert_str(0, ANSWER);
    }
    hops.extend(verdict(snapshot, packet, &back));
    hops
}

/// Of the way back only what is not in order is told; where the packet ends says the last hop.
fn tells(hop: &HopView) -> bool {
    let expected = matches!(hop.stage, Stage::Mtu | Stage::Source) && hop.outcome == Outcome::Warn;
    let unseen = hop.stage == Stage::Delivery && hop.outcome == Outcome::Warn;
    hop.outcome != Outcome::Ok && !expected && !unseen
}

fn verdict(snapshot: Snapshot<'_>, packet: &Packet, back: &Course) -> Option<HopView> {
    let came = came_by(snapshot, &packet.entry);
    let leaves = leaves_by(snapshot, &back.exit)?;
    let same = same_way(&packet.entry, &back.exit);
    let (detail, outcome) = if same {
        (format!("goes back {leaves}, the way the packet came"), Outcome::Ok)
    } else {
        (format!("goes back {leaves}, but the packet came {came}"), Outcome::Warn)
    };
    let (at, what) = (snapshot.at.to_owned(), format!("answer to {}", back.destination));
    Some(HopView { at, stage: Stage::ReturnPath, what, detail, outcome })
}

fn same_way(entry: &Entry, exit: &Exit) -> bool {
    match (entry, exit) {
        (Entry::Host, Exit::Local) => true,
        (Entry::Link(came), Exit::Link(leaves, _)) => came == leaves,
        (Entry::Lane { link, peer }, Exit::Lane(leaves, key)) => {
            link == leaves && peer.is_none_or(|peer| peer == *key)
        }
        (Entry::Leg { link, mac }, Exit::Leg(leaves, end)) => {
            link == leaves && mac.is_none_or(|mac| mac == end.mac)
        }
        _ => false,
    }
}

fn came_by(snapshot: Snapshot<'_>, entry: &Entry) -> String {
    match entry {
        Entry::Host => "from a process of this host".to_owned(),
        Entry::Link(link) => format!("by link {link}"),
        Entry::Lane { peer: Some(key), .. } => {
            format!("by the lane of {}", snapshot.peer_name(*key))
        }
        Entry::Lane { link, peer: None } => format!("by lane link {link}"),
        Entry::Leg { link, mac } => match mac.and_then(|mac| snapshot.underlay_of(link, mac)) {
            Some(underlay) => format!("by the leg of {}", snapshot.node_name(underlay)),
            None => format!("by leg {link}"),
        },
    }
}

fn leaves_by(snapshot: Snapshot<'_>, exit: &Exit) -> Option<String> {
    Some(match exit {
        Exit::Local => "to a process of this host".to_owned(),
        Exit::Link(link, _) => format!("by link {link}"),
        Exit::Lane(_, key) => format!("by the lane of {}", snapshot.peer_name(*key)),
        Exit::Leg(_, end) => format!("by the leg of {}", end.node),
        Exit::Dropped => return None,
    })
}
