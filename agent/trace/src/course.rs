//! Owns the way of one packet through one host, step by step in the kernel's order. Does not own the
//! way of the answer, nor what other hosts do.

use std::net::IpAddr;

use sealane_state::facts::{SeenHop, SeenRoute};
use sealane_state::filter::HookPoint;
use sealane_state::name::LinkName;
use sealane_state::owner;
use sealane_state::rule::Family;
use sealane_state::sysctl::SysctlKey;
use sealane_state::wireguard::PublicKey;
use sealane_view::trace::{HopView, Outcome, Stage};

use crate::bits::Bits;
use crate::lane;
use crate::leg::{self, LegEnd};
use crate::nft;
use crate::nft::term::Sight;
use crate::packet::{Entry, Flow, Packet};
use crate::routing::{self, Found, Lookup};
use crate::size::{self, Fit, Limits, Sender};
use crate::snapshot::{LinkUse, Snapshot};

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
    /// Bytes, IP header included.
    pub size: u32,
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
        size: walker.size.unwrap_or_else(|| size::full(Limits { mtu: None, probed: None })),
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

    fn route(&mut self) -> Result<Chosen<'w>, Dropped> {
        let lookup = Lookup {
            destination: self.destination,
            source: self.source,
            input: self.packet.entry.link(),
            mark: self.mark,
            choice: self.packet.choice,
        };
        let answer = routing::route(self.snapshot.routing, &lookup);
        for (rule, why) in answer.doubtful {
            let what = format!("rule {}", rule.priority);
            let text = routing::rule_text(rule);
            let detail = format!("({text}) may decide instead: {why}");
            self.step(Stage::Rule, &what, detail, Outcome::Warn);
        }
        let Some(rule) = answer.rule else {
            return self.fail(
                Stage::Rule,
                "no rule".to_owned(),
                &format!("leads to a route to {}{}", self.destination, self.why_not_ours()),
            );
        };
        let what = format!("rule {}", rule.priority);
        self.step(Stage::Rule, &what, routing::rule_text(rule), Outcome::Ok);
        match answer.found {
            Found::Route(table, route, way) => {
                let what = format!("table {}", routing::table_name(table));
                let detail = format!("has {} for {}", route.destination, self.destination);
                self.step(Stage::Table, &what, detail, Outcome::Ok);
                let text = routing::route_text(route, way);
                let hop = way.map(|way| way.hop);
                let fate = match (route.kind.as_str(), hop) {
                    ("local" | "anycast", _) => Ok("delivers to this host".to_owned()),
                    ("unicast", Some(hop)) => Ok(match (hop.gateway, &hop.link) {
                        (Some(gateway), _) => format!("leads to the next hop {gateway}"),
                        (None, Some(link)) => format!("leads straight out of {link}"),
                        (None, None) => "leads out".to_owned(),
                    }),
                    (kind, _) => Err(refusal(kind, self.snapshot.member_of(self.destination))),
                };
                match fate {
                    Ok(detail) => {
                        self.step(Stage::Route, &format!("route {text}"), detail, Outcome::Ok)
                    }
                    Err(detail) => {
                        return self.fail(Stage::Route, format!("route {text}"), &detail);
                    }
                }
                Ok(Chosen { route, hop })
            }
            Found::Refused(word) => self.fail(Stage::Rule, what, &refusal(word, None)),
            Found::Nothing => self.fail(Stage::Rule, what, "leads nowhere"),
        }
    }

    /// Says why a packet for another member does not take the table of remote prefixes.
    fn why_not_ours(&self) -> String {
        let Some(member) = self.snapshot.member_of(self.destination) else { return String::new() };
        let table = owner::TABLE_REMOTE;
        let family = self.packet.family();
        let routing = self.snapshot.routing;
        let looks = |rule: &sealane_state::facts::SeenRule| {
            rule.family == family && rule.action == sealane_state::facts::SeenAction::Lookup(table)
        };
        let routes = routing.routes.get(&table);
        let has =
            routes.is_some_and(|it| it.iter().any(|it| it.destination.contains(self.destination)));
        let why = match (routing.rules.iter().any(looks), has) {
            (false, _) => format!("no rule looks up table {table}"),
            (true, false) => format!("table {table} has no route to it"),
            (true, true) => format!("the rule of table {table} does not hold for it"),
        };
        format!("; it is an address of {member}, but {why}")
    }

    fn choose_source(&mut self, chosen: &Chosen<'_>) -> Result<(), Dropped> {
        if self.source.is_some() {
            return Ok(());
        }
        let link = chosen.hop.and_then(|hop| hop.link.as_ref());
        let local = chosen.hop.is_none().then_some(self.destination);
        let source = chosen.route.source.or(local).or_else(|| self.address_on(link));
        self.source = source;
        match source {
            Some(source) => {
                let detail = "is chosen for packets of this host".to_owned();
                self.step(Stage::Source, &format!("source {source}"), detail, Outcome::Ok);
                Ok(())
            }
            None => self.fail(
                Stage::Source,
                "this host".to_owned(),
                &format!("has no {} address to send from", self.packet.family()),
            ),
        }
    }

    /// Returns an address of the packet's family on a link, else on any; no link-local one, unless
    /// there is no other.
    fn address_on(&self, link: Option<&LinkName>) -> Option<IpAddr> {
        let family = self.packet.family();
        let links = &self.snapshot.facts.links;
        let first = link.and_then(|link| links.get(link)).into_iter();
        let others = links.iter().filter(|(name, _)| name.as_str() != "lo").map(|(_, link)| link);
        let addresses = first.chain(others).flat_map(|link| &link.addresses);
        let of_family: Vec<IpAddr> = addresses
            .map(|net| net.ip())
            .filter(|ip| ip.is_ipv4() == (family == Family::V4))
            .collect();
        let wide = |ip: &&IpAddr| match ip {
            IpAddr::V4(ip) => !ip.is_link_local(),
            IpAddr::V6(ip) => !ip.is_unicast_link_local(),
        };
        of_family.iter().find(wide).or(of_family.first()).copied()
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
            ("may let it pass", Outcome::Warn)
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

    /// The other end takes packets from our networks only.
    fn check_source(&mut self, link: &LinkName) -> Result<(), Dropped> {
        let snapshot = self.snapshot;
        let to_member = snapshot.member_of(self.destination);
        let by_lane = snapshot.use_of(link) == LinkUse::Lane;
        let Some(source) = self.source.filter(|_| by_lane || to_member.is_some()) else {
            return Ok(());
        };
        let on_our_link = snapshot.host.addresses.iter().any(|it| it.net.ip() == source);
        if snapshot.is_ours(source) || on_our_link {
            return Ok(());
        }
        let detail = "lies in no network of this member: the other member drops it";
        self.fail(Stage::Source, format!("source {source}"), detail)
    }

    fn leave(
        &mut self,
        chosen: &Chosen<'_>,
        hop: &SeenHop,
        link: &LinkName,
    ) -> Result<Exit, Dropped> {
        let facts = self.snapshot.facts.links.get(link);
        if facts.is_some_and(|facts| !facts.running) {
            return self.fail(Stage::Route, format!("link {link}"), "is down or has no carrier");
        }
        let link_mtu = facts.map(|facts| facts.mtu);
        let mtu = chosen.route.mtu.into_iter().chain(link_mtu).min();
        match self.snapshot.use_of(link) {
            LinkUse::Lane => {
                let lane = lane::outgoing(&self.snapshot, link, self.destination);
                let view = lane.peer.and_then(|key| self.snapshot.peer_view(key));
                let probed = view.and_then(|view| view.path_mtu_bytes);
                self.judged(Stage::Tunnel, &lane.what, lane.detail, lane.outcome)?;
                self.fit(link, Limits { mtu, probed }, &lane.what);
                lane.peer.map(|key| Exit::Lane(link.clone(), key)).ok_or(Dropped)
            }
            LinkUse::Leg => {
                let leg = leg::outgoing(&self.snapshot, link, hop.gateway);
                self.judged(Stage::Leg, &leg.what, leg.detail, leg.outcome)?;
                self.fit(link, Limits { mtu, probed: None }, &leg.what);
                leg.end.map(|end| Exit::Leg(link.clone(), end)).ok_or(Dropped)
            }
            LinkUse::Foreign => {
                self.fit(link, Limits { mtu, probed: None }, "");
                self.leave_us(hop, link)
            }
        }
    }

    fn leave_us(&mut self, hop: &SeenHop, link: &LinkName) -> Result<Exit, Dropped> {
        let (snapshot, destination) = (self.snapshot, self.destination);
        let what = format!("link {link}");
        if let Some(member) = snapshot.member_of(destination) {
            let detail = format!("leads past the lanes to {member}{}", self.why_not_ours());
            return self.fail(Stage::Delivery, what, &detail);
        }
        let foreign = if snapshot.is_ours(destination) {
            ""
        } else {
            ", which is in no network of this clusterset"
        };
        let (detail, outcome) = match hop.gateway {
            None => (format!("is the link of {destination}{foreign}"), Outcome::Ok),
            Some(router) => (
                format!(
                    "leads to router {router}, beyond which nobody is asked, for {destination}{foreign}"
                ),
                Outcome::Warn,
            ),
        };
        let outcome = if foreign.is_empty() { outcome } else { Outcome::Warn };
        self.step(Stage::Delivery, &what, detail, outcome);
        Ok(Exit::Link(link.clone(), hop.gateway))
    }

    fn fit(&mut self, link: &LinkName, limits: Limits, path: &str) {
        let size = *self.size.get_or_insert_with(|| size::full(limits));
        let sender = match self.packet.entry {
            Entry::Host => Sender::Host,
            _ => Sender::Other,
        };
        let in_link = limits.mtu.is_none_or(|mtu| size <= mtu);
        let what = if in_link && limits.probed.is_some() {
            format!("path to {}", path.trim_start_matches("peer "))
        } else {
            format!("link {link}")
        };
        match size::fit(size, limits, self.packet.family(), sender) {
            Fit::Whole(detail) => self.step(Stage::Mtu, &what, detail, Outcome::Ok),
            Fit::TooLarge(detail) => self.step(Stage::Mtu, &what, detail, Outcome::Warn),
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

fn refusal(word: &str, member: Option<&str>) -> String {
    let reason = member.map(|member| format!(": no way to {member} is alive")).unwrap_or_default();
    match word {
        "blackhole" => format!("drops the packet silently{reason}"),
        "unreachable" | "prohibit" => format!("refuses the packet with ICMP {word}{reason}"),
        other => format!("does not forward ({other}){reason}"),
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
