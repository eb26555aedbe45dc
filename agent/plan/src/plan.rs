//! Owns [`Plan`], the answer, and [`plan`], which finds it. Does not apply it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use sealane_state::address::Address;
use sealane_state::host::HostState;
use sealane_state::name::LinkName;
use sealane_state::rule::Family;
use sealane_state::wireguard::PublicKey;

use crate::backstop::Backstops;
use crate::claims::{self, Claims};
use crate::election::{self, Ranking};
use crate::firewall;
use crate::ground::Ground;
use crate::health::EndpointAdvice;
use crate::lanes::{self, Outside};
use crate::leg::Leg;
use crate::name::{GatewayId, LaneId, MemberId, NodeName, UnixSeconds};
use crate::peers;
use crate::prefix;
use crate::problem::Problem;
use crate::reasons;
use crate::remote::Candidate;
use crate::routes::{self, Ways};
use crate::source::Sources;
use crate::steering::Steering;
use crate::sysctls;
use crate::targets;
use crate::verdict::Verdicts;
use crate::world::World;

/// What this host should look like, what to probe, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The host as it should be; empty when this host is in no clusterset.
    pub host: HostState,
    /// What to probe.
    pub probes: ProbeTargets,
    /// What was decided and why.
    pub verdicts: Verdicts,
    /// What the plan had to do without, sorted, no duplicates.
    pub problems: Vec<Problem>,
    /// Largest inner packet of our lanes in bytes, to be advertised; `None` on hosts without lanes.
    pub lane_mtu: Option<u32>,
    /// Remote tunnel entry that carries each member; to be given to the next plan.
    pub choices: BTreeMap<MemberId, PublicKey>,
    /// When the passing of time alone changes this plan.
    pub wake_at: Option<UnixSeconds>,
}

/// What to probe.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProbeTargets {
    /// Lanes by identity.
    pub lanes: BTreeMap<LaneId, LaneTarget>,
    /// Own gateways by node.
    pub legs: BTreeMap<NodeName, LegTarget>,
}

/// A lane to probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneTarget {
    /// Whose lane it is.
    pub gateway: GatewayId,
    /// Lane link.
    pub link: LinkName,
    /// Source of probes: our probe address.
    pub source: IpAddr,
    /// Destination of probes: their probe address, of the family of `source`.
    pub destination: IpAddr,
    /// Largest packet worth trying, IP header included, in bytes.
    pub max_mtu: u32,
    /// Addresses to try, in order.
    pub candidates: Vec<Candidate>,
    /// Further peers that lead the same way, with their addresses: those of a gateway's other key while
    /// it replaces one. What is found out of the lane holds for them.
    pub companions: BTreeMap<PublicKey, Vec<Candidate>>,
    /// What is at stake should it die.
    pub traffic: Traffic,
}

/// What a lane carries, and whether it has anywhere else to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// Its member's, which a live lane beside it would take.
    Movable,
    /// Its member's, which no other lane could take.
    Bound,
    /// None of its own accord: it is a spare.
    Spare,
}

/// The leg to an own gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegTarget {
    /// Leg link to send by; the scope of link-local addresses. `None` on a host without IPv6: there
    /// the probe takes the underlay.
    pub link: Option<LinkName>,
    /// Source of probes on this host.
    pub source: IpAddr,
    /// Destination of probes on the gateway.
    pub destination: IpAddr,
    /// Largest packet worth trying, IP header included, in bytes.
    pub max_mtu: u32,
}

impl Plan {
    /// Writes a new advice for the endpoint of a lane's peer, as the next plan will have it: a search
    /// takes many steps, none of which changes anything else.
    pub fn advise(&mut self, lane: &LaneId, advice: EndpointAdvice) {
        let Some(target) = self.probes.lanes.get(lane) else { return };
        let Some(device) = self.host.devices.get_mut(&target.link) else { return };
        if let Some(peer) = device.peers.get_mut(&lane.remote) {
            peers::advise(peer, &target.candidates, advice);
        }
        for (key, candidates) in &target.companions {
            if let Some(peer) = device.peers.get_mut(key) {
                peers::advise(peer, candidates, advice.for_companion());
            }
        }
    }
}

