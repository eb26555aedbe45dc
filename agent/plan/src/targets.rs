//! Owns what is to be probed: lanes by their gateway's address inside, legs by their gateway's end.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use sealane_state::rule::Family;
use sealane_state::wireguard::PublicKey;

use crate::election::Ranking;
use crate::ground::Ground;
use crate::health::PathState;
use crate::lanes::{self, Lane, Outside};
use crate::leg::{self, Leg};
use crate::name::{GatewayId, NodeName};
use crate::peers;
use crate::plan::{LaneTarget, LegTarget, ProbeTargets, Traffic};
use crate::prefix;
use crate::problem::Problem;
use crate::remote::Candidate;
use crate::world::OwnGateway;

/// Returns what this host probes.
pub fn choose(
    ground: &Ground<'_>,
    rankings: &[Ranking<'_>],
    leg: Option<&Leg<'_>>,
    outside: &Outside,
    problems: &mut BTreeSet<Problem>,
) -> ProbeTargets {
    let mut targets = ProbeTargets::default();
    let is_deaf = |own: &OwnGateway| {
        !ground.offered.contains(&Family::V6) && own.probe4.is_none() && !rankings.is_empty()
    };
    if ground.gateway().is_some_and(is_deaf) {
        problems.insert(Problem::NoProbeAddress);
        targets.legs = leg.map(|leg| legs(ground, leg)).unwrap_or_default();
        return targets;
    }
    let mut seen: BTreeSet<(&GatewayId, &str)> = BTreeSet::new();
    let lanes =
        rankings.iter().flat_map(|ranking| (0..).zip(&ranking.lanes).map(move |it| (ranking, it)));
    for (ranking, (place, lane)) in lanes {
        // Of two entries of one gateway on one link only the better one can be told apart: both
        // have the gateway's one address inside.
        if !seen.insert((lane.claimant.id, lane.link.as_str())) {
            continue;
        }
        match lane_target(ground, outside, lane, traffic(ranking, place)) {
            Some(mut target) => {
                target.companions = companions(ground, outside, lane, ranking);
                targets.lanes.insert(lane.id, target);
            }
            None => {
                problems.insert(Problem::NoProbeFamily(lane.claimant.id.clone()));
            }
        }
    }
    targets.legs = leg.map(|leg| legs(ground, leg)).unwrap_or_default();
    targets
}

/// The first lane of a member carries; a failing one beside it, or one to the same gateway, takes
/// nothing over.
fn traffic(ranking: &Ranking<'_>, place: usize) -> Traffic {
    let first = ranking.lanes[0].claimant.id;
    let could_take_over =
        |lane: &&Lane<'_>| lane.claimant.id != first && lane.health.state != PathState::Down;
    match place {
        0 if ranking.lanes.iter().any(could_take_over) => Traffic::Movable,
        0 => Traffic::Bound,
        _ => Traffic::Spare,
    }
}

fn lane_target(
    ground: &Ground<'_>,
    outside: &Outside,
    lane: &Lane<'_>,
    traffic: Traffic,
) -> Option<LaneTarget> {
    let (source, destination) = ends(ground, lane)?;
    Some(LaneTarget {
        gateway: lane.claimant.id.clone(),
        link: lane.link.clone(),
        source,
        destination,
        max_mtu: ground.lane_mtu.min(lane.tunnel.mtu),
        candidates: lanes::candidates(ground, outside, lane),
        companions: BTreeMap::new(),
        traffic,
    })
}

fn companions(
    ground: &Ground<'_>,
    outside: &Outside,
    lane: &Lane<'_>,
    ranking: &Ranking<'_>,
) -> BTreeMap<PublicKey, Vec<Candidate>> {
    let leads_there = |other: &&&Lane<'_>| {
        other.id != lane.id && other.claimant.id == lane.claimant.id && other.link == lane.link
    };
    let others = ranking.lanes.iter().filter(leads_there);
    others.map(|it| (it.id.remote, lanes::candidates(ground, outside, it))).collect()
}

/// Returns the two addresses of probes. IPv4 where both gateways name an address for it, for only one
/// of them may know that the other has no IPv6; else IPv6, in which every gateway has one.
fn ends(ground: &Ground<'_>, lane: &Lane<'_>) -> Option<(IpAddr, IpAddr)> {
    let own = ground.gateway()?;
    let of = |family: Family| {
        let mut inside = peers::probe_prefixes(lane);
        inside.find(|probe| prefix::family(*probe) == family).map(|probe| probe.ip())
    };
    let own4 = own.probe4.filter(|_| ground.offered.contains(&Family::V4));
    let own6 = Some(own.probe).filter(|_| ground.offered.contains(&Family::V6));
    let v4 = own4.map(IpAddr::from).zip(of(Family::V4));
    v4.or_else(|| own6.map(IpAddr::from).zip(of(Family::V6)))
}

fn legs(ground: &Ground<'_>, leg: &Leg<'_>) -> BTreeMap<NodeName, LegTarget> {
    let (link, source) = if ground.offered.contains(&Family::V6) {
        (Some(leg.link.clone()), leg::link_local(&ground.me.node).into())
    } else {
        (None, leg.local)
    };
    let target = |end: &leg::End<'_>| LegTarget {
        link: link.clone(),
        source,
        destination: end.next_hop,
        max_mtu: leg.mtu,
    };
    leg.gateways().map(|(name, end)| (name.clone(), target(end))).collect()
}
