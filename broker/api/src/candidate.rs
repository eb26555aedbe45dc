//! Which remote addresses are never tried, so that no member can aim our handshakes at a
//! victim (PROTOCOL.md 3.5).

use crate::advertisement::Candidate;
use crate::cidr::Ownership;
use crate::reason::Warning;
use crate::remote::LocalFacts;
use std::net::IpAddr;

/// Parts candidates into those worth trying, order kept, and a warning for each of the others.
/// `grants` are the networks of every member.
#[must_use]
pub fn filter(
    candidates: &[Candidate],
    grants: &Ownership,
    facts: &LocalFacts,
) -> (Vec<Candidate>, Vec<Warning>) {
    let mut tried = Vec::new();
    let mut warnings = Vec::new();
    for candidate in candidates {
        match why_ignored(candidate, grants, facts) {
            None => tried.push(*candidate),
            Some(why) => {
                warnings.push(Warning::CandidateIgnored { address: candidate.socket(), why });
            }
        }
    }
    (tried, warnings)
}

fn why_ignored(
    candidate: &Candidate,
    grants: &Ownership,
    facts: &LocalFacts,
) -> Option<&'static str> {
    let address = candidate.addr;
    if candidate.port == 0 {
        return Some("port 0");
    }
    if let Some(why) = unreachable_everywhere(address) {
        return Some(why);
    }
    if facts.addresses.contains(&address) {
        return Some("an address of this host");
    }
    let is_on_link = facts.links.iter().any(|link| link.contains_address(address));
    if grants.covers(address) && !is_on_link {
        return Some("inside a member's networks");
    }
    None
}

fn unreachable_everywhere(address: IpAddr) -> Option<&'static str> {
    let is_mapped = matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
    let is_link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    let is_broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    if address.is_unspecified() {
        Some("unspecified")
    } else if address.is_loopback() {
        Some("loopback")
    } else if address.is_multicast() || is_broadcast {
        Some("multicast or broadcast")
    } else if is_link_local {
        Some("link-local")
    } else if is_mapped {
        Some("IPv4 written as IPv6")
    } else {
        None
    }
}
