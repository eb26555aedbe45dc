//! Owns carrying out changes: consecutive ones of a kind together, in the order given. Does not own
//! the order, nor how each part of the host is written.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::discriminant;

use nix::errno::Errno;
use sealane_state::change::Change;
use sealane_state::link::{Backend, Link, LinkKind};
use sealane_state::name::LinkName;
use sealane_state::sysctl::SysctlKey;
use sealane_state::wireguard::{Device, Peer, PublicKey};

use crate::host::Host;
use crate::keyring::Keyring;
use crate::netlink::channel::Write;
use crate::netlink::links::{self, Driver, LinkTable};
use crate::netlink::refusal::Refusal;
use crate::netlink::{addresses, neighbours, own_links, routes, rules, snapshot};
use crate::outcome::{Fault, Outcome};
use crate::side_effects;
use crate::sysctl::Restored;
use crate::wireguard::WireguardError;

/// What a device shows that has no private key.
const NO_KEY: PublicKey = PublicKey([0; 32]);

/// One run through a list of changes.
pub(crate) struct Performer<'a> {
    host: &'a mut Host,
    keyring: &'a dyn Keyring,
    outcome: Outcome,
}

impl<'a> Performer<'a> {
    pub(crate) fn new(host: &'a mut Host, keyring: &'a dyn Keyring) -> Self {
        Self { host, keyring, outcome: Outcome::default() }
    }

    pub(crate) fn perform(mut self, changes: &[Change]) -> Outcome {
        for run in changes.chunk_by(|a, b| discriminant(a) == discriminant(b)) {
            match run {
                [Change::PutRoute(..), ..] => self.put_routes(run),
                [Change::DeleteRoute(_), ..] => self.delete_routes(run),
                [Change::PutPeer(..), ..] => self.put_peers(run),
                [Change::DeletePeer(..), ..] => self.delete_peers(run),
                [Change::AddAddress(_) | Change::DeleteAddress(_), ..]
                | [Change::PutNeighbour(_) | Change::DeleteNeighbour(_), ..]
                | [Change::PutFdb(_) | Change::DeleteFdb(_), ..] => self.write_all(run),
                _ => run.iter().for_each(|change| self.do_one(change)),
            }
        }
        self.outcome
    }

    fn do_one(&mut self, change: &Change) {
        let result = match change {
            Change::SetSysctl(key, value) => self.set(key, value),
            Change::RestoreSysctl(key) => self.restore(key),
            Change::AddLink(name, link) => self.add_link(name, link),
            Change::SetLink(name, link) => {
                own_links::set(&mut self.host.channel, name, link).map_err(Fault::from)
            }
            Change::DeleteLink(name) => self.delete_link(name),
            Change::SetDevice(name, device) => self.set_device(name, device),
            Change::AddRule(rule) => rules::add(&mut self.host.channel, rule).map_err(Fault::from),
            Change::DeleteRule(rule) => {
                rules::delete(&mut self.host.channel, rule).map_err(Fault::from)
            }
            Change::ReplaceFilter(table) => self.host.nft.apply(Some(table)).map_err(Fault::from),
            Change::DeleteFilter => self.host.nft.apply(None).map_err(Fault::from),
            // The other kinds come in runs; `perform` never gives them here.
            _ => Err(Fault::from(Refusal::because(Errno::EINVAL, "not a change made by itself"))),
        };
        self.outcome.record(change, result);
    }

    /// What is reached by a link's name alone may belong to a foreign link of that name.
    fn insist_on_own(&mut self, link: &LinkName) -> Result<(), Refusal> {
        LinkTable::read(&mut self.host.channel)?.own_index(link).map(drop)
    }

    fn set(&mut self, key: &SysctlKey, value: &str) -> Result<(), Fault> {
        if let Some(link) = key.link() {
            self.insist_on_own(&link)?;
        }
        let links = if side_effects::ends_ra(key) {
            snapshot::ra_links(&mut self.host.channel)?
        } else {
            BTreeSet::new()
        };
        Ok(self.host.ledger.set_keeping_routers(key, value, &links)?)
    }

