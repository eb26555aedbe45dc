//! Owns routes in tables of ours. Does not own the main table, nor routes that other daemons set.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use crate::name::LinkName;

/// What makes a route the same route: the kernel replaces on these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouteKey {
    /// Routing table number.
    pub table: u32,
    /// Destination, host bits zero; `0.0.0.0/0` and `::/0` are the default routes.
    pub destination: IpNetwork,
    /// Route priority; lower wins. 0 is the kernel's own default (1024 in IPv6).
    pub metric: u32,
}

/// Where matching packets go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The way out.
    pub target: Target,
    /// Preferred source for packets that this host originates.
    pub source: Option<IpAddr>,
    /// Path MTU in bytes for this destination, not locked; `None` leaves it to the link.
    pub mtu: Option<u32>,
}

/// The way out of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Straight out of a link without next hop.
    Link(LinkName),
    /// By a next hop of either family, `onlink`.
    Via {
        /// The link that reaches the next hop.
        link: LinkName,
        /// The next hop; IPv6 for IPv4 destinations is RFC 5549 style.
        gateway: IpAddr,
    },
    /// Refused with ICMP unreachable: a known remote prefix without a live way.
    Unreachable,
    /// A way out that we never write, as `ip route` would show it. Only in what was observed: one
    /// of ours that another hand changed, or a foreign one.
    Other(String),
}

impl Target {
    /// Returns the link that packets leave by; `None` when they do not leave, or not by one.
    pub fn link(&self) -> Option<&LinkName> {
        match self {
            Self::Link(link) | Self::Via { link, .. } => Some(link),
            Self::Unreachable | Self::Other(_) => None,
        }
    }
}
