//! Owns reading route messages of anyone into data. Does not own which routes are ours.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteNextHop,
    RouteNextHopFlags, RouteType, RouteVia,
};
use sealane_state::facts::{SeenHop, SeenRoute};
use sealane_state::route::{Route, RouteKey, Target};

use crate::netlink::links::LinkTable;

/// A route message, read.
#[derive(Debug, Clone)]
pub struct ReadRoute {
    /// Table that it is in.
    pub table: u32,
    /// Type of service that it is for; 0 is any.
    pub tos: u8,
    /// The route.
    pub route: SeenRoute,
    /// What [`Route`] has no words for, as `ip route` shows it.
    pub exotic: Vec<String>,
}

/// Reads a route message; `None` for families other than IP, and for cached entries.
pub fn route(message: &RouteMessage, links: &LinkTable) -> Option<ReadRoute> {
    let header = &message.header;
    let any: IpAddr = match header.address_family {
        AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
        AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    if header.flags.contains(RouteFlags::Cloned) {
        return None;
    }
    let mut read = ReadRoute {
        table: u32::from(header.table),
        tos: header.tos,
        route: SeenRoute {
            destination: IpNetwork::new(any, header.destination_prefix_length).ok()?,
            metric: 0,
            protocol: header.protocol.into(),
            kind: kind_text(header.kind),
            hops: Vec::new(),
            source: None,
            mtu: None,
        },
        exotic: Vec::new(),
    };
    if header.source_prefix_length != 0 {
        read.exotic.push(format!("from .../{}", header.source_prefix_length));
    }
    for attribute in &message.attributes {
        read.take(attribute, links);
    }
    let destination = read.route.destination.ip();
    read.route.destination = IpNetwork::new(destination, header.destination_prefix_length).ok()?;
    read.take_hop(message, links);
    Some(read)
}

impl ReadRoute {
    fn take(&mut self, attribute: &RouteAttribute, links: &LinkTable) {
        match attribute {
            RouteAttribute::Table(table) => self.table = *table,
            RouteAttribute::Destination(address) => {
                if let Some(net) = ip(address)
                    .and_then(|ip| IpNetwork::new(ip, self.route.destination.prefix()).ok())
                {
                    self.route.destination = net;
                }
            }
            RouteAttribute::Priority(metric) => self.route.metric = *metric,
            RouteAttribute::PrefSource(address) => self.route.source = ip(address),
            RouteAttribute::Metrics(metrics) => self.take_metrics(metrics),
            RouteAttribute::MultiPath(hops) => {
                self.route.hops = hops.iter().map(|hop| seen_hop(hop, links)).collect();
            }
            RouteAttribute::NhId(id) => self.exotic.push(format!("nhid {id}")),
            RouteAttribute::EncapType(kind) => self.exotic.push(format!("encap {kind:?}")),
            RouteAttribute::Realm(realm) => self.exotic.push(format!("realm {realm:?}")),
            _ => {}
        }
    }

    fn take_metrics(&mut self, metrics: &[RouteMetric]) {
        for metric in metrics {
            match metric {
                RouteMetric::Mtu(mtu) => self.route.mtu = Some(*mtu),
                RouteMetric::Lock(0) => {}
                other => self.exotic.push(format!("{other:?}").to_lowercase()),
            }
        }
    }

    /// Reads the single way out, unless several were given.
    fn take_hop(&mut self, message: &RouteMessage, links: &LinkTable) {
        let forwards = matches!(message.header.kind, RouteType::Unicast | RouteType::Local);
        if !self.route.hops.is_empty() || !forwards {
            return;
        }
        let flags = message.header.flags;
        self.route.hops.push(SeenHop {
            link: link(&message.attributes, links),
            gateway: gateway(&message.attributes),
            weight: 1,
            unusable: flags.intersects(RouteFlags::Dead | RouteFlags::Linkdown),
        });
    }

    /// Returns what makes the route the same route, with the metric as the kernel shows it.
    pub fn key(&self) -> RouteKey {
        let (destination, metric) = (self.route.destination, self.route.metric);
        RouteKey { table: self.table, destination, metric }
    }

    /// Returns the route as state; what state has no words for becomes [`Target::Other`].
    pub fn state(&self) -> Route {
        let target = match (self.route.kind.as_str(), self.route.hops.as_slice()) {
            ("unicast", [hop]) if self.exotic.is_empty() => target(hop),
            ("unreachable", []) if self.exotic.is_empty() => Target::Unreachable,
            _ => Target::Other(self.text()),
        };
        Route { target, source: self.route.source, mtu: self.route.mtu }
    }

    /// Returns the route as a fact: by its first way out, if it has one.
    pub fn fact(&self) -> Route {
        let target = match (self.route.kind.as_str(), self.route.hops.as_slice()) {
            ("unicast", [hop, ..]) => target(hop),
            ("unreachable", []) => Target::Unreachable,
            _ => Target::Other(self.text()),
        };
        Route { target, source: self.route.source, mtu: self.route.mtu }
    }

    fn text(&self) -> String {
        let mut text = self.route.kind.clone();
        for part in &self.exotic {
            // Writing to a String cannot fail.
            let _ = write!(text, " {part}");
        }
        for hop in &self.route.hops {
            text.push_str(" nexthop");
            if let Some(gateway) = hop.gateway {
                let _ = write!(text, " via {gateway}");
            }
            if let Some(link) = &hop.link {
                let _ = write!(text, " dev {link}");
            }
        }
        text
    }
}

fn target(hop: &SeenHop) -> Target {
    match (&hop.link, hop.gateway) {
        (Some(link), Some(gateway)) => Target::Via { link: link.clone(), gateway },
        (Some(link), None) => Target::Link(link.clone()),
        (None, _) => Target::Other("unicast, link unknown".to_owned()),
    }
}

fn seen_hop(hop: &RouteNextHop, links: &LinkTable) -> SeenHop {
    let dead = RouteNextHopFlags::Dead | RouteNextHopFlags::Linkdown;
    SeenHop {
        link: links.name(hop.interface_index).cloned(),
        gateway: gateway(&hop.attributes),
        weight: u16::from(hop.hops) + 1,
        unusable: hop.flags.intersects(dead),
    }
}

fn link(attributes: &[RouteAttribute], links: &LinkTable) -> Option<sealane_state::name::LinkName> {
    attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => links.name(*index).cloned(),
        _ => None,
    })
}

fn gateway(attributes: &[RouteAttribute]) -> Option<IpAddr> {
    attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(address) => ip(address),
        RouteAttribute::Via(RouteVia::Inet(ip)) => Some((*ip).into()),
        RouteAttribute::Via(RouteVia::Inet6(ip)) => Some((*ip).into()),
        _ => None,
    })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some((*ip).into()),
        RouteAddress::Inet6(ip) => Some((*ip).into()),
        _ => None,
    }
}

fn kind_text(kind: RouteType) -> String {
    match kind {
        RouteType::BlackHole => "blackhole".to_owned(),
        RouteType::ExternalResolve => "xresolve".to_owned(),
        RouteType::Other(number) => format!("type {number}"),
        named => format!("{named:?}").to_lowercase(),
    }
}
