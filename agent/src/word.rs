//! Owns what this gateway says of itself: networks as granted, addresses to be reached by. Does not
//! sign it.

use std::net::{IpAddr, SocketAddr};

use sealane_api::advertisement::{Candidate, CandidateKind};
use sealane_api::names::GatewayId;
use sealane_api::time::UnixTime;
use sealane_state::facts::Observation;
use serde_json::Value;

use crate::advertise::{self, AuthorError, MOST_CANDIDATES, Wish};
use crate::config::Config;
use crate::facts;
use crate::session::Session;

/// Returns what this gateway wants to say, given the host and the MTU of its lanes in bytes.
pub fn wish(session: &Session, config: &Config, seen: &Observation, mtu: u32) -> Wish {
    let (networks, _) = session.granted(config);
    let configured = config.tunnel.endpoints.iter().copied();
    let candidates = advertise::candidates(CandidateKind::Public, configured);
    let own = own_addresses(config, seen);
    let port = config.tunnel.listen_port;
    let sockets = |kind: CandidateKind| {
        own.iter()
            .filter(move |address| kind_of(**address) == kind)
            .map(move |address| SocketAddr::new(*address, port))
    };
    let found = [CandidateKind::Private, CandidateKind::Public]
        .map(|kind| advertise::candidates(kind, sockets(kind)));
    let candidates = fitting(candidates, found);
    let base = facts::own_slot(config);
    let (slot, second_slot) =
        session.rotation.as_ref().map_or((base, None), |rotation| rotation.slots(base));
    Wish {
        probe4: facts::probe4(config, &networks),
        networks,
        slot,
        second_slot,
        mtu: u16::try_from(mtu).unwrap_or(u16::MAX),
        candidates,
    }
}

/// Returns the name and `spec` to publish; `None` on a node without lanes.
///
/// # Errors
/// [`AuthorError`] when nothing could be signed.
pub fn advertise(
    session: &mut Session,
    wish: Wish,
    now: UnixTime,
) -> Result<Option<(GatewayId, Value)>, AuthorError> {
    let (Some(author), Some(keys)) = (&mut session.author, &session.keys) else {
        return Ok(None);
    };
    let spec = author.advertise(keys, session.membership.enrolment.as_ref(), wish, now)?;
    // Texts, integers and lists always serialise.
    Ok(serde_json::to_value(spec).ok().map(|spec| (session.own.clone(), spec)))
}

/// Returns names and `spec`s of the withdrawals that are due under names of the past.
///
/// # Errors
/// [`AuthorError`] when nothing could be signed.
pub fn farewells(
    session: &mut Session,
    now: UnixTime,
) -> Result<Vec<(GatewayId, Value)>, AuthorError> {
    let enrolment = session.membership.enrolment.as_ref();
    let words = match (&mut session.author, &session.keys, &mut session.retirement) {
        (Some(author), Some(keys), _) => author.farewells(keys, enrolment, now)?,
        (_, _, Some(it)) => it.author.farewells(&it.keys, enrolment, now)?,
        _ => Vec::new(),
    };
    let value = |(gateway, spec)| Some((gateway, serde_json::to_value(spec).ok()?));
    Ok(words.into_iter().filter_map(value).collect())
}

/// Returns names and `spec`s of all that a host which leaves has to withdraw; none on a node that has
/// never been a gateway.
///
/// # Errors
/// [`AuthorError`] when nothing could be signed.
pub fn withdraw(
    session: &mut Session,
    now: UnixTime,
) -> Result<Vec<(GatewayId, Value)>, AuthorError> {
    let mut words = farewells(session, now)?;
    if let (Some(author), Some(keys)) = (&mut session.author, &session.keys) {
        let spec = author.withdraw(keys, session.membership.enrolment.as_ref(), now)?;
        words.extend(serde_json::to_value(spec).ok().map(|spec| (author.gateway().clone(), spec)));
    }
    Ok(words)
}

/// Joins configured candidates with the private and public ones that were found, private first, and
/// no more than an advertisement takes: what is configured stays, the rest shares the room.
fn fitting(configured: Vec<Candidate>, found: [Vec<Candidate>; 2]) -> Vec<Candidate> {
    let [private, public] = found;
    let new = |it: &Candidate| !configured.contains(it);
    let mut public: Vec<Candidate> = public.into_iter().filter(new).collect();
    let mut private = private;
    let room = MOST_CANDIDATES.saturating_sub(configured.len());
    private.truncate(room - public.len().min(room / 2));
    public.truncate(room - private.len());
    private.into_iter().chain(configured).chain(public).take(MOST_CANDIDATES).collect()
}

/// Returns this host's addresses that another gateway might reach, in a stable order: none of our
/// own links, none inside our own networks, none on links that the configuration leaves out.
fn own_addresses(config: &Config, seen: &Observation) -> Vec<IpAddr> {
    let own: Vec<_> = facts::configured_networks(config).iter().copied().collect();
    let mut addresses: Vec<IpAddr> = seen
        .facts
        .links
        .iter()
        .filter(|(name, link)| !link.ours && !config.tunnel.ignored_links.contains(name))
        .flat_map(|(_, link)| link.addresses.iter().map(|net| net.ip()))
        .filter(|address| !facts::is_private_to_host(*address))
        .filter(|address| !own.iter().any(|network| network.contains_address(*address)))
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// Says whether this host has lost an address that others reached it by: its connections are dead then,
/// and take seconds to say so.
pub fn has_lost_address(config: &Config, before: &Observation, now: &Observation) -> bool {
    let now = own_addresses(config, now);
    own_addresses(config, before).iter().any(|address| !now.contains(address))
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

    fn candidates(kind: CandidateKind, count: u8) -> Vec<Candidate> {
        let third = if kind == CandidateKind::Private { 1 } else { 2 };
        let address = |last| SocketAddr::new(IpAddr::from([10, 0, third, last]), 51820);
        advertise::candidates(kind, (0..count).map(address))
    }

    #[test]
    fn what_is_configured_is_announced_however_many_addresses_a_host_has() {
        let configured =
            advertise::candidates(CandidateKind::Public, ["198.51.100.7:51820".parse().unwrap()]);
        for (private, public, shared) in
            [(2, 1, (2, 1)), (40, 1, (14, 1)), (1, 40, (1, 14)), (40, 40, (8, 7)), (0, 0, (0, 0))]
        {
            let found = [
                candidates(CandidateKind::Private, private),
                candidates(CandidateKind::Public, public),
            ];
            let all = fitting(configured.clone(), found);
            let kinds: Vec<_> = all.iter().map(|it| it.kind).collect();
            let mut private_first = kinds.clone();
            private_first.sort_by_key(|kind| *kind != CandidateKind::Private);
            assert_eq!(kinds, private_first);
            assert!(all.len() <= MOST_CANDIDATES);
            assert_eq!(all[shared.0], configured[0], "{private} and {public}");
            assert_eq!(all.len(), shared.0 + 1 + shared.1, "{private} and {public}");
        }
    }

    #[test]
    fn a_configured_address_that_the_host_has_is_announced_once() {
        let public = candidates(CandidateKind::Public, 1);
        assert_eq!(fitting(public.clone(), [Vec::new(), public.clone()]), public);
    }

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