/// Finds out what this host should look like.
///
/// Cannot fail: what is wrong with a fact is reported and costs only what depends on it. Equal
/// worlds give equal plans; a host in no clusterset gets an empty one.
pub fn plan(world: &World, now: UnixSeconds) -> Plan {
    let Some(me) = &world.me else { return Plan::default() };
    let mut problems = BTreeSet::new();
    let ground = Ground::survey(world, me, &mut problems);
    let claims = Claims::survey(&ground, now, &mut problems);
    report_families(&ground, &claims, &mut problems);
    let lanes = lanes::survey(&ground, &claims, &mut problems);
    let rankings = election::elect(&lanes, &world.choices);
    let backstops = Backstops::survey(&ground);
    let found = Found {
        backstops: &backstops,
        leg: Leg::survey(&ground, &mut problems),
        links: lanes::links(&ground, &lanes),
        outside: Outside::survey(&ground, &claims),
        rankings: &rankings,
        ground: &ground,
        claims: &claims,
    };
    let leg = found.leg.as_ref();
    let ways = Ways::choose(&ground, &claims, &rankings, leg);
    let sources = Sources::choose(&ground, leg, &mut problems);
    let verdicts = reasons::collect(&ground, &claims, &rankings, leg, &ways);
    let verdicts = reasons::with_backstops(verdicts, &backstops);
    problems.extend(reasons::silent(&verdicts.lanes, leg));
    Plan {
        host: found.host(&ways, &sources, &mut problems),
        probes: targets::choose(&ground, &rankings, leg, &found.outside, &mut problems),
        verdicts: reasons::with_sources(verdicts, &sources),
        lane_mtu: ground.gateway().map(|_| ground.lane_mtu),
        choices: choices(&rankings),
        wake_at: claims::next_change(&ground, now),
        problems: problems.into_iter().collect(),
    }
}

/// What was found out before anything is written down for Linux.
struct Found<'f> {
    ground: &'f Ground<'f>,
    backstops: &'f Backstops<'f>,
    claims: &'f Claims<'f>,
    rankings: &'f [Ranking<'f>],
    links: BTreeMap<LinkName, u8>,
    leg: Option<Leg<'f>>,
    outside: Outside,
}

impl Found<'_> {
    fn host(&self, ways: &Ways, sources: &Sources, problems: &mut BTreeSet<Problem>) -> HostState {
        let (ground, leg) = (self.ground, self.leg.as_ref());
        let mut host = HostState::default();
        self.backstops.place(&mut host);
        if self.links.is_empty() && leg.is_none() {
            // Nothing can be reached, and what is granted must not leave in clear all the same.
            if !self.backstops.0.is_empty() {
                routes::place_rules(ground, &mut host);
            }
            return host;
        }
        let steering = Steering::survey(ground, leg, &self.links, problems);
        peers::place_devices(ground, &self.links, &mut host);
        peers::place_peers(ground, self.rankings, &self.outside, &mut host, problems);
        if let Some(leg) = leg {
            leg.place(ground, &mut host);
            if ground.gateway().is_some() {
                routes::place_nodes(ground, leg, &self.links, &mut host);
                report_unknown_pods(leg, problems);
            }
        }
        self.place_sources(sources, &mut host);
        ways.place(sources, &mut host);
        routes::place_rules(ground, &mut host);
        routes::place_probe_routes(ground, self.rankings, &mut host);
        steering.place(ground, &mut host);
        ways.place_narrow(&steering, &mut host);
        sysctls::place(ground, leg, &self.links, sources, &mut host);
        let (claims, lanes) = (self.claims, &self.links);
        let facts = firewall::Facts { ground, claims, lanes, leg, steering: &steering, sources };
        host.filter = Some(firewall::table(&facts));
        host
    }

    /// Puts the sources that no foreign link has on the leg, else on the first lane link.
    fn place_sources(&self, sources: &Sources, host: &mut HostState) {
        let leg = self.leg.as_ref().map(|leg| &leg.link);
        if let Some(link) = leg.or_else(|| self.links.keys().next()) {
            let place = |source| Address { link: link.clone(), net: prefix::host(source) };
            host.addresses.extend(sources.to_place(self.ground).map(place));
        }
    }
}

fn report_families(ground: &Ground<'_>, claims: &Claims<'_>, problems: &mut BTreeSet<Problem>) {
    let claimed = claims.claimants.iter().flat_map(|claimant| &claimant.prefixes);
    let families: BTreeSet<Family> = claimed.map(|claim| prefix::family(*claim)).collect();
    for family in families {
        if !ground.offered.contains(&family) {
            problems.insert(Problem::FamilyNotOffered(family));
        } else if !ground.usable.contains(&family) {
            problems.insert(Problem::FamilyNotOwned(family));
        }
    }
}

fn report_unknown_pods(leg: &Leg<'_>, problems: &mut BTreeSet<Problem>) {
    let unknown = leg.ends.iter().filter(|(_, end)| end.node.pods.is_empty());
    problems.extend(unknown.map(|(name, _)| Problem::PodNetworksUnknown((*name).clone())));
}

fn choices(rankings: &[Ranking<'_>]) -> BTreeMap<MemberId, PublicKey> {
    let first = |ranking: &Ranking<'_>| (ranking.member.clone(), ranking.lanes[0].tunnel.key);
    rankings.iter().map(first).collect()
}
