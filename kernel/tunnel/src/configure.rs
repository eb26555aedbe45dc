//! Owns the application of a parsed UAPI `set` to a device. Owns neither its text (`uapi`) nor the
//! sockets: a new port is bound by the caller first, and told with `set_listen_port`.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnetwork::IpNetwork;

use crate::device::{Device, Keyed, LinkState, Predecessor};
use crate::endpoint::{Endpoint, Outgoing};
use crate::gate::Gate;
use crate::key::{PrivateKey, PublicKey};
use crate::lane::Fate;
use crate::noise::Identity;
use crate::uapi::{PrefixChange, SetDevice, SetPeer, Succession};
use crate::uptime::Uptime;

/// Whoever has not heard of a new key by then is not waited for any more.
const LONGEST_SUCCESSION: Duration = Duration::from_secs(24 * 60 * 60);

impl Device {
    /// Applies everything but the port; pushes the keepalives that a new interval asks for. The
    /// caller publishes [`Device::table`] afterwards and sets the mark on its sockets.
    pub fn configure(&mut self, change: SetDevice, now: Uptime, out: &mut Vec<Outgoing>) {
        if let Some(key) = change.private_key {
            self.set_private_key(key, change.succession, now);
        }
        if let Some(mark) = change.fwmark {
            self.fwmark = mark;
            self.forget_local_addresses();
        }
        if change.replace_peers {
            let keys: Vec<PublicKey> = self.members.keys().copied().collect();
            keys.iter().for_each(|key| self.remove_member(key));
        }
        for peer in change.peers {
            self.configure_peer(peer, now, out);
        }
    }

    /// Lets the kernel choose source addresses again, on every lane.
    pub fn forget_local_addresses(&self) {
        for member in self.members.values() {
            member.peer.lane().forget_local();
        }
    }

    /// Has every lane answer from another local address than one that `leads` says is no longer on the
    /// way to its peer.
    pub fn review_local_addresses(&self, leads: impl Fn(SocketAddr, IpAddr) -> bool) {
        for member in self.members.values() {
            // The lane is not held meanwhile: packets wait for it.
            let question = member.peer.lane().local_in_question();
            let Some((remote, local)) = question else { continue };
            if leads(remote, local) {
                member.peer.lane().found_on_the_way(local);
            } else {
                member.peer.lane().found_astray(local);
            }
        }
    }

    fn set_private_key(&mut self, key: Option<PrivateKey>, succession: Succession, now: Uptime) {
        if self.keyed.as_ref().map(|keyed| &keyed.private) == key.as_ref() {
            return;
        }
        let before = self.keyed.take().filter(|_| succession == Succession::Smooth);
        let before = before.map(|Keyed { identity, gate, .. }| Predecessor {
            identity,
            gate,
            until: now.after(LONGEST_SUCCESSION),
        });
        let is_smooth = before.is_some();
        self.keyed = key.map(|private| {
            let identity = Identity::new(&private);
            let gate = Gate::new(identity.public(), self.seed.fork(), now);
            Keyed { private, identity, gate, before }
        });
        if let Some(own) = self.public_key() {
            self.remove_member(&own);
        }
        let keys: Vec<PublicKey> = self.members.keys().copied().collect();
        for key in keys {
            if is_smooth {
                self.succeed_member(key, Fate::IsRenewed, now);
            } else {
                self.rekey_member(key, now);
            }
        }
    }

    fn configure_peer(&mut self, change: SetPeer, now: Uptime, out: &mut Vec<Outgoing>) {
        let key = change.public_key;
        if change.remove {
            return self.remove_member(&key);
        }
        if self.public_key() == Some(key) {
            return;
        }
        if !self.members.contains_key(&key) {
            if change.update_only {
                return;
            }
            self.add_member(key, now);
        }
        if let Some(psk) = change.preshared_key {
            self.set_preshared_key(key, psk, now);
        }
        self.change_prefixes(key, change.replace_allowed_ips, &change.allowed_ips);
        self.change_accepted(key, change.replace_accept_ips, &change.accept_ips);
        let Some(member) = self.members.get(&key) else { return };
        let mut lane = member.peer.lane();
        if let Some(remote) = change.endpoint {
            let moved = lane.endpoint().is_some_and(|held| held.remote != remote);
            lane.set_endpoint(Endpoint::configured(remote));
            // Whoever tries one address after the other wants to hear of each at once, and not when
            // the answer to the last one has not come for five seconds.
            if moved && self.link == LinkState::Up && !lane.has_session(now) {
                out.extend(lane.reinitiate(now));
            }
        }
        if let Some(seconds) = change.keepalive {
            let was_off = lane.keepalive() == 0;
            lane.set_keepalive(seconds);
            if was_off && seconds > 0 && self.link == LinkState::Up {
                lane.keep_alive(now, out);
            }
        }
    }

    fn change_prefixes(&mut self, key: PublicKey, replace: bool, changes: &[PrefixChange]) {
        if replace && let Some(member) = self.members.get_mut(&key) {
            for prefix in std::mem::take(&mut member.allowed) {
                self.owners.remove(&prefix);
            }
        }
        for change in changes {
            match *change {
                PrefixChange::Add(prefix) => self.own(key, prefix),
                PrefixChange::Remove(prefix) => {
                    if self.owners.get(&prefix) == Some(&key) {
                        self.disown(prefix);
                    }
                }
            }
        }
    }

    fn change_accepted(&mut self, key: PublicKey, replace: bool, changes: &[PrefixChange]) {
        let Some(member) = self.members.get_mut(&key) else { return };
        if replace {
            member.accepted.clear();
        }
        for change in changes {
            match change {
                PrefixChange::Add(prefix) => member.accepted.insert(*prefix),
                PrefixChange::Remove(prefix) => member.accepted.remove(prefix),
            };
        }
    }

    /// A prefix has one owner: the last peer it was given to.
    fn own(&mut self, key: PublicKey, prefix: IpNetwork) {
        self.disown(prefix);
        self.owners.insert(prefix, key);
        if let Some(member) = self.members.get_mut(&key) {
            member.allowed.insert(prefix);
        }
    }

    fn disown(&mut self, prefix: IpNetwork) {
        if let Some(owner) = self.owners.remove(&prefix)
            && let Some(member) = self.members.get_mut(&owner)
        {
            member.allowed.remove(&prefix);
        }
    }
}
