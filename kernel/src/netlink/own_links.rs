//! Owns making, marking, setting and deleting links of ours. Does not own what hangs on them, nor
//! who runs a userspace WireGuard link.

use std::fs;
use std::io;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute};
use nix::errno::Errno;
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkWireguard};
use sealane_state::link::{Backend, Link, LinkKind};
use sealane_state::name::LinkName;
use sealane_state::owner;

use crate::netlink::channel::{Channel, Write};
use crate::netlink::links::{Driver, LinkTable, SeenLink, not_ours};
use crate::netlink::refusal::Refusal;
use crate::netlink::vxlan;

/// Packets that may wait in a link that a process or a socket drains; the kernel's own default for
/// Ethernet, twice that of a TUN device.
const TX_QUEUE_LEN: u32 = 1000;

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
