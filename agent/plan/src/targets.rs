//! Owns what is to be probed: lanes by their gateway's address inside, legs by their gateway's end.

use std::collections::{BTreeMap, BTreeSet};

use sealane_state::rule::Family;

use crate::election::Ranking;
use crate::ground::Ground;
use crate::lanes::{self, Lane, Outside};
use crate::leg::{self, Leg};
use crate::name::{GatewayId, NodeName};
use crate::peers;
use crate::plan::{LaneTarget, LegTarget, ProbeTargets};
use crate::prefix;
use crate::problem::Problem;

/// Returns what this host probes.
pub fn choose(
    ground: &Ground<'_>,
    rankings: &[Ranking<'_>],
    leg: Option<&Leg<'_>>,
    outside: &Outside,
    problems: &mut BTreeSet<Problem>,
) -> ProbeTargets {
    let mut targets = ProbeTargets::default();
    let mut seen: BTreeSet<(&GatewayId, &str)> = BTreeSet::new();
    for lane in rankings.iter().flat_map(|ranking| &ranking.lanes) {
        // Of two entries of one gateway on one link only the better one can be told apart: both
        // have the gateway's one address inside.
        if !seen.insert((lane.claimant.id, lane.link.as_str())) {
            continue;
        }
        match lane_target(ground, outside, lane) {
            Some(target) => {
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

fn lane_target(ground: &Ground<'_>, outside: &Outside, lane: &Lane<'_>) -> Option<LaneTarget> {
    let own = ground.gateway()?;
    let (family, source) = if ground.offered.contains(&Family::V6) {
        (Family::V6, own.probe.into())
    } else {
        (Family::V4, own.probe4.filter(|_| ground.offered.contains(&Family::V4))?.into())
    };
    let mut inside = peers::probe_prefixes(lane);
    let destination = inside.find(|probe| prefix::family(*probe) == family)?.ip();
    Some(LaneTarget {
        gateway: lane.claimant.id.clone(),
        link: lane.link.clone(),
        source,
        destination,
        max_mtu: ground.lane_mtu.min(lane.tunnel.mtu),
        candidates: lanes::candidates(ground, outside, lane),
    })
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
