//! Owns which remote prefixes count on this host, and why others are left out. Does not choose ways.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use sealane_state::name::LinkName;

use crate::ground::Ground;
use crate::name::{GatewayId, MemberId, UnixSeconds};
use crate::prefix::{self, PrefixMap};
use crate::problem::Problem;
use crate::remote::RemoteGateway;

/// What other members claim, as far as it counts here.
#[derive(Debug, Clone)]
pub struct Claims<'a> {
    /// Gateways that count, sorted by member and name.
    pub claimants: Vec<Claimant<'a>>,
    /// Prefixes that do not count, and why.
    pub left_out: BTreeMap<IpNetwork, Problem>,
}

/// A remote gateway and what may be reached by it.
#[derive(Debug, Clone)]
pub struct Claimant<'a> {
    /// Who.
    pub id: &'a GatewayId,
    /// What is believed of it.
    pub gateway: &'a RemoteGateway,
    /// Its prefixes, aggregated, sorted, those left out gone.
    pub prefixes: Vec<IpNetwork>,
}

impl<'a> Claims<'a> {
    /// Sorts out the claims of all gateways that count at `now`.
    ///
    /// Where two members overlap, which no valid ClusterSet lets them, the first by name has the
    /// addresses, so that every host comes to the same answer.
    pub fn survey(ground: &Ground<'a>, now: UnixSeconds, problems: &mut BTreeSet<Problem>) -> Self {
        let fences = Fences::around(ground);
        let mut taken = Taken::default();
        let mut claims = Self { claimants: Vec::new(), left_out: BTreeMap::new() };
        let live: Vec<_> = live_gateways(ground, now, problems).collect();
        for group in live.chunk_by(|a, b| a.0.member == b.0.member) {
            let member = &group[0].0.member;
            let mut accepted = Vec::new();
            for (id, gateway) in group {
                let mut prefixes = Vec::new();
                for claim in prefix::aggregated(gateway.networks.all()) {
                    match fences.objection(claim, member).or_else(|| taken.objection(claim, member))
                    {
                        Some(problem) => {
                            claims.left_out.insert(claim, problem);
                        }
                        None => prefixes.push(claim),
                    }
                }
                accepted.extend_from_slice(&prefixes);
                claims.claimants.push(Claimant { id, gateway, prefixes });
            }
            taken.take(member, accepted);
        }
        problems.extend(claims.left_out.values().cloned());
        problems.extend(shadows(ground, &claims));
        claims
    }

    /// Returns all prefixes that count, each under its member; disjoint and sorted.
    pub fn union(&self) -> BTreeMap<IpNetwork, &'a MemberId> {
        let mut union = BTreeMap::new();
        for group in self.members() {
            let all = group.iter().flat_map(|claimant| claimant.prefixes.iter().copied());
            let member = &group[0].id.member;
            union.extend(prefix::aggregated(all).into_iter().map(|prefix| (prefix, member)));
        }
        union
    }

    /// Returns the gateways grouped by member, in order; no group is empty.
    pub fn members(&self) -> impl Iterator<Item = &[Claimant<'a>]> {
        self.claimants.chunk_by(|a, b| a.id.member == b.id.member)
    }
}

/// Returns the host's own routes that lead nowhere any more: our rule stands before the host's, so
/// that a narrower route of the host's loses to a wider prefix of a member's.
fn shadows(ground: &Ground<'_>, claims: &Claims<'_>) -> Vec<Problem> {
    let claimed: PrefixMap<&MemberId> = claims.union().into_iter().collect();
    let host = &ground.world.host;
    let is_ours = |link: &LinkName| host.links.get(link).is_some_and(|link| link.ours);
    let routes = host.routes.iter().filter(|(_, route)| !route.target.link().is_some_and(is_ours));
    let routes = routes.map(|(key, _)| prefix::canonical(key.destination));
    let shadow = |route: IpNetwork| {
        let (prefix, member) = *claimed.meeting(route)?;
        prefix::covers(prefix, route).then(|| Problem::ShadowsRoute {
            prefix,
            member: member.clone(),
            route,
        })
    };
    routes.filter_map(shadow).collect()
}

