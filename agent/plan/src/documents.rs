//! Owns the step from facts and plan to the documents that people and the command line read. Adds
//! no decision; what only the loop knows (broker, ClusterSet, rejections) is not filled in here.

pub mod members;
pub mod peers;
pub mod routes;
pub mod world;

use sealane_state::rule::Family;
use sealane_view::peers::PathState;
use sealane_view::plan::PlanDocument;
use sealane_view::status::NetworksView;

use crate::health;
use crate::plan::Plan;
use crate::remote::Networks;
use crate::world::World;

/// Returns a plan as people read it; `pending` are the steps that are left, one line each.
pub fn plan(world: &World, plan: &Plan, pending: Vec<String>) -> PlanDocument {
    let lanes = plan.probes.lanes.values().map(|target| {
        let (gateway, from, to, link) =
            (&target.gateway, target.source, target.destination, &target.link);
        format!("lane {gateway} from {from} to {to} dev {link} mtu {}", target.max_mtu)
    });
    let legs = plan.probes.legs.iter().map(|(node, target)| {
        let link = target.link.iter().map(|link| format!(" dev {link}")).collect::<String>();
        let (from, to) = (target.source, target.destination);
        format!("leg {node} from {from} to {to}{link} mtu {}", target.max_mtu)
    });
    PlanDocument {
        host: plan.host.to_string().lines().map(str::to_owned).collect(),
        pending,
        probes: lanes.chain(legs).collect(),
        members: members::of(world, plan),
        problems: plan.problems.iter().map(crate::problem::Problem::view).collect(),
        wake_at_unix_seconds: plan.wake_at.map(|time| time.0),
    }
}

fn networks(networks: &Networks) -> NetworksView {
    NetworksView {
        pods: networks.pods.iter().copied().collect(),
        services: networks.services.iter().copied().collect(),
        external: networks.external.iter().copied().collect(),
    }
}

fn state(state: health::PathState) -> PathState {
    match state {
        health::PathState::Up => PathState::Up,
        health::PathState::Unknown => PathState::Unknown,
        health::PathState::Down => PathState::Down,
    }
}

fn microseconds(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn family(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    }
}
