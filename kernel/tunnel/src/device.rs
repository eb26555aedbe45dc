//! Owns the device as it was configured: keys, port, mark, peers and their prefixes; and the table
//! built from them. `configure` changes it, `handshake` answers with it, `uapi_print` shows it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnetwork::IpNetwork;
use zeroize::Zeroizing;

use crate::backlog::Backlog;
use crate::endpoint::Outgoing;
use crate::gate::Gate;
use crate::key::{PresharedKey, PrivateKey, PublicKey};
use crate::lane::{Fate, Lane, Replaced};
use crate::noise::Identity;
use crate::peer::Peer;
use crate::seed::Seed;
use crate::table::Table;
use crate::uptime::Uptime;

/// Whether the link is up; a device that is down is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Timers run.
    Up,
    /// Nothing is sent on our own account.
    Down,
}

/// Our key and what follows from it.
pub(crate) struct Keyed {
    pub(crate) private: PrivateKey,
    pub(crate) identity: Identity,
    pub(crate) gate: Gate,
    pub(crate) before: Option<Predecessor>,
}

/// The key before ours, as long as sessions go on under it.
pub(crate) struct Predecessor {
    pub(crate) identity: Identity,
    pub(crate) gate: Gate,
    pub(crate) until: Uptime,
}

/// One configured peer.
pub(crate) struct Member {
    pub(crate) peer: Arc<Peer>,
    pub(crate) index: u32,
    /// That of the sessions with the pre-shared key before.
    pub(crate) fading_index: Option<u32>,
    pub(crate) psk: Option<PresharedKey>,
    pub(crate) allowed: BTreeSet<IpNetwork>,
    pub(crate) accepted: BTreeSet<IpNetwork>,
}

/// A WireGuard device without its sockets.
pub struct Device {
    pub(crate) keyed: Option<Keyed>,
    pub(crate) listen_port: u16,
    pub(crate) fwmark: u32,
    pub(crate) members: BTreeMap<PublicKey, Member>,
    pub(crate) owners: BTreeMap<IpNetwork, PublicKey>,
    pub(crate) indices: BTreeMap<u32, PublicKey>,
    pub(crate) seed: Seed,
    pub(crate) link: LinkState,
    pub(crate) backlog: Arc<Backlog>,
}

impl Device {
    /// A device without key and peers; `seed` is 32 bytes that nobody else knows.
    #[must_use]
    pub fn new(seed: Zeroizing<[u8; 32]>) -> Self {
        Self {
            keyed: None,
            listen_port: 0,
            fwmark: 0,
            members: BTreeMap::new(),
            owners: BTreeMap::new(),
            indices: BTreeMap::new(),
            seed: Seed::new(seed),
            link: LinkState::Down,
            backlog: Arc::default(),
        }
    }

    /// The port the sockets are bound to, as last told.
    #[must_use]
    pub const fn listen_port(&self) -> u16 {
        self.listen_port
    }

    /// Tells the device which port its sockets got.
    pub const fn set_listen_port(&mut self, port: u16) {
        self.listen_port = port;
    }

    /// The mark on what is sent; 0 is none.
    #[must_use]
    pub const fn fwmark(&self) -> u32 {
        self.fwmark
    }

    /// Tells how many handshake messages wait to be answered.
    pub fn note_queue(&mut self, waiting: usize, now: Uptime) {
        if let Some(keyed) = &mut self.keyed {
            keyed.gate.note_queue(waiting, now);
        }
    }

    /// The room for packets that wait for sessions.
    #[must_use]
    pub fn backlog(&self) -> &Backlog {
        &self.backlog
    }

    /// Whether the link is up.
    #[must_use]
    pub const fn link(&self) -> LinkState {
        self.link
    }

    /// Tells the device that the link went up or down.
    pub const fn set_link(&mut self, link: LinkState) {
        self.link = link;
    }

    /// Our public key, if there is a private one.
    #[must_use]
    pub fn public_key(&self) -> Option<PublicKey> {
        self.keyed.as_ref().map(|keyed| keyed.identity.public())
    }

