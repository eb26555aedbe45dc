//! Owns what the host itself allows: families, WireGuard backend, lane MTU. Knows no other member.

use std::collections::BTreeSet;

use ipnetwork::IpNetwork;
use sealane_state::link::Backend;
use sealane_state::name::LinkName;
use sealane_state::rule::Family;

use crate::mtu;
use crate::prefix;
use crate::problem::Problem;
use crate::world::{BackendChoice, Me, OwnGateway, Role, World};

/// Both families, in the order of all outputs.
pub const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// The facts about this host, once judged.
#[derive(Debug, Clone)]
pub struct Ground<'a> {
    /// All facts.
    pub world: &'a World,
    /// Who we are.
    pub me: &'a Me,
    /// Families that the kernel offers.
    pub offered: BTreeSet<Family>,
    /// Those of them in which our member has networks: only these can carry two-way traffic.
    pub usable: BTreeSet<Family>,
    /// Who runs WireGuard here; `None` where nobody can.
    pub backend: Option<Backend>,
    /// Largest inner packet of our lanes, in bytes; on hosts without lanes, our guess of it.
    pub lane_mtu: u32,
}

impl<'a> Ground<'a> {
    /// Judges the host.
    pub fn survey(world: &'a World, me: &'a Me, problems: &mut BTreeSet<Problem>) -> Self {
        let offered = world.host.families.clone();
        let owned: BTreeSet<Family> = me.networks.all().map(prefix::family).collect();
        for family in owned.difference(&offered) {
            problems.insert(Problem::FamilyNotOffered(*family));
        }
        let usable = owned.intersection(&offered).copied().collect();
        let lane_mtu = mtu::of_lanes(world, problems);
        let mut ground = Self { world, me, offered, usable, backend: None, lane_mtu };
        if ground.gateway().is_some() {
            ground.backend = backend(world);
            if ground.backend.is_none() {
                problems.insert(Problem::NoBackend);
            }
        }
        ground
    }

    /// Returns our own side of the lanes, where this host carries any.
    pub fn gateway(&self) -> Option<&'a OwnGateway> {
        match &self.me.role {
            Role::Gateway(gateway) => Some(gateway),
            Role::Node => None,
        }
    }

    /// Returns the links that are not ours with their networks, loopback and link-local left out.
    pub fn foreign_networks(&self) -> impl Iterator<Item = (&'a LinkName, IpNetwork)> + '_ {
        self.world
            .host
            .links
            .iter()
            .filter(|(_, link)| !link.ours)
            .flat_map(|(name, link)| link.addresses.iter().map(move |net| (name, *net)))
            .filter(|(_, net)| is_global(*net))
    }
}

fn is_global(net: IpNetwork) -> bool {
    match net {
        IpNetwork::V4(net) => !net.ip().is_loopback() && !net.ip().is_link_local(),
        IpNetwork::V6(net) => !net.ip().is_loopback() && !net.ip().is_unicast_link_local(),
    }
}

/// A lane that stands keeps its backend until the options ask for another: to change it cuts traffic.
fn backend(world: &World) -> Option<Backend> {
    let order: &[Backend] = match world.options.backend {
        BackendChoice::Auto => &[Backend::Kernel, Backend::Userspace],
        BackendChoice::Kernel => &[Backend::Kernel],
        BackendChoice::Userspace => &[Backend::Userspace],
    };
    let among = |set: &BTreeSet<Backend>| order.iter().copied().find(|one| set.contains(one));
    among(&world.host.standing).or_else(|| among(&world.host.backends))
}