    fn restore(&mut self, key: &SysctlKey) -> Result<(), Fault> {
        let own = key.link().map_or(Ok(()), |link| self.insist_on_own(&link));
        match own {
            // The former value went with our link; what is there now is another link's.
            Err(refusal) if refusal.errno == Errno::EEXIST => self.host.ledger.forget(key)?,
            Err(refusal) if refusal.errno != Errno::ENODEV => return Err(refusal.into()),
            _ => {
                if let Restored::ChangedSince { present } = self.host.ledger.restore(key)? {
                    tracing::info!(%key, present, "setting changed by another hand since, left as it is");
                }
            }
        }
        Ok(())
    }

    fn set_device(&mut self, name: &LinkName, device: &Device) -> Result<(), Fault> {
        self.insist_on_own(name)?;
        Ok(self.host.devices.set_device(name, device, self.keyring)?)
    }

    fn add_link(&mut self, name: &LinkName, link: &Link) -> Result<(), Fault> {
        let channel = &mut self.host.channel;
        if link.kind != LinkKind::WireGuard(Backend::Userspace) {
            return Ok(own_links::add(channel, name, link)?);
        }
        let present = LinkTable::read(channel)?.named(name).cloned();
        let tunnels = self.host.devices.tunnels();
        match &present {
            Some(present) if !present.ours => {
                own_links::refuse_foreign(present)?;
                if !tunnels.may_stand_behind(name) {
                    return Err(links::not_ours(name).into());
                }
            }
            _ => {}
        }
        tunnels.start(name, link.mtu)?;
        if present.is_none_or(|present| !present.ours) && !self.is_own_tunnel(name)? {
            return Err(links::not_ours(name).into());
        }
        Ok(own_links::take_over_tun(&mut self.host.channel, name, link)?)
    }

    /// A tunnel that nobody marked yet is fresh, or one of ours that lost its mark; another hand's
    /// has a key that is not ours.
    fn is_own_tunnel(&self, name: &LinkName) -> Result<bool, WireguardError> {
        let (device, _) = self.host.devices.observe(name)?;
        Ok(device.key == NO_KEY || self.keyring.private_key(&device.key).is_some())
    }

    fn delete_link(&mut self, name: &LinkName) -> Result<(), Fault> {
        let table = LinkTable::read(&mut self.host.channel)?;
        let seen = table.named(name);
        if seen.is_some_and(|link| link.ours && matches!(link.driver, Driver::Tun)) {
            self.host.devices.tunnels().stop(name)?;
        }
        Ok(own_links::delete(&mut self.host.channel, name)?)
    }

    fn put_routes(&mut self, run: &[Change]) {
        let routes: Vec<_> = run
            .iter()
            .filter_map(|change| match change {
                Change::PutRoute(key, route) => Some((*key, route)),
                _ => None,
            })
            .collect();
        let results = match LinkTable::read(&mut self.host.channel) {
            Ok(links) => routes::put(&mut self.host.channel, &links, &routes),
            Err(refusal) => vec![Err(refusal); run.len()],
        };
        self.record(run, results);
    }

    fn delete_routes(&mut self, run: &[Change]) {
        let keys: Vec<_> = run
            .iter()
            .filter_map(|change| match change {
                Change::DeleteRoute(key) => Some(*key),
                _ => None,
            })
            .collect();
        let results = routes::delete(&mut self.host.channel, &keys);
        self.record(run, results);
    }

    /// Peers of one device go out together, as long as none comes twice: the second time it waits
    /// for what others were given in between.
    fn put_peers(&mut self, run: &[Change]) {
        let mut batch = BTreeMap::new();
        let mut start = 0;
        for (place, change) in run.iter().enumerate() {
            let Change::PutPeer(name, key, peer) = change else { continue };
            let same_device = matches!(&run[start], Change::PutPeer(first, ..) if first == name);
            if !same_device || batch.contains_key(key) {
                self.put_batch(&run[start..place], &batch);
                batch.clear();
                start = place;
            }
            batch.insert(*key, peer.clone());
        }
        self.put_batch(&run[start..], &batch);
    }

