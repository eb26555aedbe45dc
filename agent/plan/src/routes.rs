//! Owns the tables of remote prefixes and of our nodes, and the rules that lead there. Does not own
//! the tables of exits.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use sealane_state::host::HostState;
use sealane_state::name::LinkName;
use sealane_state::owner;
use sealane_state::route::{Route, RouteKey, Target};
use sealane_state::rule::{MarkMatch, Rule, Sense};

use crate::backstop;
use crate::claims::Claims;
use crate::digest;
use crate::election::Ranking;
use crate::ground::Ground;
use crate::lanes::Lane;
use crate::leg::Leg;
use crate::mtu;
use crate::name::{MemberId, NodeName};
use crate::peers;
use crate::prefix;
use crate::source::Sources;
use crate::steering::{self, Life, Steering};
use crate::verdict::Way;

/// Where packets to each remote prefix go.
#[derive(Debug, Clone, Default)]
pub struct Ways(pub BTreeMap<IpNetwork, RemotePrefix>);

/// A remote prefix and its way.
#[derive(Debug, Clone)]
pub struct RemotePrefix {
    /// Whose it is.
    pub member: MemberId,
    /// What becomes of packets.
    pub way: Way,
    /// The same for Linux.
    pub target: Target,
    /// Largest packet that the way takes, as far as known, in bytes.
    pub path_mtu: Option<u32>,
}

impl Ways {
    /// Chooses a way for each prefix that counts. In families that our member lacks nothing would
    /// come back, so packets are refused at once.
    pub fn choose(
        ground: &Ground<'_>,
        claims: &Claims<'_>,
        rankings: &[Ranking<'_>],
        leg: Option<&Leg<'_>>,
    ) -> Self {
        let mut ways = match ground.gateway() {
            Some(_) => by_lanes(claims, rankings),
            None => by_leg(ground, claims, leg),
        };
        ways.retain(|prefix, _| ground.offered.contains(&prefix::family(*prefix)));
        for (prefix, remote) in &mut ways {
            if !ground.usable.contains(&prefix::family(*prefix)) {
                remote.way = Way::Unreachable;
                remote.target = Target::Unreachable;
            }
        }
        Self(ways)
    }

    /// Puts the table of remote prefixes into `host`.
    pub fn place(&self, sources: &Sources, host: &mut HostState) {
        for (destination, remote) in &self.0 {
            let link = remote.target.link().and_then(|link| host.links.get(link));
            let mtu = link.and_then(|l| mtu::of_route(*destination, remote.path_mtu, l.mtu));
            let source = link.and_then(|_| sources.toward(*destination));
            let target = remote.target.clone();
            // A link of ours takes its routes along when it goes, be it for the moment in which a
            // tunnel starts again. Packets must not find the default route then.
            if target.link().is_some() {
                host.routes.insert(backstop::key(*destination), backstop::refusal());
            }
            let key = RouteKey { table: owner::TABLE_REMOTE, destination: *destination, metric: 0 };
            host.routes.insert(key, Route { target, source, mtu });
        }
    }

    /// Repeats narrow prefixes in the tables of exits, whose default route knows no path MTU.
    pub fn place_narrow(&self, steering: &Steering, host: &mut HostState) {
        for exit in steering.exits.iter().filter(|exit| exit.life == Life::Live) {
            let Some(link_mtu) = exit.target.link().and_then(|link| host.links.get(link)) else {
                continue;
            };
            let link_mtu = link_mtu.mtu;
            for (destination, remote) in &self.0 {
                let mtu = mtu::of_route(*destination, remote.path_mtu, link_mtu);
                if mtu.is_some() && remote.way != Way::Unreachable {
                    let key =
                        RouteKey { table: exit.table(), destination: *destination, metric: 0 };
                    let route = Route { target: exit.target.clone(), source: None, mtu };
                    host.routes.insert(key, route);
                }
            }
        }
    }
}

/// Puts the rules that lead to the table of remote prefixes into `host`.
pub fn place_rules(ground: &Ground<'_>, host: &mut HostState) {
    let mark = MarkMatch {
        value: owner::MARK_ENCRYPTED,
        mask: owner::MARK_ENCRYPTED_MASK,
        sense: Sense::IsNot,
    };
    host.rules.extend(ground.offered.iter().map(|family| Rule {
        priority: owner::RULE_REMOTE,
        family: *family,
        input: None,
        mark: Some(mark),
        table: owner::TABLE_REMOTE,
    }));
}

/// Puts a route to each gateway's probe address into `host`: by its best lane, dead or alive, since
/// only a probe can tell that it is alive again.
pub fn place_probe_routes(ground: &Ground<'_>, rankings: &[Ranking<'_>], host: &mut HostState) {
    let Some(own) = ground.gateway() else { return };
    for lane in rankings.iter().flat_map(|ranking| &ranking.lanes) {
        for destination in peers::probe_prefixes(lane) {
            let source = match destination {
                IpNetwork::V4(_) => own.probe4.map(IpAddr::from),
                IpNetwork::V6(_) => Some(own.probe.into()),
            };
            if ground.offered.contains(&prefix::family(destination)) {
                let target = Target::Link(lane.link.clone());
                let key = RouteKey { table: owner::TABLE_REMOTE, destination, metric: 0 };
                host.routes.entry(key).or_insert(Route { target, source, mtu: None });
            }
        }
    }
}

