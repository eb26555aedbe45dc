//! Owns the source of this host's own packets to other members: chosen so that others accept it.
//! Does not own sources of pods, which are their own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use sealane_state::rule::Family;

use crate::ground::Ground;
use crate::leg::Leg;
use crate::prefix;
use crate::problem::Problem;
use crate::verdict::SourceVerdict;
use crate::world::HostSource;

/// Sources by family.
#[derive(Debug, Clone, Default)]
pub struct Sources(pub BTreeMap<Family, SourceVerdict>);

impl Sources {
    /// Chooses the source of each family that our member has.
    pub fn choose(
        ground: &Ground<'_>,
        leg: Option<&Leg<'_>>,
        problems: &mut BTreeSet<Problem>,
    ) -> Self {
        let choose = |family: &Family| (*family, source(ground, leg, *family, problems));
        Self(ground.usable.iter().map(choose).collect())
    }

    /// Returns the source for packets to `destination`.
    pub fn toward(&self, destination: IpNetwork) -> Option<IpAddr> {
        self.of(prefix::family(destination))
    }

    /// Returns the source of a family.
    pub fn of(&self, family: Family) -> Option<IpAddr> {
        self.0.get(&family).and_then(|verdict| verdict.address())
    }

    /// Returns the sources that no foreign link has, so that a link of ours must.
    pub fn to_place<'s>(&'s self, ground: &'s Ground<'_>) -> impl Iterator<Item = IpAddr> + 's {
        let sources = self.0.values().filter_map(|verdict| verdict.address());
        sources.filter(|source| !is_on_foreign_link(ground, *source))
    }
}

fn source(
    ground: &Ground<'_>,
    leg: Option<&Leg<'_>>,
    family: Family,
    problems: &mut BTreeSet<Problem>,
) -> SourceVerdict {
    let found = match &ground.world.options.source {
        HostSource::Fixed(addresses) => fixed(ground, addresses, family, problems),
        HostSource::Auto => pod_network(ground, family)
            .or_else(|| local(ground, family))
            .or_else(|| leg.is_none().then(|| first_network(ground, family)).flatten()),
    };
    found.unwrap_or_else(|| {
        problems.insert(Problem::NoHostSource(family));
        SourceVerdict::None
    })
}

fn fixed(
    ground: &Ground<'_>,
    addresses: &BTreeSet<IpAddr>,
    family: Family,
    problems: &mut BTreeSet<Problem>,
) -> Option<SourceVerdict> {
    let of_family = addresses.iter().filter(|address| prefix::family_of(**address) == family);
    let (own, foreign): (Vec<IpAddr>, Vec<IpAddr>) =
        of_family.partition(|address| is_own(ground, prefix::host(**address)));
    problems.extend(foreign.into_iter().map(Problem::SourceNotOwn));
    own.first().copied().map(SourceVerdict::Configured)
}

/// The network address of a pod network is never given to a pod by the address managers that split
/// networks by node; flannel puts it on its own link for the same purpose.
fn pod_network(ground: &Ground<'_>, family: Family) -> Option<SourceVerdict> {
    let pods = &ground.world.nodes.get(&ground.me.node)?.pods;
    let network =
        pods.iter().find(|net| prefix::family(**net) == family && is_own(ground, **net))?;
    Some(SourceVerdict::PodNetwork(network.network()))
}

fn local(ground: &Ground<'_>, family: Family) -> Option<SourceVerdict> {
    let addresses = ground.foreign_networks().map(|(_, net)| net.ip());
    addresses
        .filter(|address| prefix::family_of(*address) == family)
        .filter(|address| is_own(ground, prefix::host(*address)))
        .min()
        .map(SourceVerdict::Local)
}

fn first_network(ground: &Ground<'_>, family: Family) -> Option<SourceVerdict> {
    let networks = ground.me.networks.external.iter().chain(&ground.me.networks.pods);
    networks
        .filter(|net| prefix::family(**net) == family)
        .map(|net| net.network())
        .next()
        .map(SourceVerdict::Network)
}

/// Whether others accept the whole of `wanted` from us. Service addresses are no sources.
fn is_own(ground: &Ground<'_>, wanted: IpNetwork) -> bool {
    let networks = ground.me.networks.pods.iter().chain(&ground.me.networks.external);
    networks.into_iter().any(|own| prefix::covers(*own, wanted))
}

fn is_on_foreign_link(ground: &Ground<'_>, address: IpAddr) -> bool {
    ground.foreign_networks().any(|(_, net)| net.ip() == address)
}
