//! Owns how remote prefixes and sources are shown.

use ipnetwork::IpNetwork;
use sealane_state::owner;
use sealane_state::route::RouteKey;
use sealane_view::routes::{RouteState, RouteView, RoutesDocument, SourceView};

use crate::documents::{self, members};
use crate::plan::Plan;
use crate::verdict::{PrefixVerdict, SourceVerdict, Way};

/// Returns the remote prefixes and what becomes of packets to them.
pub fn of(plan: &Plan) -> RoutesDocument {
    let routes =
        plan.verdicts.prefixes.iter().map(|(prefix, verdict)| view(plan, *prefix, verdict));
    let sources = plan.verdicts.sources.iter().map(|(family, verdict)| SourceView {
        family: documents::family(*family).to_owned(),
        address: verdict.address(),
        reason: origin(*verdict).to_owned(),
    });
    RoutesDocument { routes: routes.collect(), sources: sources.collect() }
}

fn view(plan: &Plan, destination: IpNetwork, verdict: &PrefixVerdict) -> RouteView {
    let key = RouteKey { table: owner::TABLE_REMOTE, destination, metric: 0 };
    let route = plan.host.routes.get(&key).filter(|_| !matches!(verdict.way, Way::LeftOut(_)));
    let (state, via, reason) = explain(plan, &verdict.way);
    RouteView {
        destination,
        member: verdict.member.to_string(),
        state,
        via,
        link: route.and_then(|route| route.target.link()).map(ToString::to_string),
        source: route.and_then(|route| route.source),
        mtu_bytes: route.and_then(|route| route.mtu),
        reason,
    }
}

fn explain(plan: &Plan, way: &Way) -> (RouteState, Vec<String>, String) {
    match way {
        Way::Lane(id) => {
            let lane = plan.verdicts.lanes.get(id);
            let via: Vec<String> =
                lane.iter().map(|lane| lane.gateway.gateway.to_string()).collect();
            let why = lane.map_or("carries", |lane| members::why(lane.role));
            let reason = format!("{} {why}", via.concat());
            (RouteState::Routed, via, reason)
        }
        Way::Legs(nodes) => {
            let via = nodes.iter().map(ToString::to_string).collect();
            let reason = "new connections are spread over these gateways".to_owned();
            (RouteState::Routed, via, reason)
        }
        Way::Unreachable => {
            let reason = "no way is alive: refused with ICMP unreachable".to_owned();
            (RouteState::Unreachable, Vec::new(), reason)
        }
        Way::Unspoken => {
            let reason = "granted to a member without gateways: refused with ICMP unreachable";
            (RouteState::Unreachable, Vec::new(), reason.to_owned())
        }
        Way::LeftOut(problem) => (RouteState::LeftOut, Vec::new(), problem.view().cause),
    }
}

fn origin(verdict: SourceVerdict) -> &'static str {
    match verdict {
        SourceVerdict::Configured(_) => "configured",
        SourceVerdict::PodNetwork(_) => "the network address of this node's pod network",
        SourceVerdict::Local(_) => "an address of this host inside our networks",
        SourceVerdict::Network(_) => "the network address of our first network",
        SourceVerdict::None => "none: this host's own packets keep the source the kernel picks",
    }
}
