//! Owns reading all rules and routes at once, and asking which way one packet would take. Changes
//! nothing.

use std::collections::BTreeSet;
use std::net::IpAddr;

use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteFlags, RouteMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;
use sealane_state::facts::{RouteAnswer, RouteQuestion, RoutingSnapshot};
use sealane_state::name::LinkName;

use crate::netlink::channel::Channel;
use crate::netlink::links::LinkTable;
use crate::netlink::refusal::Refusal;
use crate::netlink::{routes, rules, seen};

/// `RTPROT_RA` of `linux/rtnetlink.h`.
const PROTOCOL_RA: u8 = 9;

/// Reads all rules and all routes of all tables.
///
/// # Errors
/// The kernel's refusal.
pub fn read(channel: &mut Channel) -> Result<RoutingSnapshot, Refusal> {
    let links = LinkTable::read(channel)?;
    let mut snapshot = RoutingSnapshot { rules: rules::read(channel)?, ..Default::default() };
    for read in routes::read_all(channel, &links)? {
        snapshot.routes.entry(read.table).or_default().push(read.route);
    }
    Ok(snapshot)
}

/// Returns the foreign links that have a route by a router's advertisement (protocol `ra`).
///
/// # Errors
/// The kernel's refusal.
pub fn ra_links(channel: &mut Channel) -> Result<BTreeSet<LinkName>, Refusal> {
    let links = LinkTable::read(channel)?;
    let is_foreign = |name: &LinkName| links.named(name).is_some_and(|link| !link.ours);
    let advertised = routes::read_all(channel, &links)?.into_iter();
    let advertised = advertised.filter(|read| read.route.protocol == PROTOCOL_RA);
    let hops = advertised.flat_map(|read| read.route.hops);
    Ok(hops.filter_map(|hop| hop.link).filter(is_foreign).collect())
}

/// Asks the kernel which way a packet would take right now, as `ip route get` does.
///
/// # Errors
/// The kernel's refusal is an answer too: `ENETUNREACH` (no route), `EHOSTUNREACH` (an
/// `unreachable` route, or the reverse-path filter for packets that come in), `EACCES`
/// (`prohibit`), `EINVAL` (`blackhole`).
pub fn route_of(channel: &mut Channel, question: &RouteQuestion) -> Result<RouteAnswer, Refusal> {
    let links = LinkTable::read(channel)?;
    let request = RouteNetlinkMessage::GetRoute(request(question, &links)?);
    let RouteNetlinkMessage::NewRoute(mut message) = channel.ask(request)? else {
        return Err(Refusal::because(Errno::EBADMSG, "the answer is not a route"));
    };
    // An answer is a cached entry by form.
    message.header.flags.remove(RouteFlags::Cloned);
    let read = seen::route(&message, &links)
        .ok_or_else(|| Refusal::because(Errno::EBADMSG, "the answer is not an IP route"))?;
    let hop = read.route.hops.first().cloned();
    let refused = || Refusal::because(Errno::EHOSTUNREACH, read.route.kind.clone());
    Ok(RouteAnswer {
        table: read.table,
        kind: read.route.kind.clone(),
        hop: hop.ok_or_else(refused)?,
        source: read.route.source,
        mtu: read.route.mtu,
    })
}

fn request(question: &RouteQuestion, links: &LinkTable) -> Result<RouteMessage, Refusal> {
    let mut message = RouteMessage::default();
    let bits = |ip: IpAddr| if ip.is_ipv4() { 32 } else { 128 };
    message.header.address_family = match question.destination {
        IpAddr::V4(_) => {
            // Otherwise IPv4 names the main table, whatever table it looked up.
            message.header.flags = RouteFlags::LookupTable;
            AddressFamily::Inet
        }
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    message.header.destination_prefix_length = bits(question.destination);
    let attributes = &mut message.attributes;
    attributes.push(RouteAttribute::Destination(RouteAddress::from(question.destination)));
    if let Some(source) = question.source {
        message.header.source_prefix_length = bits(source);
        attributes.push(RouteAttribute::Source(RouteAddress::from(source)));
    }
    if let Some(input) = &question.input {
        attributes.push(RouteAttribute::Iif(links.index(input)?));
    }
    if question.mark != 0 {
        attributes.push(RouteAttribute::Mark(question.mark));
    }
    Ok(message)
}
