//! Owns the attributes of the VXLAN link: how they are asked for and how they read. Does not own
//! forwarding entries.

use std::net::IpAddr;

use netlink_packet_route::link::{InfoData, InfoVxlan, LinkInfo, VxlanDf};
use rtnetlink::{LinkMessageBuilder, LinkVxlan};
use sealane_state::link::{Mac, Vxlan};
use sealane_state::name::LinkName;

use crate::netlink::links::LinkTable;

/// Hop limit of outer packets; a fixed one, so that inner TTLs do not leak into the underlay.
const OUTER_TTL: u8 = 64;

/// A VXLAN link as the kernel shows it.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    vni: Option<u32>,
    port: Option<u16>,
    local: Option<IpAddr>,
    underlay: Option<u32>,
    mac: Option<[u8; 6]>,
}

/// Returns the request that makes the link: all entries programmed by us, fragmentation of outer
/// packets allowed, because the inner MTU already fits the underlay.
pub fn message(name: &LinkName, wanted: &Vxlan, underlay: u32) -> LinkMessageBuilder<LinkVxlan> {
    let link = LinkVxlan::new(name.as_str(), wanted.vni)
        .address(wanted.mac.0.to_vec())
        .dev(underlay)
        .port(wanted.port)
        .learning(false)
        .ttl(OUTER_TTL)
        .df(VxlanDf::Unset);
    match wanted.local {
        IpAddr::V4(address) => link.local(address),
        IpAddr::V6(address) => link.local6(address),
    }
}

impl Seen {
    /// Reads the driver's part of a link message.
    pub fn from_infos(infos: &[LinkInfo], mac: Option<[u8; 6]>) -> Self {
        let mut seen = Self { mac, ..Self::default() };
        let data = infos.iter().filter_map(|info| match info {
            LinkInfo::Data(InfoData::Vxlan(data)) => Some(data),
            _ => None,
        });
        for attribute in data.flatten() {
            match attribute {
                InfoVxlan::Id(vni) => seen.vni = Some(*vni),
                InfoVxlan::Port(port) => seen.port = Some(*port),
                InfoVxlan::Local(address) => seen.local = Some((*address).into()),
                InfoVxlan::Local6(address) => seen.local = Some((*address).into()),
                InfoVxlan::Link(index) => seen.underlay = Some(*index),
                _ => {}
            }
        }
        seen
    }

    /// Returns the link as state; `None` when it lacks what every link of ours has.
    pub fn state(&self, links: &LinkTable) -> Option<Vxlan> {
        Some(Vxlan {
            vni: self.vni?,
            port: self.port?,
            local: self.local?,
            underlay: links.name(self.underlay?)?.clone(),
            mac: Mac(self.mac?),
        })
    }
}