    fn put_batch(&mut self, run: &[Change], batch: &BTreeMap<PublicKey, Peer>) {
        let Some(Change::PutPeer(name, ..)) = run.first() else { return };
        let put = self
            .insist_on_own(name)
            .map_err(Fault::from)
            .and_then(|()| Ok(self.host.devices.put_peers(name, batch, self.keyring)?));
        let (mut refused, broken) = match put {
            Ok(refused) => (refused, None),
            Err(fault) => (BTreeMap::new(), Some(fault)),
        };
        for change in run {
            let Change::PutPeer(_, key, _) = change else { continue };
            let own = refused.remove(key).map(Fault::from);
            let result = own.or_else(|| broken.clone()).map_or(Ok(()), Err);
            self.outcome.record(change, result);
        }
    }

    /// Peers of one device go in one request.
    fn delete_peers(&mut self, run: &[Change]) {
        for (name, batch) in leaving(run) {
            let deleted = self
                .insist_on_own(name)
                .map_err(Fault::from)
                .and_then(|()| Ok(self.host.devices.delete_peers(name, &keys(batch))?));
            batch.iter().for_each(|change| self.outcome.record(change, deleted.clone()));
        }
    }

    /// Addresses, neighbours and forwarding entries: one request each, all on their way at once.
    fn write_all(&mut self, run: &[Change]) {
        let links = match LinkTable::read(&mut self.host.channel) {
            Ok(links) => links,
            Err(refusal) => return self.record(run, vec![Err(refusal); run.len()]),
        };
        let requests = run.iter().map(|change| request(change, &links)).collect();
        let results = self.host.channel.write_sound(requests);
        self.record(run, results);
    }

    /// Taking away what is gone already is no failure.
    fn record(&mut self, run: &[Change], results: Vec<Result<(), Refusal>>) {
        for (change, result) in run.iter().zip(results) {
            let result = match result {
                Err(refusal) if takes_away(change) && is_gone(refusal.errno) => Ok(()),
                other => other,
            };
            self.outcome.record(change, result.map_err(Fault::from));
        }
    }
}

/// Splits a run of deletions by device.
fn leaving(run: &[Change]) -> impl Iterator<Item = (&LinkName, &[Change])> {
    let is_same = |pair: (&Change, &Change)| matches!(pair, (Change::DeletePeer(a, _), Change::DeletePeer(b, _)) if a == b);
    run.chunk_by(move |a, b| is_same((a, b))).filter_map(move |batch| match batch.first() {
        Some(Change::DeletePeer(name, _)) => Some((name, batch)),
        _ => None,
    })
}

fn keys(batch: &[Change]) -> BTreeSet<PublicKey> {
    let key = |change: &Change| match change {
        Change::DeletePeer(_, key) => Some(*key),
        _ => None,
    };
    batch.iter().filter_map(key).collect()
}

fn takes_away(change: &Change) -> bool {
    matches!(
        change,
        Change::DeleteAddress(_)
            | Change::DeleteNeighbour(_)
            | Change::DeleteFdb(_)
            | Change::DeleteRoute(_)
    )
}

fn is_gone(errno: Errno) -> bool {
    matches!(errno, Errno::EADDRNOTAVAIL | Errno::ENODEV | Errno::ENOENT | Errno::ESRCH)
}

fn request(change: &Change, links: &LinkTable) -> Result<Write, Refusal> {
    match change {
        Change::AddAddress(address) => addresses::add(address, links),
        Change::DeleteAddress(address) => addresses::delete(address, links),
        Change::PutNeighbour(neighbour) => neighbours::put(neighbour, links),
        Change::DeleteNeighbour(neighbour) => neighbours::delete(neighbour, links),
        Change::PutFdb(entry) => neighbours::put_fdb(entry, links),
        Change::DeleteFdb(entry) => neighbours::delete_fdb(entry, links),
        other => Err(Refusal::because(Errno::EINVAL, format!("not written by itself: {other}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_peers_leave_a_device_in_one_request() {
        let gone = |link: &str, number: u16| {
            let mut key = [0; 32];
            key[..2].copy_from_slice(&number.to_be_bytes());
            Change::DeletePeer(link.parse().unwrap(), PublicKey(key))
        };
        let first = (0..1000).map(|number| gone("sealane0", number));
        let run: Vec<Change> = first.chain([gone("sealane1", 1)]).collect();
        let requests: Vec<(String, usize)> =
            leaving(&run).map(|(link, batch)| (link.to_string(), keys(batch).len())).collect();
        assert_eq!(requests, [("sealane0".to_owned(), 1000), ("sealane1".to_owned(), 1)]);
    }
}
