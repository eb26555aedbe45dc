//! Owns the way of one packet through one host, step by step in the kernel's order. Does not own the
//! way of the answer, nor what other hosts do.

pub mod routes;
pub mod exits;

use std::net::IpAddr;

use sealane_state::facts::{SeenHop, SeenRoute};
use sealane_state::filter::HookPoint;
use sealane_state::name::LinkName;
use sealane_state::rule::Family;
use sealane_state::sysctl::SysctlKey;
use sealane_state::wireguard::PublicKey;
use sealane_view::trace::{HopView, Outcome, Stage};

use crate::bits::Bits;
use crate::lane;
use crate::leg::LegEnd;
use crate::nft;
use crate::nft::term::Sight;
use crate::packet::{Entry, Flow, Packet};
use crate::routing;
use crate::snapshot::Snapshot;

/// The way of one packet through one host.
#[derive(Debug, Clone)]
pub struct Course {
    /// What it met, in order.
    pub hops: Vec<HopView>,
    /// How it left.
    pub exit: Exit,
    /// Source when it left; `None` when none was chosen.
    pub source: Option<IpAddr>,
    /// Destination when it left.
    pub destination: IpAddr,
    /// Bytes, IP header included; `None` is as large as each way takes.
    pub size: Option<u32>,
    /// Mark of its connection when it left.
    pub connection: Bits,
}

/// How a packet leaves a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// To a process of this host.
    Local,
    /// By a link that is not ours, straight or to a router.
    Link(LinkName, Option<IpAddr>),
    /// By a lane.
    Lane(LinkName, PublicKey),
    /// By the leg.
    Leg(LinkName, LegEnd),
    /// Not at all; the last hop says why.
    Dropped,
}

/// Follows a packet through a host.
///
/// Shape: at least one hop; the last one fails when the exit is [`Exit::Dropped`].
pub fn follow(snapshot: Snapshot<'_>, packet: &Packet) -> Course {
    let mut walker = Walker {
        snapshot,
        packet,
        hops: Vec::new(),
        source: packet.source,
        destination: packet.destination,
        mark: packet.mark,
        connection: match packet.flow {
            Flow::New => Bits::exactly(0),
            Flow::Reply { mark } => mark,
        },
        size: packet.size,
        destination_bound: false,
        source_bound: false,
    };
    let exit = walker.walk().unwrap_or(Exit::Dropped);
    Course {
        hops: walker.hops,
        exit,
        source: walker.source,
        destination: walker.destination,
        size: walker.size,
        connection: walker.connection,
    }
}

/// The packet goes no further; the hop that says so is there.
struct Dropped;

struct Walker<'w> {
    snapshot: Snapshot<'w>,
    packet: &'w Packet,
    hops: Vec<HopView>,
    source: Option<IpAddr>,
    destination: IpAddr,
    mark: Bits,
    connection: Bits,
    size: Option<u32>,
    destination_bound: bool,
    source_bound: bool,
}

/// The route that was chosen: to a process of this host, or out of a link.
struct Chosen<'w> {
    route: &'w SeenRoute,
    hop: Option<&'w SeenHop>,
}

impl<'w> Walker<'w> {
    fn walk(&mut self) -> Result<Exit, Dropped> {
        self.arrive()?;
        if self.packet.entry.link().is_some() {
            self.hook(HookPoint::Prerouting, None)?;
        }
        let mut chosen = self.route()?;
        if self.packet.entry == Entry::Host {
            self.choose_source(&chosen)?;
            let before = (self.mark, self.destination);
            self.hook(HookPoint::Output, chosen.hop)?;
            if (self.mark, self.destination) != before {
                chosen = self.route()?;
            }
        }
        let Some(hop) = chosen.hop else {
            self.hook(HookPoint::Input, None)?;
            self.step(
                Stage::Delivery,
                "this host",
                format!("has {}", self.destination),
                Outcome::Ok,
            );
            return Ok(Exit::Local);
        };
        let Some(link) = &hop.link else {
            let what = routing::route_text(chosen.route, None);
            return self.fail(Stage::Route, what, "leads to a link that is not there");
        };
        if self.packet.entry.link().is_some() {
            self.may_forward()?;
            self.hook(HookPoint::Forward, Some(hop))?;
        }
        self.hook(HookPoint::Postrouting, Some(hop))?;
        self.check_source(link)?;
        self.leave(&chosen, hop, link)
    }

