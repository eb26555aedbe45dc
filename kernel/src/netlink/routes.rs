//! Owns routes: ours by table and protocol number, put and deleted without touching foreign ones;
//! foreign ones as facts. Does not own rules.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteProtocol, RouteScope,
    RouteType, RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;
use sealane_state::owner;
use sealane_state::route::{Route, RouteKey, Target};

use crate::netlink::channel::{Channel, Write};
use crate::netlink::links::LinkTable;
use crate::netlink::refusal::Refusal;
use crate::netlink::seen::{self, ReadRoute};

/// What the kernel makes of metric 0 in IPv6 (`IP6_RT_PRIO_USER` in linux/ipv6_route.h).
const V6_DEFAULT_METRIC: u32 = 1024;

const FAMILIES: [AddressFamily; 2] = [AddressFamily::Inet, AddressFamily::Inet6];

/// Reads our routes.
///
/// The kernel filters by protocol number, so a full foreign routing table costs nothing.
///
/// # Errors
/// The kernel's refusal.
pub fn read_own(
    channel: &mut Channel,
    links: &LinkTable,
) -> Result<BTreeMap<RouteKey, Route>, Refusal> {
    let own = read_filtered(channel, links, None, owner::PROTOCOL)?;
    Ok(own.iter().filter(|read| is_ours(read)).map(|read| (own_key(read), read.state())).collect())
}

/// Reads the routes of one table, ours too.
///
/// # Errors
/// The kernel's refusal.
pub fn read_table(
    channel: &mut Channel,
    links: &LinkTable,
    table: u32,
) -> Result<Vec<ReadRoute>, Refusal> {
    read_filtered(channel, links, Some(table), 0)
}

/// Reads the routes of all tables.
///
/// # Errors
/// The kernel's refusal.
pub fn read_all(channel: &mut Channel, links: &LinkTable) -> Result<Vec<ReadRoute>, Refusal> {
    read_filtered(channel, links, None, 0)
}

fn read_filtered(
    channel: &mut Channel,
    links: &LinkTable,
    table: Option<u32>,
    protocol: u8,
) -> Result<Vec<ReadRoute>, Refusal> {
    let mut routes = Vec::new();
    for family in FAMILIES {
        let mut request = RouteMessage::default();
        request.header.address_family = family;
        request.header.protocol = RouteProtocol::from(protocol);
        request.attributes.extend(table.map(RouteAttribute::Table));
        let dump = channel.dump(&RouteNetlinkMessage::GetRoute(request))?;
        if dump.unreadable > 0 {
            tracing::debug!(count = dump.unreadable, ?family, "routes of an unknown form");
        }
        let read = dump.messages.iter().filter_map(|message| match message {
            RouteNetlinkMessage::NewRoute(message) => seen::route(message, links),
            _ => None,
        });
        let asked_for = |read: &ReadRoute| {
            table.is_none_or(|table| read.table == table)
                && (protocol == 0 || read.route.protocol == protocol)
        };
        routes.extend(read.filter(asked_for));
    }
    Ok(routes)
}

/// Routes of ours have no type of service; one that has is another hand's, whatever its number.
fn is_ours(read: &ReadRoute) -> bool {
    read.route.protocol == owner::PROTOCOL && owner::TABLES.contains(&read.table) && read.tos == 0
}

fn own_key(read: &ReadRoute) -> RouteKey {
    let key = read.key();
    let is_default = key.destination.is_ipv6() && key.metric == V6_DEFAULT_METRIC;
    RouteKey { metric: if is_default { 0 } else { key.metric }, ..key }
}

/// Puts routes, many at a time; returns what became of each.
///
/// Each is first created exclusively. Where that meets a route, ours is replaced and a foreign one
/// is left alone: the kernel's own "replace" does not look at who made a route.
pub fn put(
    channel: &mut Channel,
    links: &LinkTable,
    routes: &[(RouteKey, &Route)],
) -> Vec<Result<(), Refusal>> {
    let requests: Vec<_> = routes.iter().map(|(key, route)| request(key, route, links)).collect();
    let mut results = write_sound(channel, &requests, NLM_F_CREATE | NLM_F_EXCL);
    let met = |result: &Result<(), Refusal>| matches!(result, Err(refusal) if refusal.errno == Errno::EEXIST);
    let places: Vec<usize> = (0..results.len()).filter(|place| met(&results[*place])).collect();
    if places.is_empty() {
        return results;
    }
    let own = match read_own(channel, links) {
        Ok(own) => own.into_keys().collect::<BTreeSet<_>>(),
        Err(refusal) => {
            places.iter().for_each(|place| results[*place] = Err(refusal.clone()));
            return results;
        }
    };
    let (mine, foreign): (Vec<usize>, Vec<usize>) =
        places.into_iter().partition(|place| own.contains(&routes[*place].0));
    let again: Vec<_> = mine.iter().map(|place| requests[*place].clone()).collect();
    let replaced = write_sound(channel, &again, NLM_F_CREATE | NLM_F_REPLACE);
    for (place, result) in mine.into_iter().zip(replaced) {
        results[place] = result;
    }
    for place in foreign {
        let text = "a route of another maker stands there: delete it or move it to another table";
        results[place] = Err(Refusal::because(Errno::EEXIST, text));
    }
    results
}

