//! Owns the refusal of packets to addresses that root granted to another member and that no gateway
//! of it speaks for any more: without it they would take the host's ordinary routes, in clear. Does
//! not own the routes to prefixes that are spoken for.

use std::collections::BTreeMap;

use ipnetwork::IpNetwork;
use sealane_state::host::HostState;
use sealane_state::owner;
use sealane_state::route::{Route, RouteKey, Target};

use crate::claims::Fences;
use crate::ground::Ground;
use crate::name::MemberId;
use crate::prefix::{self, PrefixMap};

/// A route for half of all addresses is a default route by another name.
const SHORTEST_OWN_ROUTE_BITS: u8 = 2;

/// Granted networks that are refused where nothing narrower leads there, each with its member.
#[derive(Debug, Clone, Default)]
pub struct Backstops<'a>(pub BTreeMap<IpNetwork, &'a MemberId>);

impl<'a> Backstops<'a> {
    /// Chooses among all grants. Our table is looked up before the host's own, so a grant that meets
    /// an address, a link or a route that the host needs outside the lanes is left alone as a whole.
    pub fn survey(ground: &Ground<'a>) -> Self {
        let fences = Fences::around(ground);
        let routes = ground.world.host.routes.keys().map(|key| key.destination);
        let own_way = |net: &IpNetwork| net.prefix() >= SHORTEST_OWN_ROUTE_BITS;
        let routed: PrefixMap<()> = routes.filter(own_way).map(|net| (net, ())).collect();
        let grants = ground.world.grants.iter().filter(|(member, _)| **member != ground.me.member);
        let all = grants.flat_map(|(member, nets)| {
            nets.iter().map(move |net| (prefix::canonical(*net), member))
        });
        let is_ours_to_refuse = |net: IpNetwork| {
            ground.offered.contains(&prefix::family(net))
                && !fences.meet(net)
                && routed.meeting(net).is_none()
        };
        Self(all.filter(|(net, _)| is_ours_to_refuse(*net)).collect())
    }

    /// Puts the refusals into `host`, behind all routes to prefixes.
    pub fn place(&self, host: &mut HostState) {
        host.routes.extend(self.0.keys().map(|net| (key(*net), refusal())));
    }
}

/// Returns the place behind all routes to a destination.
pub fn key(destination: IpNetwork) -> RouteKey {
    RouteKey { table: owner::TABLE_REMOTE, destination, metric: owner::METRIC_BACKSTOP }
}

/// Returns a route that refuses packets with ICMP.
pub fn refusal() -> Route {
    Route { target: Target::Unreachable, source: None, mtu: None }
}