    fn arrive(&mut self) -> Result<(), Dropped> {
        if let (Some(source), Entry::Host | Entry::Link(_)) = (self.source, &self.packet.entry) {
            let (detail, outcome) = match self.packet.entry.link() {
                Some(link) => (format!("comes in by link {link}"), Outcome::Ok),
                None if self.snapshot.has_address(source) => {
                    ("is an address of this host".to_owned(), Outcome::Ok)
                }
                None => ("is no address of this host, nor behind it".to_owned(), Outcome::Warn),
            };
            self.step(Stage::Source, &format!("source {source}"), detail, outcome);
        }
        match (&self.packet.entry, self.source) {
            (Entry::Lane { link, peer }, Some(source)) => {
                let lane = lane::incoming(&self.snapshot, link, *peer, source);
                self.judged(Stage::Tunnel, &lane.what, lane.detail, lane.outcome)
            }
            (Entry::Leg { link, mac }, _) => {
                let underlay = mac.and_then(|mac| self.snapshot.underlay_of(link, mac));
                let node = underlay.map(|underlay| self.snapshot.node_name(underlay));
                let (detail, outcome) = match node {
                    Some(node) => (format!("brings it from {node}"), Outcome::Ok),
                    None => ("brings it from a node that is not known".to_owned(), Outcome::Warn),
                };
                self.judged(Stage::Leg, &format!("leg {link}"), detail, outcome)
            }
            _ => Ok(()),
        }
    }

    fn hook(&mut self, point: HookPoint, out: Option<&SeenHop>) -> Result<(), Dropped> {
        let name = hook_name(point);
        let (Some(ruleset), Some(source)) = (self.snapshot.ruleset, self.source) else {
            let detail = "could not be read on this host".to_owned();
            self.step(Stage::Nft, &format!("nft {name} chains"), detail, Outcome::Warn);
            return Ok(());
        };
        let snapshot = self.snapshot;
        let is_local = |address| snapshot.has_address(address);
        let out = out.and_then(|hop| hop.link.as_ref());
        let looped =
            (point == HookPoint::Input && self.packet.entry == Entry::Host).then_some("lo");
        let mut sight = Sight {
            source,
            destination: self.destination,
            input: self.packet.entry.link().map(LinkName::as_str).or(looped),
            output: out.map(LinkName::as_str),
            mac: match &self.packet.entry {
                Entry::Leg { mac, .. } => *mac,
                _ => None,
            },
            size: self.size,
            mark: self.mark,
            connection: self.connection,
            flow: self.packet.flow,
            choice: self.packet.choice,
            destination_bound: self.destination_bound,
            source_bound: self.source_bound,
            masquerade: out.and_then(|out| self.address_on(Some(out))),
            is_local: &is_local,
        };
        let passage = nft::pass(ruleset, point, &mut sight);
        self.source = Some(sight.source);
        self.destination = sight.destination;
        (self.mark, self.connection) = (sight.mark, sight.connection);
        (self.destination_bound, self.source_bound) = (sight.destination_bound, sight.source_bound);
        if let Some((place, how)) = passage.dropped {
            return self.fail(Stage::Nft, place, &format!("drops it {how}"));
        }
        if passage.chains == 0 {
            return Ok(());
        }
        let what = format!("nft {name} chains");
        let mut notes = passage.deeds;
        let (start, outcome) = if passage.doubts.is_empty() {
            ("let it pass", Outcome::Ok)
        } else {
            notes.extend(passage.doubts);
            ("may or may not let it pass", Outcome::Warn)
        };
        let notes: String = notes.iter().map(|note| format!("; {note}")).collect();
        self.step(Stage::Nft, &what, format!("{start}{notes}"), outcome);
        Ok(())
    }

    fn may_forward(&mut self) -> Result<(), Dropped> {
        let key = match self.packet.family() {
            Family::V4 => SysctlKey::new(["net", "ipv4", "ip_forward"]),
            Family::V6 => SysctlKey::new(["net", "ipv6", "conf", "all", "forwarding"]),
        };
        match self.snapshot.facts.sysctls.get(&key).map(|value| value.trim()) {
            Some("0") => self.fail(
                Stage::Route,
                format!("sysctl {key} = 0"),
                "keeps this host from forwarding packets",
            ),
            _ => Ok(()),
        }
    }

    fn judged(
        &mut self,
        stage: Stage,
        what: &str,
        detail: String,
        outcome: Outcome,
    ) -> Result<(), Dropped> {
        self.step(stage, what, detail, outcome);
        if outcome == Outcome::Fail { Err(Dropped) } else { Ok(()) }
    }

    fn fail<T>(&mut self, stage: Stage, what: String, detail: &str) -> Result<T, Dropped> {
        self.step(stage, &what, detail.to_owned(), Outcome::Fail);
        Err(Dropped)
    }

    fn step(&mut self, stage: Stage, what: &str, detail: String, outcome: Outcome) {
        let at = self.snapshot.at.to_owned();
        self.hops.push(HopView { at, stage, what: what.to_owned(), detail, outcome });
    }
}

fn hook_name(point: HookPoint) -> &'static str {
    match point {
        HookPoint::Prerouting => "prerouting",
        HookPoint::Input => "input",
        HookPoint::Forward => "forward",
        HookPoint::Output => "output",
        HookPoint::Postrouting => "postrouting",
    }
}
