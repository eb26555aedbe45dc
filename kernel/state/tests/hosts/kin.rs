//! Owns pairs of random hosts that have much in common: two drawn apart seldom share a peer, and
//! what must survive a change is what both have. Does not own what hosts are made of.

use sealane_state::host::HostState;
use sealane_state::wireguard::{Device, Peer};

/// Decides, over and over, whether the next part is to be the same on both hosts.
pub(super) struct Dice {
    throws: Vec<u8>,
    next: usize,
}

impl Dice {
    pub(super) fn new(throws: Vec<u8>) -> Self {
        Self { throws, next: 0 }
    }

    fn alike(&mut self) -> bool {
        let throw = self.throws[self.next % self.throws.len()];
        self.next += 1;
        throw > 0
    }

    fn share<T: Clone>(&mut self, from: &T, to: &mut T) {
        if self.alike() {
            to.clone_from(from);
        }
    }
}

/// Gives `host` parts of `other`: whole objects, and of devices and peers also single fields.
pub(super) fn resemble(host: &mut HostState, other: &HostState, dice: &mut Dice) {
    for (name, link) in other.links.iter().filter(|_| dice.alike()) {
        host.links.insert(name.clone(), link.clone());
    }
    for (name, device) in &other.devices {
        match host.devices.get_mut(name) {
            Some(own) => resemble_device(own, device, dice),
            None => drop(host.devices.insert(name.clone(), device.clone())),
        }
    }
    host.addresses.extend(other.addresses.iter().filter(|_| dice.alike()).cloned());
    host.neighbours.extend(other.neighbours.iter().filter(|_| dice.alike()).cloned());
    host.fdb.extend(other.fdb.iter().filter(|_| dice.alike()).cloned());
    for (key, route) in other.routes.iter().filter(|_| dice.alike()) {
        host.routes.insert(*key, route.clone());
    }
    host.rules.extend(other.rules.iter().filter(|_| dice.alike()).cloned());
    host.sysctls.extend(other.sysctls.clone().into_iter().filter(|_| dice.alike()));
    dice.share(&other.filter, &mut host.filter);
}

fn resemble_device(own: &mut Device, other: &Device, dice: &mut Dice) {
    dice.share(&other.key, &mut own.key);
    dice.share(&other.listen_port, &mut own.listen_port);
    for (key, peer) in other.peers.iter() {
        match own.peers.get_mut(key) {
            Some(own) => resemble_peer(own, peer, dice),
            None if dice.alike() => drop(own.peers.insert(*key, peer.clone())),
            None => {}
        }
    }
}

fn resemble_peer(own: &mut Peer, other: &Peer, dice: &mut Dice) {
    dice.share(&other.psk, &mut own.psk);
    dice.share(&other.endpoint, &mut own.endpoint);
    dice.share(&other.keepalive, &mut own.keepalive);
    dice.share(&other.allowed_ips, &mut own.allowed_ips);
    dice.share(&other.accepted_sources, &mut own.accepted_sources);
}
