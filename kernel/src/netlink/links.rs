//! Owns links: all of them as facts, ours by their alias; making, setting and deleting ours. Does
//! not own what hangs on links, nor who runs a userspace WireGuard link.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoKind, LinkAttribute, LinkExtentMask, LinkFlags,
    LinkInfo, LinkMessage,
};
use nix::errno::Errno;
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkWireguard};
use sealane_state::facts::LinkFacts;
use sealane_state::link::{Backend, Link, LinkKind};
use sealane_state::name::LinkName;
use sealane_state::owner;

use crate::netlink::channel::{Channel, Write};
use crate::netlink::refusal::Refusal;
use crate::netlink::vxlan;

/// Packets that may wait in a link that a process or a socket drains; the kernel's own default for
/// Ethernet, twice that of a TUN device.
const TX_QUEUE_LEN: u32 = 1000;

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

/// Makes a kernel link, marks it, and brings it up.
///
/// Making and marking travel in one datagram, which the kernel works through without a break, so
/// no crash of ours leaves a link without mark.
///
/// # Errors
/// The first refusal; `EEXIST` when a foreign link has the name.
pub fn add(channel: &mut Channel, name: &LinkName, link: &Link) -> Result<(), Refusal> {
    let table = LinkTable::read(channel)?;
    if let Some(present) = table.named(name) {
        return adopt(channel, &table, present, link);
    }
    let message = match &link.kind {
        LinkKind::Vxlan(wanted) => {
            vxlan::message(name, wanted, table.index(&wanted.underlay)?).mtu(link.mtu).build()
        }
        LinkKind::WireGuard(_) => LinkWireguard::new(name.as_str()).mtu(link.mtu).build(),
    };
    let create =
        Write { message: RouteNetlinkMessage::NewLink(message), flags: NLM_F_CREATE | NLM_F_EXCL };
    match channel.write(&[create, mark(name)]).as_slice() {
        [Ok(()), marked] => marked.clone()?,
        [Err(refusal), Ok(())] => {
            // Another hand made a link of this name just now, and got our mark.
            channel.write_one(change(named(name).alias("")))?;
            return Err(refusal.clone());
        }
        results => results.iter().cloned().collect::<Result<(), _>>()?,
    }
    let index = LinkTable::read(channel)?.own_index(name)?;
    finish(channel, name, index, link.mtu)
}

/// Makes sure that a link without our mark can be the device of a tunnel.
///
/// # Errors
/// `EEXIST` when it is no TUN device, or bears another mark.
pub fn refuse_foreign(link: &SeenLink) -> Result<(), Refusal> {
    match link {
        SeenLink { driver: Driver::Tun, unmarked: true, .. } => Ok(()),
        _ => Err(not_ours(&link.name)),
    }
}

/// Marks a link that its own process made (the TUN device of a tunnel), and brings it up.
///
/// # Errors
/// The first refusal; `EEXIST` when the link there is no TUN device.
pub fn take_over_tun(channel: &mut Channel, name: &LinkName, link: &Link) -> Result<(), Refusal> {
    let table = LinkTable::read(channel)?;
    match table.named(name) {
        None => Err(Refusal::because(Errno::ENODEV, format!("link {name} is not there"))),
        Some(SeenLink { driver: Driver::Tun, ours, unmarked, facts, .. }) if *ours || *unmarked => {
            channel.write_one(mark(name))?;
            finish(channel, name, facts.index, link.mtu)
        }
        Some(_) => Err(not_ours(name)),
    }
}

/// Brings MTU and state of a link of ours to what is wanted.
///
/// # Errors
/// The first refusal.
pub fn set(channel: &mut Channel, name: &LinkName, link: &Link) -> Result<(), Refusal> {
    let index = LinkTable::read(channel)?.own_index(name)?;
    finish(channel, name, index, link.mtu)
}

/// Deletes a link of ours; one that is gone already is no error.
///
/// # Errors
/// The kernel's refusal; `EEXIST` when the link of that name is not ours.
pub fn delete(channel: &mut Channel, name: &LinkName) -> Result<(), Refusal> {
    let index = match LinkTable::read(channel)?.own_index(name) {
        Err(refusal) if refusal.errno == Errno::ENODEV => return Ok(()),
        other => other?,
    };
    let message = LinkUnspec::new_with_index(index).build();
    let delete = Write { message: RouteNetlinkMessage::DelLink(message), flags: 0 };
    match channel.write_one(delete) {
        Err(refusal) if refusal.errno == Errno::ENODEV => Ok(()),
        other => other,
    }
}

/// A link of ours of the wanted kind is as good as made.
fn adopt(
    channel: &mut Channel,
    table: &LinkTable,
    present: &SeenLink,
    wanted: &Link,
) -> Result<(), Refusal> {
    let same = match (&present.driver, &wanted.kind) {
        (Driver::Vxlan(seen), LinkKind::Vxlan(wanted)) => {
            seen.state(table).as_ref() == Some(wanted)
        }
        (Driver::WireGuard, LinkKind::WireGuard(Backend::Kernel)) => true,
        _ => false,
    };
    if !present.ours {
        return Err(not_ours(&present.name));
    }
    if !same {
        let text = format!("link {} of ours is of another kind still", present.name);
        return Err(Refusal::because(Errno::EEXIST, text));
    }
    finish(channel, &present.name, present.facts.index, wanted.mtu)
}

/// Says that a link of a name that we need is another hand's.
pub fn not_ours(name: &LinkName) -> Refusal {
    let alias = owner::LINK_ALIAS;
    let text = format!(
        "link {name} exists and is not ours, as it lacks the alias {alias}: rename or delete it"
    );
    Refusal::because(Errno::EEXIST, text)
}

fn change(link: LinkMessageBuilder<LinkUnspec>) -> Write {
    Write { message: RouteNetlinkMessage::SetLink(link.build()), flags: 0 }
}

fn named(name: &LinkName) -> LinkMessageBuilder<LinkUnspec> {
    LinkUnspec::new_with_name(name.as_str())
}

fn mark(name: &LinkName) -> Write {
    change(named(name).alias(owner::LINK_ALIAS))
}

/// Sets MTU, queue and IPv6 manners, then brings the link up.
fn finish(channel: &mut Channel, name: &LinkName, index: u32, mtu: u32) -> Result<(), Refusal> {
    let link = || LinkUnspec::new_with_index(index);
    channel.write_one(change(link().mtu(mtu).txqueuelen(TX_QUEUE_LEN)))?;
    let none = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
    let spec = LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![none])]);
    match channel.write_one(change(link().append_extra_attribute(spec))) {
        // Without IPv6 in the kernel there are no addresses to keep it from making.
        Err(refusal) if refusal.errno == Errno::EAFNOSUPPORT => {}
        other => other?,
    }
    enable_ipv6(name)?;
    channel.write_one(change(link().up()))
}

/// Where a host has IPv6 off for all links, ours still needs it: IPv4 routes go by IPv6 next hops,
/// and members may be IPv6 where the node is not. The setting goes with the link.
fn enable_ipv6(name: &LinkName) -> Result<(), Refusal> {
    let path = format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6");
    match fs::read_to_string(&path) {
        Ok(value) if value.trim() != "0" => Ok(fs::write(&path, "0")?),
        Ok(_) => Ok(()),
        // The kernel was booted with ipv6.disable=1.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.into()),
    }
}