    /// The picture of the peers for the data path.
    #[must_use]
    pub fn table(&self) -> Table {
        let mut table = Table::default();
        for member in self.members.values() {
            let slot = table.insert(Arc::clone(&member.peer), member.index);
            if let Some(index) = member.fading_index {
                table.insert_index(slot, index);
            }
            for prefix in &member.allowed {
                table.allow(slot, *prefix);
            }
            for prefix in &member.accepted {
                table.accept(slot, *prefix);
            }
        }
        table
    }

    /// Does what is due on every lane; pushes what to send.
    pub fn tick(&self, now: Uptime, out: &mut Vec<Outgoing>) {
        if self.link == LinkState::Down {
            return;
        }
        for member in self.members.values() {
            member.peer.lane().tick(now, out);
        }
    }

    /// A new peer without endpoint and prefixes.
    pub(crate) fn add_member(&mut self, key: PublicKey, now: Uptime) -> &mut Member {
        let index = self.take_index(key);
        let noise = self
            .keyed
            .as_ref()
            .and_then(|keyed| keyed.identity.noise(key, None, index, &self.backlog));
        let lane = Lane::new(noise, self.seed.fork(), now);
        self.members.entry(key).or_insert_with(|| Member {
            peer: Arc::new(Peer::new(key, lane)),
            index,
            fading_index: None,
            psk: None,
            allowed: BTreeSet::new(),
            accepted: BTreeSet::new(),
        })
    }

    pub(crate) fn remove_member(&mut self, key: &PublicKey) {
        if let Some(member) = self.members.remove(key) {
            self.indices.remove(&member.index);
            member.fading_index.map(|index| self.indices.remove(&index));
            for prefix in &member.allowed {
                self.owners.remove(prefix);
            }
        }
    }

    /// Forgets the private key before ours when its time is up, or no session goes on under it.
    pub fn forget_predecessor(&mut self, now: Uptime) {
        let Some(keyed) = &mut self.keyed else { return };
        let is_over = keyed.before.as_ref().is_some_and(|before| before.until <= now);
        let in_use = || self.members.values().any(|member| member.peer.lane().has_old());
        if keyed.before.is_some() && (is_over || !in_use()) {
            keyed.before = None;
            self.members.values().for_each(|member| member.peer.lane().forget_old());
        }
    }

    /// Gives a peer fresh Noise state under a fresh index, after our private key changed.
    pub(crate) fn rekey_member(&mut self, key: PublicKey, now: Uptime) {
        let index = self.take_index(key);
        let Some(member) = self.members.get_mut(&key) else { return };
        self.indices.remove(&member.index);
        member.fading_index.take().map(|index| self.indices.remove(&index));
        member.index = index;
        let noise = self
            .keyed
            .as_ref()
            .and_then(|keyed| keyed.identity.noise(key, member.psk.as_ref(), index, &self.backlog));
        member.peer.lane().rekey(noise, now);
    }

    /// Changes a peer's pre-shared key; the session there is goes on until there is a new one.
    pub(crate) fn set_preshared_key(
        &mut self,
        key: PublicKey,
        psk: Option<PresharedKey>,
        now: Uptime,
    ) {
        if self.members.get(&key).is_none_or(|member| member.psk == psk) {
            return;
        }
        if let Some(member) = self.members.get_mut(&key) {
            member.psk = psk;
        }
        self.succeed_member(key, Fate::RunsOut, now);
    }

    /// Gives a peer fresh Noise state under a fresh index; the session there is goes on until there is
    /// a new one.
    pub(crate) fn succeed_member(&mut self, key: PublicKey, fate: Fate, now: Uptime) {
        let index = self.take_index(key);
        let Some(member) = self.members.get_mut(&key) else { return };
        let before = std::mem::replace(&mut member.index, index);
        let noise = self
            .keyed
            .as_ref()
            .and_then(|keyed| keyed.identity.noise(key, member.psk.as_ref(), index, &self.backlog));
        let freed = match member.peer.lane().succeed(noise, fate, now) {
            Replaced::Fading => member.fading_index.replace(before),
            Replaced::Unused => Some(before),
        };
        freed.map(|index| self.indices.remove(&index));
    }

    /// Takes an unpredictable 24-bit index that no peer has.
    fn take_index(&mut self, key: PublicKey) -> u32 {
        loop {
            let index = self.seed.number() >> 8;
            if let Entry::Vacant(free) = self.indices.entry(index) {
                free.insert(key);
                return index;
            }
        }
    }
}
