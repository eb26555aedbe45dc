//! Owns addresses: all as facts, those on our links as state; adding and deleting the latter. Does
//! not own the routes that the kernel derives from addresses; ours ask it not to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressProtocol,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use sealane_state::address::Address;

use crate::netlink::channel::{Channel, Write};
use crate::netlink::links::LinkTable;
use crate::netlink::refusal::Refusal;

/// An address as the kernel shows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeenAddress {
    /// Index of the link that carries it.
    pub link: u32,
    /// Address and prefix length.
    pub net: IpNetwork,
    /// Whether packets can be sent from it: not tentative, not deprecated, no duplicate.
    pub usable: bool,
    /// Whether the kernel made it by itself (link-local, loopback, from an advertisement).
    pub automatic: bool,
}

/// Reads all addresses.
///
/// # Errors
/// The kernel's refusal.
pub fn read(channel: &mut Channel) -> Result<Vec<SeenAddress>, Refusal> {
    let dump = channel.dump(&RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
    let seen = dump.messages.iter().filter_map(|message| match message {
        RouteNetlinkMessage::NewAddress(message) => SeenAddress::from_message(message),
        _ => None,
    });
    Ok(seen.collect())
}

/// Returns the addresses on our links that somebody set.
pub fn own_state(seen: &[SeenAddress], links: &LinkTable) -> BTreeSet<Address> {
    let own = seen.iter().filter(|address| !address.automatic).filter_map(|address| {
        let link = links.at(address.link).filter(|link| link.ours)?;
        Some(Address { link: link.name.clone(), net: address.net })
    });
    own.collect()
}

/// Returns the usable addresses by link index.
pub fn facts(seen: &[SeenAddress]) -> BTreeMap<u32, BTreeSet<IpNetwork>> {
    let mut facts = BTreeMap::<u32, BTreeSet<IpNetwork>>::new();
    for address in seen.iter().filter(|address| address.usable) {
        facts.entry(address.link).or_default().insert(address.net);
    }
    facts
}

impl SeenAddress {
    /// Reads an address message; `None` when it holds no address.
    pub fn from_message(message: &AddressMessage) -> Option<Self> {
        let mut address = None;
        let mut local = None;
        let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
        let mut automatic = false;
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Address(ip) => address = Some(*ip),
                AddressAttribute::Local(ip) => local = Some(*ip),
                AddressAttribute::Flags(all) => flags = *all,
                AddressAttribute::Protocol(protocol) => {
                    automatic = !matches!(protocol, AddressProtocol::Other(_));
                }
                _ => {}
            }
        }
        let unusable = AddressFlags::Tentative | AddressFlags::Deprecated | AddressFlags::Dadfailed;
        let net = IpNetwork::new(local.or(address)?, message.header.prefix_len).ok()?;
        let usable = !flags.intersects(unusable);
        Some(Self { link: message.header.index, net, usable, automatic })
    }
}

/// Returns the request that adds an address; one that is there stays.
///
/// # Errors
/// `ENODEV` or `EEXIST` when the link is not there or not ours.
pub fn add(address: &Address, links: &LinkTable) -> Result<Write, Refusal> {
    let message = RouteNetlinkMessage::NewAddress(message(address, links)?);
    Ok(Write { message, flags: NLM_F_CREATE | NLM_F_REPLACE })
}

/// Returns the request that deletes an address.
///
/// # Errors
/// As [`add`].
pub fn delete(address: &Address, links: &LinkTable) -> Result<Write, Refusal> {
    let message = RouteNetlinkMessage::DelAddress(message(address, links)?);
    Ok(Write { message, flags: 0 })
}

/// Duplicate detection is pointless on links whose neighbours we program, and a tentative address
/// cannot be a source.
fn message(address: &Address, links: &LinkTable) -> Result<AddressMessage, Refusal> {
    let mut message = AddressMessage::default();
    message.header.index = links.own_index(&address.link)?;
    message.header.prefix_len = address.net.prefix();
    let ip = address.net.ip();
    message.attributes.push(AddressAttribute::Local(ip));
    message.attributes.push(AddressAttribute::Address(ip));
    let mut flags = AddressFlags::Noprefixroute;
    match ip {
        IpAddr::V4(_) => message.header.family = AddressFamily::Inet,
        IpAddr::V6(_) => {
            message.header.family = AddressFamily::Inet6;
            message.header.flags = AddressHeaderFlags::Nodad;
            flags |= AddressFlags::Nodad;
        }
    }
    message.attributes.push(AddressAttribute::Flags(flags));
    Ok(message)
}
