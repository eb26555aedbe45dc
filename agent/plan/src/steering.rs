//! Owns exits: the ways that flows are pinned to by a mark, their tables and rules. Does not own the
//! nftables rules that set the marks, nor the table of remote prefixes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use sealane_state::host::HostState;
use sealane_state::link::Mac;
use sealane_state::name::LinkName;
use sealane_state::owner;
use sealane_state::route::{Route, RouteKey, Target};
use sealane_state::rule::{Family, MarkMatch, Rule, Sense};

use crate::digest;
use crate::ground::Ground;
use crate::health::PathState;
use crate::leg::Leg;
use crate::name::NodeName;
use crate::prefix;
use crate::problem::Problem;

/// Exits 1 to 119 are gateways of our member, 120 to 127 the lane links of slot 0 to 7.
const GATEWAY_EXITS: u32 = owner::GATEWAY_SLOTS - 8;

/// Everything that flows may be pinned to on this host.
#[derive(Debug, Clone, Default)]
pub struct Steering {
    /// Exits in order of their numbers.
    pub exits: Vec<Exit>,
    /// Exits among which new connections are spread; empty on gateways, whose own lane takes them.
    pub fresh: Vec<u32>,
}

/// A way that flows are pinned to.
#[derive(Debug, Clone)]
pub struct Exit {
    /// 1 to 127; mark and table follow from it.
    pub number: u32,
    /// How packets that came in by it are known.
    pub entry: Entry,
    /// Way out.
    pub target: Target,
    /// Whether flows pinned to it still leave by it. Else they take the table of remote prefixes,
    /// and come back to it when it does: their NAT state is there.
    pub life: Life,
}

/// How packets are known to have come in by an exit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// By the link-layer source on the leg.
    Leg(Mac),
    /// By the lane link.
    Lane(LinkName),
}

/// Whether an exit is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It is.
    Live,
    /// It fails.
    Dead,
}

impl Exit {
    /// Returns the steering mark of packets and connections.
    pub fn mark(&self) -> u32 {
        owner::MARK_GATEWAY_BASE + self.number
    }

    /// Returns the routing table that pinned packets look up.
    pub fn table(&self) -> u32 {
        owner::TABLE_GATEWAY_BASE + self.number
    }
}

impl Steering {
    /// Finds the exits of this host: gateways over the leg, and lane links where there are several.
    pub fn survey(
        ground: &Ground<'_>,
        leg: Option<&Leg<'_>>,
        lane_links: &BTreeMap<LinkName, u8>,
        problems: &mut BTreeSet<Problem>,
    ) -> Self {
        let mut steering = Self::default();
        if let Some(leg) = leg {
            steering.add_gateways(ground, leg, problems);
        }
        if lane_links.len() > 1 {
            steering.exits.extend(lane_links.iter().map(|(link, slot)| Exit {
                number: GATEWAY_EXITS + 1 + u32::from(*slot),
                entry: Entry::Lane(link.clone()),
                target: Target::Link(link.clone()),
                life: Life::Live,
            }));
        }
        steering.exits.sort_by_key(|exit| exit.number);
        steering
    }

    fn add_gateways(
        &mut self,
        ground: &Ground<'_>,
        leg: &Leg<'_>,
        problems: &mut BTreeSet<Problem>,
    ) {
        let numbers = numbers(leg.gateways().map(|(name, _)| name), problems);
        let chosen = fresh(leg);
        let all_fail = leg.gateways().all(|(_, end)| end.state == PathState::Down);
        for (name, end) in leg.gateways() {
            let Some(number) = numbers.get(name).copied() else { continue };
            self.exits.push(Exit {
                number,
                entry: Entry::Leg(end.mac),
                target: leg.target(end),
                life: if end.state == PathState::Down && !all_fail {
                    Life::Dead
                } else {
                    Life::Live
                },
            });
            if ground.gateway().is_none() && chosen.contains(name) {
                self.fresh.push(number);
            }
        }
        self.fresh.sort_unstable();
    }

    /// Puts a table with default routes and a rule for each live exit into `host`.
    pub fn place(&self, ground: &Ground<'_>, host: &mut HostState) {
        for exit in self.exits.iter().filter(|exit| exit.life == Life::Live) {
            for family in &ground.usable {
                let destination = default_of(*family);
                let key = RouteKey { table: exit.table(), destination, metric: 0 };
                let route = Route { target: exit.target.clone(), source: None, mtu: None };
                host.routes.insert(key, route);
                host.rules.insert(Rule {
                    priority: owner::RULE_STEERED,
                    family: *family,
                    input: None,
                    mark: Some(MarkMatch {
                        value: exit.mark(),
                        mask: owner::MARK_MASK,
                        sense: Sense::Is,
                    }),
                    table: exit.table(),
                });
            }
        }
    }
}

/// Returns the gateways that take new connections: those that answer, else those without a verdict,
/// else all. When all are silent it may be their agents alone, and tunnels outlive agents: refusing
/// packets then would cut what still works.
pub fn fresh<'a>(leg: &Leg<'a>) -> BTreeSet<&'a NodeName> {
    let best = leg.gateways().map(|(_, end)| end.state).min();
    leg.gateways().filter(|(_, end)| Some(end.state) == best).map(|(name, _)| name).collect()
}

/// Numbers gateways by a hash of their names, so that one that comes or goes moves no other's marks.
/// Two with one hash stand side by side in the order of their names.
fn numbers<'a>(
    names: impl Iterator<Item = &'a NodeName>,
    problems: &mut BTreeSet<Problem>,
) -> BTreeMap<&'a NodeName, u32> {
    let mut taken = BTreeSet::new();
    let mut numbers = BTreeMap::new();
    for name in names {
        let start = digest::of("exit", &[name.0.as_bytes()]) % u64::from(GATEWAY_EXITS);
        // The remainder is below GATEWAY_EXITS, so nothing is cut.
        let start = start as u32;
        let free = (0..GATEWAY_EXITS)
            .map(|step| 1 + (start + step) % GATEWAY_EXITS)
            .find(|number| taken.insert(*number));
        match free {
            Some(number) => {
                numbers.insert(name, number);
            }
            None => {
                problems.insert(Problem::TooManyGateways(name.clone()));
            }
        }
    }
    numbers
}

fn default_of(family: Family) -> IpNetwork {
    let everything = match family {
        Family::V4 => Ipv4Network::new(Ipv4Addr::UNSPECIFIED, 0).map(IpNetwork::V4),
        Family::V6 => Ipv6Network::new(Ipv6Addr::UNSPECIFIED, 0).map(IpNetwork::V6),
    };
    // A length of 0 fits both families, so the fallback is never taken.
    everything.unwrap_or_else(|_| prefix::host(Ipv4Addr::UNSPECIFIED.into()))
}
