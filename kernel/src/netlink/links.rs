//! Owns reading links: all of them as facts, ours by their alias. Does not change any, nor own what
//! hangs on them.

use std::collections::BTreeMap;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoKind, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkMessage,
};
use nix::errno::Errno;
use sealane_state::facts::LinkFacts;
use sealane_state::link::{Backend, Link, LinkKind};
use sealane_state::name::LinkName;
use sealane_state::owner;

use crate::netlink::channel::Channel;
use crate::netlink::refusal::Refusal;
use crate::netlink::vxlan;

/// All links of the namespace at one moment.
#[derive(Debug, Clone, Default)]
pub struct LinkTable {
    by_index: BTreeMap<u32, SeenLink>,
    by_name: BTreeMap<LinkName, u32>,
    /// Links whose message could not be decoded.
    pub unreadable: usize,
}

/// A link as the kernel shows it.
#[derive(Debug, Clone)]
pub struct SeenLink {
    /// Its name.
    pub name: LinkName,
    /// What plans and people need to know of it.
    pub facts: LinkFacts,
    /// Whether it bears our alias.
    pub ours: bool,
    /// Whether it bears no alias at all.
    pub unmarked: bool,
    /// Whether it is administratively up.
    pub up: bool,
    /// Its driver, as far as it is one of those we use.
    pub driver: Driver,
}

/// The link drivers that we use.
#[derive(Debug, Clone)]
pub enum Driver {
    /// `wireguard`.
    WireGuard,
    /// `tun`, on whose other side a process may speak WireGuard.
    Tun,
    /// `vxlan`, with what it is set to.
    Vxlan(vxlan::Seen),
    /// Any other.
    Foreign,
}

impl LinkTable {
    /// Reads all links.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn read(channel: &mut Channel) -> Result<Self, Refusal> {
        let mut request = LinkMessage::default();
        request.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let dump = channel.dump(&RouteNetlinkMessage::GetLink(request))?;
        let mut table = Self { unreadable: dump.unreadable, ..Self::default() };
        for message in &dump.messages {
            let RouteNetlinkMessage::NewLink(message) = message else { continue };
            // A name that needs quoting in nft is foreign for sure, and cannot be an underlay.
            let Some(link) = SeenLink::from_message(message) else { continue };
            table.by_name.insert(link.name.clone(), link.facts.index);
            table.by_index.insert(link.facts.index, link);
        }
        Ok(table)
    }

    /// Returns the link of this index.
    pub fn at(&self, index: u32) -> Option<&SeenLink> {
        self.by_index.get(&index)
    }

    /// Returns the link of this name.
    pub fn named(&self, name: &LinkName) -> Option<&SeenLink> {
        self.by_name.get(name).and_then(|index| self.at(*index))
    }

    /// Returns the name of the link of this index.
    pub fn name(&self, index: u32) -> Option<&LinkName> {
        self.at(index).map(|link| &link.name)
    }

    /// Returns all links, by index.
    pub fn all(&self) -> impl Iterator<Item = &SeenLink> {
        self.by_index.values()
    }

    /// Returns the links that bear our alias, by index.
    pub fn ours(&self) -> impl Iterator<Item = &SeenLink> {
        self.all().filter(|link| link.ours)
    }

    /// Returns the index of a link, for a change that needs it.
    ///
    /// # Errors
    /// `ENODEV` when there is none of the name.
    pub fn index(&self, name: &LinkName) -> Result<u32, Refusal> {
        let seen = self.by_name.get(name).copied();
        seen.ok_or_else(|| Refusal::because(Errno::ENODEV, format!("link {name} is not there")))
    }

    /// Returns the index of a link of ours; foreign ones are never changed.
    ///
    /// # Errors
    /// `ENODEV` when there is none of the name; `EEXIST` when it is not ours.
    pub fn own_index(&self, name: &LinkName) -> Result<u32, Refusal> {
        let index = self.index(name)?;
        match self.at(index) {
            Some(link) if link.ours => Ok(index),
            _ => Err(not_ours(name)),
        }
    }

    /// Returns our links as state; `driver` links of other kinds that bear our alias are left out.
    pub fn own_state(&self) -> BTreeMap<LinkName, Link> {
        let state = |link: &SeenLink| {
            let kind = match &link.driver {
                Driver::WireGuard => LinkKind::WireGuard(Backend::Kernel),
                Driver::Tun => LinkKind::WireGuard(Backend::Userspace),
                Driver::Vxlan(seen) => LinkKind::Vxlan(seen.state(self)?),
                Driver::Foreign => return None,
            };
            Some((link.name.clone(), Link { kind, mtu: link.facts.mtu, up: link.up }))
        };
        self.ours().filter_map(state).collect()
    }
}

impl SeenLink {
    /// Reads a link message; `None` when its name is none that we accept.
    pub fn from_message(message: &LinkMessage) -> Option<Self> {
        let mut name = None;
        let mut alias = String::new();
        let mut facts = LinkFacts { index: message.header.index, ..LinkFacts::default() };
        let mut mac = None;
        let mut infos = [].as_slice();
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(text) => name = text.parse().ok(),
                LinkAttribute::IfAlias(text) => alias.clone_from(text),
                LinkAttribute::Mtu(mtu) => facts.mtu = *mtu,
                LinkAttribute::Address(bytes) => mac = bytes.as_slice().try_into().ok(),
                LinkAttribute::LinkInfo(list) => infos = list.as_slice(),
                _ => {}
            }
        }
        let flags = message.header.flags;
        let up = flags.contains(LinkFlags::Up);
        facts.running = up && flags.contains(LinkFlags::LowerUp);
        let driver = driver(infos, mac);
        let ours = alias == owner::LINK_ALIAS;
        Some(Self { name: name?, facts, ours, unmarked: alias.is_empty(), up, driver })
    }
}

fn driver(infos: &[LinkInfo], mac: Option<[u8; 6]>) -> Driver {
    let kind = infos.iter().find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind),
        _ => None,
    });
    match kind {
        Some(InfoKind::Wireguard) => Driver::WireGuard,
        Some(InfoKind::Tun) => Driver::Tun,
        Some(InfoKind::Vxlan) => Driver::Vxlan(vxlan::Seen::from_infos(infos, mac)),
        _ => Driver::Foreign,
    }
}

/// Says that a link of a name that we need is another hand's.
pub fn not_ours(name: &LinkName) -> Refusal {
    let alias = owner::LINK_ALIAS;
    let text = format!(
        "link {name} exists and is not ours, as it lacks the alias {alias}: rename or delete it"
    );
    Refusal::because(Errno::EEXIST, text)
}