/// Puts the way from the lanes to our nodes into `host`: without it packets would take the cluster's
/// own way, and the node could not tell by which gateway they came.
pub fn place_nodes(
    ground: &Ground<'_>,
    leg: &Leg<'_>,
    lane_links: &BTreeMap<LinkName, u8>,
    host: &mut HostState,
) {
    for end in leg.ends.values() {
        let addresses = end.node.underlay.iter().map(|address| prefix::host(*address));
        for destination in end.node.pods.iter().copied().map(prefix::canonical).chain(addresses) {
            if ground.usable.contains(&prefix::family(destination)) {
                let key = RouteKey { table: owner::TABLE_NODES, destination, metric: 0 };
                let route = Route { target: leg.target(end), source: None, mtu: None };
                host.routes.entry(key).or_insert(route);
            }
        }
    }
    for link in lane_links.keys() {
        host.rules.extend(ground.usable.iter().map(|family| Rule {
            priority: owner::RULE_FROM_LANE,
            family: *family,
            input: Some(link.clone()),
            mark: None,
            table: owner::TABLE_NODES,
        }));
    }
}

fn by_lanes(claims: &Claims<'_>, rankings: &[Ranking<'_>]) -> BTreeMap<IpNetwork, RemotePrefix> {
    let rankings: BTreeMap<&MemberId, &Ranking<'_>> =
        rankings.iter().map(|ranking| (ranking.member, ranking)).collect();
    let mut ways = BTreeMap::new();
    for group in claims.members() {
        let member = &group[0].id.member;
        let owners = rankings.get(member).map(|ranking| ranking.owners()).unwrap_or_default();
        let claimed = group.iter().flat_map(|claimant| &claimant.prefixes);
        let lost = claimed.filter(|claim| !owners.keys().any(|own| prefix::covers(*own, **claim)));
        ways.extend(lost.map(|claim| (*claim, refused(member))));
        ways.extend(owners.into_iter().map(|(prefix, lane)| (prefix, by_lane(member, lane))));
    }
    ways
}

fn by_lane(member: &MemberId, lane: &Lane<'_>) -> RemotePrefix {
    if !lane.is_usable() {
        return refused(member);
    }
    RemotePrefix {
        member: member.clone(),
        way: Way::Lane(lane.id),
        target: Target::Link(lane.link.clone()),
        path_mtu: Some(lane.path_mtu()),
    }
}

fn by_leg(
    ground: &Ground<'_>,
    claims: &Claims<'_>,
    leg: Option<&Leg<'_>>,
) -> BTreeMap<IpNetwork, RemotePrefix> {
    let fresh = leg.map(steering::fresh).unwrap_or_default();
    let target = leg.and_then(|leg| target_of_unpinned(ground, leg, &fresh));
    let names: Vec<NodeName> = fresh.into_iter().cloned().collect();
    let mtus = widest_tunnels(claims);
    let way = |member: &MemberId| match &target {
        None => refused(member),
        Some(target) => RemotePrefix {
            member: member.clone(),
            way: Way::Legs(names.clone()),
            target: target.clone(),
            path_mtu: mtus.get(member).copied(),
        },
    };
    claims.union().into_iter().map(|(prefix, member)| (prefix, way(member))).collect()
}

/// Packets of flows that are not pinned (older than our rules, or pinned to a dead gateway) all take
/// one gateway; each node its own, chosen by hash.
fn target_of_unpinned(
    ground: &Ground<'_>,
    leg: &Leg<'_>,
    fresh: &BTreeSet<&NodeName>,
) -> Option<Target> {
    let weight =
        |name: &NodeName| digest::of("unpinned", &[ground.me.node.0.as_bytes(), name.0.as_bytes()]);
    let usable = leg.gateways().filter(|(name, _)| fresh.contains(name));
    usable.min_by_key(|(name, _)| weight(name)).map(|(_, end)| leg.target(end))
}

fn widest_tunnels<'a>(claims: &Claims<'a>) -> BTreeMap<&'a MemberId, u32> {
    let mut mtus = BTreeMap::new();
    for claimant in &claims.claimants {
        for tunnel in &claimant.gateway.tunnels {
            let widest = mtus.entry(&claimant.id.member).or_insert(0);
            *widest = tunnel.mtu.max(*widest);
        }
    }
    mtus
}

fn refused(member: &MemberId) -> RemotePrefix {
    RemotePrefix {
        member: member.clone(),
        way: Way::Unreachable,
        target: Target::Unreachable,
        path_mtu: None,
    }
}
