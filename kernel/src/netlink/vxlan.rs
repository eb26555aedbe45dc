//! Owns the attributes of the VXLAN link: how they are asked for and how they read. Does not own
//! forwarding entries.

use std::net::IpAddr;

use netlink_packet_route::link::{InfoData, InfoKind, InfoVxlan, LinkAttribute, LinkInfo, VxlanDf};
use sealane_state::link::{Mac, Vxlan};

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

/// Returns the attributes that make the link: all entries programmed by us, fragmentation of outer
/// packets allowed, because the inner MTU already fits the underlay.
pub fn attributes(wanted: &Vxlan, underlay: u32) -> Vec<LinkAttribute> {
    let local = match wanted.local {
        IpAddr::V4(address) => InfoVxlan::Local(address),
        IpAddr::V6(address) => InfoVxlan::Local6(address),
    };
    let data = vec![
        InfoVxlan::Id(wanted.vni),
        InfoVxlan::Port(wanted.port),
        InfoVxlan::Link(underlay),
        local,
        InfoVxlan::Learning(false),
        InfoVxlan::Ttl(OUTER_TTL),
        InfoVxlan::Df(VxlanDf::Unset),
    ];
    vec![
        LinkAttribute::Address(wanted.mac.0.to_vec()),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Vxlan),
            LinkInfo::Data(InfoData::Vxlan(data)),
        ]),
    ]
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
