//! Owns what this gateway says of itself: networks as granted, addresses to be reached by. Does not
//! sign it.

use std::net::{IpAddr, SocketAddr};

use sealane_api::advertisement::{Candidate, CandidateKind};
use sealane_api::time::UnixTime;
use sealane_state::facts::Observation;
use serde_json::Value;

use crate::advertise::{AuthorError, MOST_CANDIDATES, Wish};
use crate::config::Config;
use crate::facts;
use crate::session::Session;

/// Returns what this gateway wants to say, given the host and the MTU of its lanes in bytes.
pub fn wish(session: &Session, config: &Config, seen: &Observation, mtu: u32) -> Wish {
    let (networks, _) = session.granted(config);
    let port = config.tunnel.listen_port;
    let found = own_addresses(config, seen)
        .into_iter()
        .map(|address| (kind_of(address), SocketAddr::new(address, port)));
    let configured =
        config.tunnel.endpoints.iter().map(|address| (CandidateKind::Public, *address));
    // What was configured is never crowded out by a host with many links.
    let mut chosen: Vec<_> = configured.chain(found).take(MOST_CANDIDATES).collect();
    chosen.sort_by_key(|(kind, _)| matches!(kind, CandidateKind::Public));
    let candidates = chosen
        .into_iter()
        .map(|(kind, address)| Candidate { kind, addr: address.ip(), port: address.port() })
        .collect();
    Wish {
        networks,
        slot: facts::own_slot(config),
        mtu: u16::try_from(mtu).unwrap_or(u16::MAX),
        candidates,
    }
}

/// Returns the `spec` to publish; `None` on a node without lanes.
///
/// # Errors
/// [`AuthorError`] when nothing could be signed.
pub fn advertise(
    session: &mut Session,
    wish: Wish,
    now: UnixTime,
) -> Result<Option<Value>, AuthorError> {
    let (Some(author), Some(keys)) = (&mut session.author, &session.keys) else {
        return Ok(None);
    };
    let spec = author.advertise(keys, session.membership.enrolment.as_ref(), wish, now)?;
    // Texts, integers and lists always serialise.
    Ok(serde_json::to_value(spec).ok())
}

/// Returns the `spec` of a withdrawal; `None` on a node without lanes.
///
/// # Errors
/// [`AuthorError`] when nothing could be signed.
pub fn withdraw(session: &mut Session, now: UnixTime) -> Result<Option<Value>, AuthorError> {
    let (Some(author), Some(keys)) = (&mut session.author, &session.keys) else {
        return Ok(None);
    };
    let spec = author.withdraw(keys, session.membership.enrolment.as_ref(), now)?;
    Ok(serde_json::to_value(spec).ok())
}

/// Returns this host's addresses that another gateway might reach, in a stable order: none of our
/// own links, none inside our own networks, none on links that the configuration leaves out.
fn own_addresses(config: &Config, seen: &Observation) -> Vec<IpAddr> {
    let own: Vec<_> = facts::configured_networks(config).iter().copied().collect();
    let mut addresses: Vec<IpAddr> = seen
        .facts
        .links
        .iter()
        .filter(|(name, _)| !facts::is_ours(name) && !config.tunnel.ignored_links.contains(name))
        .flat_map(|(_, link)| link.addresses.iter().map(|net| net.ip()))
        .filter(|address| !facts::is_private_to_host(*address))
        .filter(|address| !own.iter().any(|network| network.contains_address(*address)))
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// Tells addresses of private use (RFC 1918, RFC 6598, RFC 4193) from all others.
fn kind_of(address: IpAddr) -> CandidateKind {
    let is_private = match address {
        IpAddr::V4(v4) => {
            let [first, second, ..] = v4.octets();
            v4.is_private() || (first == 100 && (64..128).contains(&second))
        }
        IpAddr::V6(v6) => v6.is_unique_local(),
    };
    if is_private { CandidateKind::Private } else { CandidateKind::Public }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_private_use_are_told_from_public_ones() {
        for text in ["10.1.2.3", "192.168.1.1", "172.31.0.1", "100.64.0.1", "fd00::1"] {
            assert_eq!(kind_of(text.parse().unwrap()), CandidateKind::Private, "{text}");
        }
        for text in ["192.0.2.1", "100.128.0.1", "2001:db8::1"] {
            assert_eq!(kind_of(text.parse().unwrap()), CandidateKind::Public, "{text}");
        }
    }
}
