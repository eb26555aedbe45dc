//! Owns how the other members are shown: state, way and reason.

use std::collections::BTreeMap;

use sealane_view::status::{MemberState, MemberView, NetworksView};

use crate::documents;
use crate::health::LaneHealth;
use crate::name::{GatewayId, MemberId};
use crate::plan::Plan;
use crate::prefix;
use crate::remote::{Networks, RemoteGateway};
use crate::verdict::{self, LaneRole, MemberVerdict, Way};
use crate::world::{Role, World};

/// Returns the other members, sorted by name.
pub fn of(world: &World, plan: &Plan) -> Vec<MemberView> {
    let mut networks = accepted(world);
    for (prefix, verdict) in &plan.verdicts.prefixes {
        if let (Way::LeftOut(_), Some(of_member)) =
            (&verdict.way, networks.get_mut(&verdict.member))
        {
            for kind in [&mut of_member.pods, &mut of_member.services, &mut of_member.external] {
                kind.retain(|network| !prefix::covers(*prefix, *network));
            }
        }
    }
    let members = plan.verdicts.members.iter();
    members
        .map(|(member, verdict)| {
            let networks = networks.get(member).map(documents::networks).unwrap_or_default();
            view(world, plan, (member, verdict), networks)
        })
        .collect()
}

fn view(
    world: &World,
    plan: &Plan,
    (member, verdict): (&MemberId, &MemberVerdict),
    networks: NetworksView,
) -> MemberView {
    let lane = verdict.lane.and_then(|id| plan.verdicts.lanes.get(&id));
    let health: Option<&LaneHealth> = verdict.lane.and_then(|id| world.lanes.get(&id));
    MemberView {
        member: member.to_string(),
        state: state(verdict.state),
        gateways: u32::try_from(verdict.gateways).unwrap_or(u32::MAX),
        live_gateways: u32::try_from(verdict.live).unwrap_or(u32::MAX),
        via: lane.map(|lane| lane.gateway.gateway.to_string()),
        networks,
        granted: Vec::new(),
        rtt_microseconds: health.and_then(|h| h.rtt).map(documents::microseconds),
        loss_permille: health.and_then(|h| h.rtt.map(|_| h.loss_permille)),
        path_mtu_bytes: health.and_then(|h| h.path_mtu),
        since_unix_seconds: health.and_then(|h| h.since).map(|since| since.0),
        reason: reason(world, verdict, lane.map(|lane| (&lane.gateway, lane.role))),
    }
}

fn reason(world: &World, verdict: &MemberVerdict, lane: Option<(&GatewayId, LaneRole)>) -> String {
    let has_lanes = matches!(world.me.as_ref().map(|me| &me.role), Some(Role::Gateway(_)));
    let whose = if has_lanes { "its" } else { "our" };
    let (live, all) = (verdict.live, verdict.gateways);
    match (verdict.state, lane) {
        (verdict::MemberState::Absent, _) => "listed, but no gateway of it is known".to_owned(),
        (verdict::MemberState::Unknown, _) => {
            format!("{live} of our {all} gateways answer; whether they reach it is told there")
        }
        (verdict::MemberState::Down, _) if all == 0 => format!("there is none of {whose} gateways"),
        (verdict::MemberState::Down, Some((gateway, role @ LaneRole::AgentSilent))) => {
            let why = why(role);
            format!("{}; {} {why}", silent(whose, all), gateway.gateway)
        }
        (verdict::MemberState::Down, _) => silent(whose, all),
        (verdict::MemberState::Connecting, _) if all == 1 => {
            format!("{whose} gateway has not answered yet")
        }
        (verdict::MemberState::Connecting, _) => {
            format!("none of {whose} {all} gateways has answered yet")
        }
        (_, Some((gateway, role))) => {
            format!("{live} of {all} gateways answer; {} {}", gateway.gateway, why(role))
        }
        (_, None) => format!("{live} of {whose} {all} gateways answer"),
    }
}

fn silent(whose: &str, all: usize) -> String {
    match all {
        1 => format!("{whose} gateway does not answer"),
        _ => format!("none of {whose} {all} gateways answers"),
    }
}

/// Returns why a lane carries, or why not, to follow the gateway's name in a sentence.
pub fn why(role: LaneRole) -> &'static str {
    match role {
        LaneRole::Only => "carries, the only one",
        LaneRole::Best => "carries, the best one",
        LaneRole::Kept => "carries, as it did before",
        LaneRole::Partial => "carries what the better ones do not reach",
        LaneRole::Standby => "stands by",
        LaneRole::Draining => "is about to stop",
        LaneRole::AgentSilent => "carries: its tunnel answers, its agent or port 5183 does not",
        LaneRole::LastResort => "carries as the last resort: nothing comes back",
        LaneRole::Failed => "does not answer",
    }
}

fn state(state: verdict::MemberState) -> MemberState {
    match state {
        verdict::MemberState::Up => MemberState::Up,
        verdict::MemberState::Degraded => MemberState::Degraded,
        verdict::MemberState::Connecting => MemberState::Connecting,
        verdict::MemberState::Down => MemberState::Down,
        verdict::MemberState::Absent => MemberState::Absent,
        verdict::MemberState::Unknown => MemberState::Unknown,
    }
}

fn accepted(world: &World) -> BTreeMap<&MemberId, Networks> {
    let mut accepted: BTreeMap<&MemberId, Networks> = BTreeMap::new();
    for (GatewayId { member, .. }, RemoteGateway { networks, .. }) in &world.gateways {
        let union = accepted.entry(member).or_default();
        union.pods.extend(&networks.pods);
        union.services.extend(&networks.services);
        union.external.extend(&networks.external);
    }
    accepted
}
