//! Owns the verdicts of a plan: reads off what was decided, and decides nothing.

use std::collections::{BTreeMap, BTreeSet};

use ipnetwork::IpNetwork;

use crate::backstop::Backstops;
use crate::claims::Claims;
use crate::election::{Carries, Ranking};
use crate::ground::Ground;
use crate::health::PathState;
use crate::leg::Leg;
use crate::name::{GatewayId, LaneId, MemberId};
use crate::problem::Problem;
use crate::routes::Ways;
use crate::source::Sources;
use crate::verdict::{
    LaneRole, LaneVerdict, MemberState, MemberVerdict, PrefixVerdict, Verdicts, Way,
};

/// Returns the verdicts on everything that the plan decided.
pub fn collect(
    ground: &Ground<'_>,
    claims: &Claims<'_>,
    rankings: &[Ranking<'_>],
    leg: Option<&Leg<'_>>,
    ways: &Ways,
) -> Verdicts {
    Verdicts {
        members: members(ground, claims, rankings, leg),
        lanes: lanes(rankings, ways),
        prefixes: prefixes(claims, ways),
        sources: BTreeMap::new(),
    }
}

/// Returns the gateways that do not answer: those of others, and our own ones on the leg.
pub fn silent(lanes: &BTreeMap<LaneId, LaneVerdict>, leg: Option<&Leg<'_>>) -> BTreeSet<Problem> {
    let (down, others): (Vec<_>, Vec<_>) =
        lanes.values().partition(|lane| lane.state == PathState::Down);
    let mut roles: BTreeMap<&GatewayId, LaneRole> = BTreeMap::new();
    for lane in down {
        let role = roles.entry(&lane.gateway).or_insert(lane.role);
        *role = lane.role.min(*role);
    }
    // Of two entries of a gateway one that answers is enough.
    roles.retain(|gateway, _| others.iter().all(|lane| lane.gateway != **gateway));
    let lanes = roles
        .into_iter()
        .map(|(gateway, role)| Problem::LaneDown { gateway: gateway.clone(), role });
    let ends = leg.into_iter().flat_map(Leg::gateways);
    let legs = ends
        .filter(|(_, end)| end.state == PathState::Down)
        .map(|(node, _)| Problem::LegDown(node.clone()));
    lanes.chain(legs).collect()
}

/// Adds what is refused of members that nobody speaks for.
pub fn with_backstops(mut verdicts: Verdicts, backstops: &Backstops<'_>) -> Verdicts {
    let spoken: BTreeSet<MemberId> =
        verdicts.prefixes.values().map(|verdict| verdict.member.clone()).collect();
    let silent = backstops.0.iter().filter(|(_, member)| !spoken.contains(**member));
    for (prefix, member) in silent {
        let verdict = PrefixVerdict { member: (*member).clone(), way: Way::Unspoken };
        verdicts.prefixes.entry(*prefix).or_insert(verdict);
    }
    verdicts
}

/// Adds the sources.
pub fn with_sources(mut verdicts: Verdicts, sources: &Sources) -> Verdicts {
    verdicts.sources.clone_from(&sources.0);
    verdicts
}

fn members(
    ground: &Ground<'_>,
    claims: &Claims<'_>,
    rankings: &[Ranking<'_>],
    leg: Option<&Leg<'_>>,
) -> BTreeMap<MemberId, MemberVerdict> {
    let absent = MemberVerdict { state: MemberState::Absent, gateways: 0, live: 0, lane: None };
    let listed = ground.world.members.iter().filter(|member| **member != ground.me.member);
    let mut members: BTreeMap<MemberId, MemberVerdict> =
        listed.map(|member| (member.clone(), absent.clone())).collect();
    let by_leg: Vec<PathState> =
        leg.into_iter().flat_map(|leg| leg.gateways().map(|(_, end)| end.state)).collect();
    let rankings: BTreeMap<_, _> = rankings.iter().map(|r| (r.member, r)).collect();
    for group in claims.members() {
        let member = &group[0].id.member;
        let verdict = match (ground.gateway(), rankings.get(member)) {
            (Some(_), Some(ranking)) => by_lanes(group.len(), ranking),
            (Some(_), None) => MemberVerdict {
                state: MemberState::Down,
                gateways: group.len(),
                live: 0,
                lane: None,
            },
            (None, _) => MemberVerdict {
                state: by_gateways(&by_leg),
                gateways: by_leg.len(),
                live: live(&by_leg),
                lane: None,
            },
        };
        members.insert(member.clone(), verdict);
    }
    members
}

/// A gateway that answers a node says nothing about the lanes behind it.
fn by_gateways(legs: &[PathState]) -> MemberState {
    match state(legs) {
        MemberState::Up => MemberState::Unknown,
        other => other,
    }
}

fn by_lanes(gateways: usize, ranking: &Ranking<'_>) -> MemberVerdict {
    // A gateway with two entries is as good as its better one, which stands first.
    let mut best: BTreeMap<_, PathState> = BTreeMap::new();
    for lane in &ranking.lanes {
        best.entry(lane.claimant.id).or_insert(lane.health.state);
    }
    let mut states: Vec<PathState> = best.into_values().collect();
    states.resize(gateways, PathState::Down);
    MemberVerdict {
        state: state(&states),
        gateways,
        live: live(&states),
        lane: Some(ranking.lanes[0].id).filter(|_| ranking.lanes[0].is_usable()),
    }
}

fn live(paths: &[PathState]) -> usize {
    paths.iter().filter(|path| **path == PathState::Up).count()
}

fn state(paths: &[PathState]) -> MemberState {
    let up = live(paths);
    if paths.iter().all(|path| *path == PathState::Down) {
        MemberState::Down
    } else if up == paths.len() {
        MemberState::Up
    } else if up > 0 {
        MemberState::Degraded
    } else {
        MemberState::Connecting
    }
}

fn lanes(rankings: &[Ranking<'_>], ways: &Ways) -> BTreeMap<LaneId, LaneVerdict> {
    let carrying: BTreeSet<LaneId> = ways
        .0
        .values()
        .filter_map(|remote| match remote.way {
            Way::Lane(lane) => Some(lane),
            _ => None,
        })
        .collect();
    let mut lanes = BTreeMap::new();
    for ranking in rankings {
        for (place, lane) in ranking.lanes.iter().enumerate() {
            let carries =
                if carrying.contains(&lane.id) { Carries::Something } else { Carries::Nothing };
            let verdict = LaneVerdict {
                gateway: lane.claimant.id.clone(),
                link: lane.link.clone(),
                state: lane.health.state,
                role: ranking.role(place, carries),
            };
            lanes.insert(lane.id, verdict);
        }
    }
    lanes
}

fn prefixes(claims: &Claims<'_>, ways: &Ways) -> BTreeMap<IpNetwork, PrefixVerdict> {
    let left_out = claims.left_out.iter().filter_map(|(prefix, problem)| {
        let member = claimed_by(problem)?.clone();
        Some((*prefix, PrefixVerdict { member, way: Way::LeftOut(problem.clone()) }))
    });
    let chosen = ways.0.iter().map(|(prefix, remote)| {
        (*prefix, PrefixVerdict { member: remote.member.clone(), way: remote.way.clone() })
    });
    left_out.chain(chosen).collect()
}

fn claimed_by(problem: &Problem) -> Option<&MemberId> {
    match problem {
        Problem::OverlapsOwn { member, .. }
        | Problem::OverlapsHost { member, .. }
        | Problem::CoversReserved { member, .. }
        | Problem::PrefixTaken { member, .. } => Some(member),
        _ => None,
    }
}
