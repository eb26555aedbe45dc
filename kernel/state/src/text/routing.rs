//! Owns how routes and rules read: as `ip route` and `ip rule` show them, table always named.

use std::fmt::{self, Display, Formatter};

use crate::route::{Route, RouteKey, Target};
use crate::rule::{Family, MarkMatch, Rule, Sense};

impl Display for RouteKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "route {} table {}", self.destination, self.table)?;
        metric(f, self.metric)
    }
}

fn metric(f: &mut Formatter<'_>, metric: u32) -> fmt::Result {
    if metric == 0 { Ok(()) } else { write!(f, " metric {metric}") }
}

/// A route as one line.
#[derive(Debug, Clone, Copy)]
pub struct RouteLine<'a>(pub &'a RouteKey, pub &'a Route);

impl Display for RouteLine<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(key, route) = self;
        let destination = key.destination;
        match &route.target {
            Target::Link(link) => write!(f, "route {destination} dev {link}")?,
            Target::Via { link, gateway } => {
                // The other way round Linux has no such route.
                let family = if gateway.is_ipv6() && destination.is_ipv4() { "inet6 " } else { "" };
                write!(f, "route {destination} via {family}{gateway} dev {link}")?;
            }
            Target::Unreachable => write!(f, "route unreachable {destination}")?,
            Target::Other(text) => write!(f, "route {destination} {text}")?,
        }
        write!(f, " table {}", key.table)?;
        metric(f, key.metric)?;
        route.source.iter().try_for_each(|source| write!(f, " src {source}"))?;
        route.mtu.iter().try_for_each(|mtu| write!(f, " mtu {mtu}"))?;
        if matches!(route.target, Target::Via { .. }) { f.write_str(" onlink") } else { Ok(()) }
    }
}

impl Display for Rule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "rule {}:", self.priority)?;
        self.input.iter().try_for_each(|link| write!(f, " iif {link}"))?;
        self.mark.iter().try_for_each(|mark| write!(f, " {mark}"))?;
        write!(f, " lookup {} ({})", self.table, self.family)
    }
}

impl Display for MarkMatch {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let not = match self.sense {
            Sense::Is => "",
            Sense::IsNot => "not ",
        };
        write!(f, "{not}fwmark {:#x}/{:#x}", self.value, self.mask)
    }
}

impl Display for Family {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "v4",
            Self::V6 => "v6",
        })
    }
}
