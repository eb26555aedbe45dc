//! Owns routes: ours by table and protocol number, put and deleted without touching foreign ones;
//! foreign ones as facts. Does not own rules.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::route::{
    RouteAttribute, RouteMessage, RouteMetric, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;
use rtnetlink::RouteMessageBuilder;
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
    let messages: Vec<_> = routes.iter().map(|(key, route)| message(key, route, links)).collect();
    let mut results = channel.write_sound(new(&messages, NLM_F_CREATE | NLM_F_EXCL));
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
    let again: Vec<_> = mine.iter().map(|place| messages[*place].clone()).collect();
    let replaced = channel.write_sound(new(&again, NLM_F_CREATE | NLM_F_REPLACE));
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
        // "Nowhere" and "unspecified" are the kernel's words for any scope and any kind.
        let message = base(key)?.scope(RouteScope::NoWhere).kind(RouteType::Unspec).build();
        Ok(Write { message: RouteNetlinkMessage::DelRoute(message), flags: 0 })
    };
    let forgive = |result: Result<(), Refusal>| match result {
        Err(refusal) if refusal.errno == Errno::ESRCH => Ok(()),
        other => other,
    };
    channel.write_sound(keys.iter().map(request).collect()).into_iter().map(forgive).collect()
}

fn new(messages: &[Result<RouteMessage, Refusal>], flags: u16) -> Vec<Result<Write, Refusal>> {
    let write = |message| Write { message: RouteNetlinkMessage::NewRoute(message), flags };
    messages.iter().cloned().map(|message| message.map(write)).collect()
}

/// What makes the route the same route. The kernel deletes only where the protocol number is ours.
fn base(key: &RouteKey) -> Result<RouteMessageBuilder<IpAddr>, Refusal> {
    let default_metric = if key.destination.is_ipv6() { V6_DEFAULT_METRIC } else { 0 };
    let metric = if key.metric == 0 { default_metric } else { key.metric };
    let builder = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(key.destination.ip(), key.destination.prefix())
        .map_err(malformed)?;
    let protocol = RouteProtocol::from(owner::PROTOCOL);
    Ok(builder.table_id(key.table).priority(metric).protocol(protocol))
}

fn message(key: &RouteKey, route: &Route, links: &LinkTable) -> Result<RouteMessage, Refusal> {
    let mut builder = base(key)?;
    builder = match &route.target {
        Target::Link(link) => {
            builder.scope(RouteScope::Link).output_interface(links.own_index(link)?)
        }
        Target::Via { link, gateway } => {
            let builder = builder.onlink().output_interface(links.own_index(link)?);
            builder.gateway(*gateway).map_err(malformed)?
        }
        Target::Unreachable => builder.kind(RouteType::Unreachable),
        Target::Other(text) => return Err(malformed(format!("not a route we make: {text}"))),
    };
    if let Some(source) = route.source {
        builder = builder.pref_source(source).map_err(malformed)?;
    }
    let mut message = builder.build();
    // rtnetlink's builder has no word for metrics.
    let mtu = route.mtu.map(|mtu| RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)]));
    message.attributes.extend(mtu);
    Ok(message)
}

fn malformed(what: impl fmt::Display) -> Refusal {
    Refusal::because(Errno::EINVAL, what.to_string())
}
