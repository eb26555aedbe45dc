//! Owns WireGuard device and peer changes, and the order in which allowed IPs change hands.

use std::collections::{BTreeMap, BTreeSet};

use ipnetwork::IpNetwork;

use crate::change::Change;
use crate::host::HostState;
use crate::name::LinkName;
use crate::wireguard::{Device, Peer, PublicKey};

type Peers = BTreeMap<PublicKey, Peer>;

/// Returns the devices whose key, port or mark differs; the steps carry no peers.
///
/// A device that leaves a port comes before the one that takes it, since two cannot share one.
/// Devices that exchange ports in a ring come in the order of their names.
pub fn device_changes(want: &HostState, have: &HostState) -> Vec<Change> {
    let bare = |device: &Device| Device { peers: Peers::new(), ..device.clone() };
    let differs = |(name, device): &(&LinkName, &Device)| {
        have.devices.get(*name).is_none_or(|old| {
            (old.key, old.listen_port, old.mark) != (device.key, device.listen_port, device.mark)
        })
    };
    let holds =
        |name: &LinkName, port| have.devices.get(name).is_some_and(|d| d.listen_port == port);
    let mut waiting: Vec<_> = want.devices.iter().filter(differs).collect();
    let mut steps = Vec::new();
    while !waiting.is_empty() {
        let free = waiting.iter().position(|(name, device)| {
            !waiting.iter().any(|(other, _)| other != name && holds(other, device.listen_port))
        });
        let (name, device) = waiting.remove(free.unwrap_or(0));
        steps.push(Change::SetDevice(name.clone(), bare(device)));
    }
    steps
}

/// Returns the peers to add or bring to their configuration.
///
/// WireGuard moves an allowed IP to the peer that was given it last. So a peer that takes one comes
/// before the peer that loses it, and the prefix is never without owner. Where peers exchange
/// prefixes in a ring, one keeps what is still to be taken from it until it was taken.
pub fn additions(want: &HostState, have: &HostState) -> Vec<Change> {
    let none = Peers::new();
    let per_device = want.devices.iter().flat_map(|(name, device)| {
        let old = have.devices.get(name).map_or(&none, |device| &device.peers);
        Handover::new(&device.peers, old).steps(name)
    });
    per_device.collect()
}

/// Returns the peers to remove at once: those that leave a device which stays, and whose prefixes
/// nobody takes over.
///
/// Without its peer a device refuses what the routes send there and drops what comes from there, so
/// this needs nothing else to be in place first; and a revoked peer waits for nothing.
pub fn departures(want: &HostState, have: &HostState) -> Vec<Change> {
    leaving(want, have, |owed| !owed)
}

/// Returns the other peers to remove from devices that stay: those that hand a prefix over, which is
/// not to be without owner.
pub fn removals(want: &HostState, have: &HostState) -> Vec<Change> {
    leaving(want, have, |owed| owed)
}

fn leaving(want: &HostState, have: &HostState, is_asked: impl Fn(bool) -> bool) -> Vec<Change> {
    let mut steps = Vec::new();
    for (name, device) in &want.devices {
        let Some(old) = have.devices.get(name) else { continue };
        let wanted: BTreeSet<_> =
            device.peers.values().flat_map(|peer| &peer.allowed_ips).collect();
        for (key, peer) in old.peers.iter().filter(|(key, _)| !device.peers.contains_key(*key)) {
            if is_asked(peer.allowed_ips.iter().any(|net| wanted.contains(net))) {
                steps.push(Change::DeletePeer(name.clone(), *key));
            }
        }
    }
    steps
}

/// Allowed IPs of one device changing hands.
struct Handover<'a> {
    want: &'a Peers,
    have: &'a Peers,
    /// Wanted owners, of prefixes that somebody owns now.
    new_owner: BTreeMap<IpNetwork, PublicKey>,
}

impl<'a> Handover<'a> {
    fn new(want: &'a Peers, have: &'a Peers) -> Self {
        let owned: BTreeSet<_> = have.values().flat_map(|peer| &peer.allowed_ips).collect();
        let pairs = want.iter().flat_map(|(key, peer)| {
            let moving = peer.allowed_ips.iter().filter(|net| owned.contains(net));
            moving.map(move |net| (*net, *key))
        });
        Self { want, have, new_owner: pairs.collect() }
    }

    fn steps(&self, link: &LinkName) -> Vec<Change> {
        let mut waiting: Vec<PublicKey> = self.differing().collect();
        let mut done = BTreeSet::new();
        let mut trims = Vec::new();
        let mut steps = Vec::new();
        while !waiting.is_empty() {
            let free = waiting.iter().position(|key| self.still_owed(key, &done).is_empty());
            let key = waiting.remove(free.unwrap_or(0));
            let owed = self.still_owed(&key, &done);
            let mut peer = self.want[&key].clone();
            if !owed.is_empty() {
                trims.push(Change::PutPeer(link.clone(), key, peer.clone()));
                peer.allowed_ips.extend(owed);
            }
            steps.push(Change::PutPeer(link.clone(), key, peer));
            done.insert(key);
        }
        steps.extend(trims);
        steps
    }

    fn differing(&self) -> impl Iterator<Item = PublicKey> + '_ {
        let differs = |(key, peer): &(&PublicKey, &Peer)| {
            self.have.get(key).is_none_or(|old| !peer.is_met_by(old))
        };
        self.want.iter().filter(differs).map(|(key, _)| *key)
    }

    /// What `key` has that another peer is to get and has not got yet.
    fn still_owed(&self, key: &PublicKey, done: &BTreeSet<PublicKey>) -> BTreeSet<IpNetwork> {
        let held = self.have.get(key).into_iter().flat_map(|peer| &peer.allowed_ips);
        let owed = held.filter(|net| {
            self.new_owner.get(net).is_some_and(|owner| owner != key && !done.contains(owner))
        });
        owed.copied().collect()
    }
}