/// Deletes routes of ours, many at a time; one that is gone already is no error.
pub fn delete(channel: &mut Channel, keys: &[RouteKey]) -> Vec<Result<(), Refusal>> {
    let request = |key: &RouteKey| {
        let mut message = base(key);
        // "Nowhere" is the kernel's word for any scope.
        message.header.scope = RouteScope::NoWhere;
        Write { message: RouteNetlinkMessage::DelRoute(message), flags: 0 }
    };
    let requests: Vec<_> = keys.iter().map(request).collect();
    let forgive = |result: Result<(), Refusal>| match result {
        Err(refusal) if refusal.errno == Errno::ESRCH => Ok(()),
        other => other,
    };
    channel.write(&requests).into_iter().map(forgive).collect()
}

/// Writes the requests that could be made; the others keep their refusal.
fn write_sound(
    channel: &mut Channel,
    requests: &[Result<RouteMessage, Refusal>],
    flags: u16,
) -> Vec<Result<(), Refusal>> {
    let sound = requests
        .iter()
        .flatten()
        .map(|message| Write { message: RouteNetlinkMessage::NewRoute(message.clone()), flags });
    let mut written = channel.write(&sound.collect::<Vec<_>>()).into_iter();
    let result = |request: &Result<RouteMessage, Refusal>| match request {
        Ok(_) => written.next().unwrap_or_else(|| Err(Refusal::plain(Errno::EIO))),
        Err(refusal) => Err(refusal.clone()),
    };
    requests.iter().map(result).collect()
}

fn base(key: &RouteKey) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.destination_prefix_length = key.destination.prefix();
    message.header.protocol = RouteProtocol::from(owner::PROTOCOL);
    let (family, default_metric) = match key.destination {
        ipnetwork::IpNetwork::V4(_) => (AddressFamily::Inet, 0),
        ipnetwork::IpNetwork::V6(_) => (AddressFamily::Inet6, V6_DEFAULT_METRIC),
    };
    message.header.address_family = family;
    message.attributes.push(RouteAttribute::Table(key.table));
    message.attributes.push(RouteAttribute::Destination(key.destination.ip().into()));
    let metric = if key.metric == 0 { default_metric } else { key.metric };
    message.attributes.push(RouteAttribute::Priority(metric));
    message
}

fn request(key: &RouteKey, route: &Route, links: &LinkTable) -> Result<RouteMessage, Refusal> {
    let mut message = base(key);
    message.header.kind = RouteType::Unicast;
    match &route.target {
        Target::Link(link) => {
            message.header.scope = RouteScope::Link;
            message.attributes.push(RouteAttribute::Oif(links.own_index(link)?));
        }
        Target::Via { link, gateway } => {
            message.header.flags = RouteFlags::Onlink;
            message.attributes.push(RouteAttribute::Oif(links.own_index(link)?));
            message.attributes.push(next_hop(key, *gateway));
        }
        Target::Unreachable => message.header.kind = RouteType::Unreachable,
        Target::Other(text) => {
            return Err(Refusal::because(Errno::EINVAL, format!("not a route we make: {text}")));
        }
    }
    message.attributes.extend(route.source.map(|ip| RouteAttribute::PrefSource(ip.into())));
    message
        .attributes
        .extend(route.mtu.map(|mtu| RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)])));
    Ok(message)
}

/// A next hop of the other family travels in an attribute of its own (RFC 5549 style).
fn next_hop(key: &RouteKey, gateway: IpAddr) -> RouteAttribute {
    match gateway {
        IpAddr::V6(ip) if key.destination.is_ipv4() => RouteAttribute::Via(RouteVia::Inet6(ip)),
        same_family => RouteAttribute::Gateway(RouteAddress::from(same_family)),
    }
}
