//! Owns what a plan and the host it is made for say of ways: from which address and out of which
//! link probes leave, to whom, and whose are answered. Keeps nothing.

use std::net::IpAddr;

use sealane_api::names::ClusterId;
use sealane_plan::plan::Plan;
use sealane_plan::remote::CandidateKind;
use sealane_probe::candidates::{Candidate, Families, Source};
use sealane_state::facts::Observation;
use sealane_state::name::LinkName;
use sealane_state::owner;
use sealane_state::rule::Family;

use super::watched::End;
use crate::gossip::desk::Peers;
use crate::probe_io::Way;

/// Returns what is tried, and how near it is to this host.
pub(super) fn candidate(of: &sealane_plan::remote::Candidate, seen: &Observation) -> Candidate {
    let foreign = seen.facts.links.values().filter(|link| !link.ours);
    let mut networks = foreign.flat_map(|link| link.addresses.iter());
    let is_on_link = networks.any(|net| net.contains(of.endpoint.ip()));
    let source = match of.kind {
        _ if is_on_link => Source::OnLink,
        CandidateKind::Private => Source::Private,
        CandidateKind::Public => Source::Public,
        CandidateKind::Observed => Source::Observed,
    };
    Candidate { source, address: of.endpoint }
}

/// Returns the families this host can send to.
pub(super) fn families(seen: &Observation) -> Families {
    Families {
        ipv4: seen.facts.families.contains(&Family::V4),
        ipv6: seen.facts.families.contains(&Family::V6),
    }
}

/// Returns the way of a path's probes.
pub(super) fn of(end: &impl End, seen: &Observation) -> Way {
    way(end.link(), end.source(), seen)
}

/// Returns the way from an address of this host out of one of its links.
pub fn way(link: Option<&LinkName>, source: IpAddr, seen: &Observation) -> Way {
    let index = link.and_then(|name| seen.facts.links.get(name)).map_or(0, |facts| facts.index);
    Way { link: link.cloned(), index, source }
}

/// Returns the MTU of a way's link in bytes; the largest there is where routing decides.
pub(super) fn mtu(way: &Way, seen: &Observation) -> usize {
    let link = way.link.as_ref().and_then(|name| seen.facts.links.get(name));
    link.and_then(|link| usize::try_from(link.mtu).ok()).unwrap_or(usize::MAX)
}

/// Returns the ways by which this host is probed and asked: its addresses on lanes, and its
/// link-local ones on the leg.
pub(super) fn own_ways(plan: &Plan, seen: &Observation) -> Vec<Way> {
    let on_leg = |link: &LinkName| link.as_str() == owner::VXLAN_LINK;
    let is_way = |link: &LinkName, address: IpAddr| match address {
        IpAddr::V6(address) => address.is_unicast_link_local() == on_leg(link),
        IpAddr::V4(_) => false,
    };
    let wanted = plan.host.addresses.iter().filter(|it| is_way(&it.link, it.net.ip()));
    wanted.map(|it| way(Some(&it.link), it.net.ip(), seen)).collect()
}

/// Returns whose probes are answered: remote gateways', and those of nodes on our leg, which the
/// nft table has checked by their outer address.
pub(super) fn answered(plan: &Plan) -> Peers {
    let legs = plan.probes.legs.values().map(|target| target.destination);
    let nodes = plan.host.neighbours.iter().map(|neighbour| neighbour.address);
    // A lane's gateway came from a name that was parsed when it was believed.
    let lanes = plan.probes.lanes.values().filter_map(|target| {
        Some((target.destination, Some(ClusterId::parse(&target.gateway.member.0).ok()?)))
    });
    legs.chain(nodes).map(|address| (address, None)).chain(lanes).collect()
}
