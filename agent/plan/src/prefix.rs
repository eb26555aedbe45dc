//! Owns the algebra of prefixes: nesting, overlap and aggregation. Knows no member and no route.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use sealane_state::rule::Family;

/// A prefix as the range of its addresses. Two prefixes are disjoint, equal or nested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Span {
    family: Family,
    first: u128,
    last: u128,
}

/// Returns the IP version of a prefix.
pub fn family(prefix: IpNetwork) -> Family {
    if prefix.is_ipv4() { Family::V4 } else { Family::V6 }
}

/// Returns the IP version of an address.
pub fn family_of(address: IpAddr) -> Family {
    if address.is_ipv4() { Family::V4 } else { Family::V6 }
}

/// Returns the prefix that holds one address only.
pub fn host(address: IpAddr) -> IpNetwork {
    IpNetwork::from(address)
}

/// Returns the prefix with its host bits cleared.
pub fn canonical(prefix: IpNetwork) -> IpNetwork {
    let span = span(prefix);
    build(span.family, span.first, prefix.prefix()).unwrap_or(prefix)
}

/// Whether every address of `inner` is one of `outer`.
pub fn covers(outer: IpNetwork, inner: IpNetwork) -> bool {
    let (outer, inner) = (span(outer), span(inner));
    outer.family == inner.family && outer.first <= inner.first && inner.last <= outer.last
}

/// Returns the fewest prefixes that hold exactly the addresses of `prefixes`.
///
/// Shape: sorted, IPv4 before IPv6, disjoint, host bits zero.
pub fn aggregated(prefixes: impl IntoIterator<Item = IpNetwork>) -> Vec<IpNetwork> {
    let mut merged: Vec<IpNetwork> = Vec::new();
    for (prefix, ()) in PrefixMap::from_iter(prefixes.into_iter().map(|prefix| (prefix, ()))).0 {
        merged.push(prefix);
        while let [.., lower, upper] = merged[..] {
            let Some(parent) = parent_of(lower, upper) else { break };
            merged.truncate(merged.len() - 2);
            merged.push(parent);
        }
    }
    merged
}

/// Disjoint prefixes with a value each; a prefix inside another is absorbed by it.
#[derive(Debug, Clone)]
pub struct PrefixMap<T>(Vec<(IpNetwork, T)>);

impl<T> PrefixMap<T> {
    /// Returns the entry that shares addresses with `prefix`, the last of several.
    pub fn meeting(&self, prefix: IpNetwork) -> Option<&(IpNetwork, T)> {
        let wanted = span(prefix);
        let after = self.0.partition_point(|(held, _)| {
            let held = span(*held);
            (held.family, held.first) <= (wanted.family, wanted.last)
        });
        let entry = self.0.get(after.checked_sub(1)?)?;
        let held = span(entry.0);
        (held.family == wanted.family && held.last >= wanted.first).then_some(entry)
    }
}

impl<T> FromIterator<(IpNetwork, T)> for PrefixMap<T> {
    fn from_iter<I: IntoIterator<Item = (IpNetwork, T)>>(entries: I) -> Self {
        let mut sorted: Vec<(IpNetwork, T)> =
            entries.into_iter().map(|(prefix, value)| (canonical(prefix), value)).collect();
        sorted.sort_by_key(|(prefix, _)| {
            let span = span(*prefix);
            (span.family, span.first, prefix.prefix())
        });
        let mut kept: Vec<(IpNetwork, T)> = Vec::with_capacity(sorted.len());
        for entry in sorted {
            if !kept.last().is_some_and(|(outer, _)| covers(*outer, entry.0)) {
                kept.push(entry);
            }
        }
        Self(kept)
    }
}

fn parent_of(lower: IpNetwork, upper: IpNetwork) -> Option<IpNetwork> {
    let length = lower.prefix().checked_sub(1)?;
    let (low, high) = (span(lower), span(upper));
    let siblings = lower.prefix() == upper.prefix()
        && low.family == high.family
        && low.last.checked_add(1) == Some(high.first);
    let parent = build(low.family, low.first, length)?;
    (siblings && span(parent).first == low.first).then_some(parent)
}

fn span(prefix: IpNetwork) -> Span {
    match prefix {
        IpNetwork::V4(net) => {
            let mask = u32::MAX.checked_shr(u32::from(net.prefix())).unwrap_or(0);
            let first = u32::from(net.ip()) & !mask;
            Span { family: Family::V4, first: first.into(), last: (first | mask).into() }
        }
        IpNetwork::V6(net) => {
            let mask = u128::MAX.checked_shr(u32::from(net.prefix())).unwrap_or(0);
            let first = u128::from(net.ip()) & !mask;
            Span { family: Family::V6, first, last: first | mask }
        }
    }
}

fn build(family: Family, first: u128, length: u8) -> Option<IpNetwork> {
    match family {
        Family::V4 => {
            let address = Ipv4Addr::from(u32::try_from(first).ok()?);
            Ipv4Network::new(address, length).ok().map(IpNetwork::V4)
        }
        Family::V6 => Ipv6Network::new(Ipv6Addr::from(first), length).ok().map(IpNetwork::V6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_prefixes_become_one_and_nested_ones_vanish() {
        let merged = |texts: &[&str]| -> Vec<String> {
            let prefixes = texts.iter().map(|text| text.parse().unwrap());
            aggregated(prefixes).iter().map(ToString::to_string).collect()
        };
        assert_eq!(merged(&["10.0.0.0/25", "10.0.0.128/25", "10.0.1.0/24"]), ["10.0.0.0/23"]);
        for apart in [
            ["10.0.1.0/24", "10.0.2.0/24"],
            ["10.0.0.0/24", "10.0.2.0/24"],
            ["10.0.0.0/25", "10.0.0.128/26"],
        ] {
            assert_eq!(merged(&apart), apart);
        }
        assert_eq!(merged(&["fd00::/64", "fd00::/48", "10.1.2.3/8"]), ["10.0.0.0/8", "fd00::/48"]);
        assert_eq!(
            merged(&["0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1"]),
            ["0.0.0.0/0", "::/0"]
        );
    }

    #[test]
    fn a_prefix_meets_those_it_holds_and_those_that_hold_it() {
        let map: PrefixMap<u8> = [("10.1.0.0/16", 1), ("10.3.0.0/24", 2), ("fd00::/64", 3)]
            .map(|(text, value)| (text.parse().unwrap(), value))
            .into_iter()
            .collect();
        let met = |text: &str| map.meeting(text.parse().unwrap()).map(|(_, value)| *value);
        assert_eq!(met("10.1.2.0/24"), Some(1));
        assert_eq!(met("10.2.0.0/15"), Some(2));
        assert_eq!(met("10.2.0.0/16"), None);
        assert_eq!(met("fd00::1/128"), Some(3));
        assert_eq!(met("::/0"), Some(3));
        assert_eq!(met("11.0.0.0/8"), None);
    }
}