/// Returns when the passing of time alone changes what counts.
pub fn next_change(ground: &Ground<'_>, now: UnixSeconds) -> Option<UnixSeconds> {
    let times = ground.world.gateways.values().flat_map(|g| [Some(g.expires), g.until]);
    times.flatten().filter(|time| *time > now).min()
}

fn live_gateways<'a>(
    ground: &Ground<'a>,
    now: UnixSeconds,
    problems: &mut BTreeSet<Problem>,
) -> impl Iterator<Item = (&'a GatewayId, &'a RemoteGateway)> {
    let (world, me) = (ground.world, ground.me);
    let counts = move |id: &GatewayId, gateway: &RemoteGateway| {
        id.member != me.member && gateway.until.is_none_or(|until| until > now)
    };
    for (id, gateway) in &world.gateways {
        if counts(id, gateway) && gateway.expires <= now {
            problems.insert(Problem::Held { gateway: id.clone(), expired: gateway.expires });
        }
    }
    world.gateways.iter().filter(move |(id, gateway)| counts(id, gateway))
}

/// Addresses that no remote prefix may touch on this host.
pub struct Fences {
    own: PrefixMap<()>,
    reserved: PrefixMap<IpAddr>,
    host: PrefixMap<LinkName>,
}

impl Fences {
    /// Draws them around our networks, reserved addresses and foreign links.
    pub fn around(ground: &Ground<'_>) -> Self {
        let nodes = ground.world.nodes.values().flat_map(|node| node.underlay.iter());
        let reserved = ground.world.reserved.iter().chain(nodes);
        let host = ground.foreign_networks().map(|(link, net)| (net, link.clone()));
        Self {
            own: ground.me.networks.all().map(|prefix| (prefix, ())).collect(),
            reserved: reserved.map(|address| (prefix::host(*address), *address)).collect(),
            host: host.collect(),
        }
    }

    /// Says whether a prefix touches any of them.
    pub fn meet(&self, prefix: IpNetwork) -> bool {
        self.own.meeting(prefix).is_some()
            || self.reserved.meeting(prefix).is_some()
            || self.host.meeting(prefix).is_some()
    }

    fn objection(&self, prefix: IpNetwork, member: &MemberId) -> Option<Problem> {
        let member = || member.clone();
        if let Some((own, ())) = self.own.meeting(prefix) {
            return Some(Problem::OverlapsOwn { prefix, member: member(), own: *own });
        }
        if let Some((_, address)) = self.reserved.meeting(prefix) {
            return Some(Problem::CoversReserved { prefix, member: member(), address: *address });
        }
        self.host.meeting(prefix).map(|(network, link)| Problem::OverlapsHost {
            prefix,
            member: member(),
            link: link.clone(),
            network: *network,
        })
    }
}

/// Prefixes that earlier members have, by address.
#[derive(Default)]
struct Taken<'a>(BTreeMap<IpAddr, (IpNetwork, &'a MemberId)>);

impl<'a> Taken<'a> {
    fn objection(&self, prefix: IpNetwork, member: &MemberId) -> Option<Problem> {
        let (_, (held, holder)) = self.0.range(..=prefix.broadcast()).next_back()?;
        let meets = prefix::covers(*held, prefix) || prefix::covers(prefix, *held);
        meets.then(|| {
            let (member, holder) = (member.clone(), (*holder).clone());
            Problem::PrefixTaken { prefix, member, holder }
        })
    }

    fn take(&mut self, member: &'a MemberId, prefixes: Vec<IpNetwork>) {
        for prefix in prefix::aggregated(prefixes) {
            self.0.insert(prefix.network(), (prefix, member));
        }
    }
}
