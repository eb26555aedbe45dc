//! Owns permanent neighbours and VXLAN forwarding entries on our links. Does not look at those of
//! foreign links, nor at entries that the kernel learned.

use std::collections::BTreeSet;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::RouteType;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use sealane_state::link::Mac;
use sealane_state::neighbour::{Fdb, Neighbour};

use crate::netlink::channel::{Channel, Write};
use crate::netlink::links::{Driver, LinkTable};
use crate::netlink::refusal::Refusal;

/// Reads the permanent neighbours on our links.
///
/// # Errors
/// The kernel's refusal.
pub fn read(channel: &mut Channel, links: &LinkTable) -> Result<BTreeSet<Neighbour>, Refusal> {
    let mut neighbours = BTreeSet::new();
    for link in links.ours() {
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut request = NeighbourMessage::default();
            request.header.family = family;
            request.attributes.push(NeighbourAttribute::IfIndex(link.facts.index));
            for message in dump(channel, request)? {
                let permanent = message.header.state == NeighbourState::Permanent;
                let proxied = message.header.flags.contains(NeighbourFlags::Proxy);
                if message.header.ifindex != link.facts.index || !permanent || proxied {
                    continue;
                }
                if let (Some(address), Some(mac)) = (destination(&message), mac(&message)) {
                    neighbours.insert(Neighbour { link: link.name.clone(), address, mac });
                }
            }
        }
    }
    Ok(neighbours)
}

/// Reads the forwarding entries of our VXLAN links.
///
/// # Errors
/// The kernel's refusal.
pub fn read_fdb(channel: &mut Channel, links: &LinkTable) -> Result<BTreeSet<Fdb>, Refusal> {
    let mut entries = BTreeSet::new();
    for link in links.ours().filter(|link| matches!(link.driver, Driver::Vxlan(_))) {
        let mut request = NeighbourMessage::default();
        request.header.family = AddressFamily::Bridge;
        request.header.ifindex = link.facts.index;
        for message in dump(channel, request)? {
            if message.header.ifindex != link.facts.index {
                continue;
            }
            if let (Some(remote), Some(mac)) = (destination(&message), mac(&message)) {
                entries.insert(Fdb { link: link.name.clone(), mac, remote });
            }
        }
    }
    Ok(entries)
}

fn dump(
    channel: &mut Channel,
    request: NeighbourMessage,
) -> Result<impl Iterator<Item = NeighbourMessage> + use<>, Refusal> {
    let dump = channel.dump(&RouteNetlinkMessage::GetNeighbour(request))?;
    Ok(dump.messages.into_iter().filter_map(|message| match message {
        RouteNetlinkMessage::NewNeighbour(message) => Some(message),
        _ => None,
    }))
}

/// In forwarding entries the family says "bridge", so only the length tells the address's own.
fn destination(message: &NeighbourMessage) -> Option<IpAddr> {
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => Some(IpAddr::from(*ip)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => Some(IpAddr::from(*ip)),
        NeighbourAttribute::Destination(NeighbourAddress::Other(bytes)) => {
            let v4 = <[u8; 4]>::try_from(bytes.as_slice()).map(IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(bytes.as_slice()).map(IpAddr::from)).ok()
        }
        _ => None,
    })
}

fn mac(message: &NeighbourMessage) -> Option<Mac> {
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(bytes) => bytes.as_slice().try_into().ok().map(Mac),
        _ => None,
    })
}

/// Returns the request that adds or replaces a neighbour.
///
/// # Errors
/// `ENODEV` or `EEXIST` when the link is not there or not ours.
pub fn put(neighbour: &Neighbour, links: &LinkTable) -> Result<Write, Refusal> {
    Ok(new(message(neighbour, links)?))
}

/// Returns the request that deletes a neighbour.
///
/// # Errors
/// As [`put`].
pub fn delete(neighbour: &Neighbour, links: &LinkTable) -> Result<Write, Refusal> {
    let message = RouteNetlinkMessage::DelNeighbour(message(neighbour, links)?);
    Ok(Write { message, flags: 0 })
}

/// Returns the request that adds or replaces a forwarding entry.
///
/// # Errors
/// As [`put`].
pub fn put_fdb(entry: &Fdb, links: &LinkTable) -> Result<Write, Refusal> {
    Ok(new(fdb_message(entry, links)?))
}

/// Returns the request that deletes a forwarding entry.
///
/// # Errors
/// As [`put`].
pub fn delete_fdb(entry: &Fdb, links: &LinkTable) -> Result<Write, Refusal> {
    let message = RouteNetlinkMessage::DelNeighbour(fdb_message(entry, links)?);
    Ok(Write { message, flags: 0 })
}

fn new(message: NeighbourMessage) -> Write {
    let message = RouteNetlinkMessage::NewNeighbour(message);
    Write { message, flags: NLM_F_CREATE | NLM_F_REPLACE }
}

fn message(neighbour: &Neighbour, links: &LinkTable) -> Result<NeighbourMessage, Refusal> {
    let mut message = NeighbourMessage::default();
    message.header.ifindex = links.own_index(&neighbour.link)?;
    message.header.state = NeighbourState::Permanent;
    message.header.kind = RouteType::Unicast;
    let address = match neighbour.address {
        IpAddr::V4(ip) => {
            message.header.family = AddressFamily::Inet;
            NeighbourAddress::Inet(ip)
        }
        IpAddr::V6(ip) => {
            message.header.family = AddressFamily::Inet6;
            NeighbourAddress::Inet6(ip)
        }
    };
    message.attributes.push(NeighbourAttribute::Destination(address));
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(neighbour.mac.0.to_vec()));
    Ok(message)
}

fn fdb_message(entry: &Fdb, links: &LinkTable) -> Result<NeighbourMessage, Refusal> {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = links.own_index(&entry.link)?;
    message.header.state = NeighbourState::Permanent;
    message.header.flags = NeighbourFlags::Own;
    let remote = match entry.remote {
        IpAddr::V4(ip) => NeighbourAddress::Inet(ip),
        IpAddr::V6(ip) => NeighbourAddress::Inet6(ip),
    };
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(entry.mac.0.to_vec()));
    message.attributes.push(NeighbourAttribute::Destination(remote));
    Ok(message)
}
