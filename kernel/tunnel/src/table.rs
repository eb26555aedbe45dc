//! Owns the picture of the peers that the data path reads: who owns a destination, whose index a
//! message carries, and who may send a source. Never changes once built; `device` builds the next.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use prefix_trie::{PrefixMap, PrefixSet};

use crate::peer::Peer;

/// A peer's place in one [`Table`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot(usize);

/// Peers, and how packets find them.
#[derive(Default)]
pub struct Table {
    peers: Vec<Arc<Peer>>,
    slots: BTreeMap<u32, Slot>,
    owners_v4: PrefixMap<Ipv4Network, Slot>,
    owners_v6: PrefixMap<Ipv6Network, Slot>,
    accepted: BTreeMap<Slot, Accepted>,
}

#[derive(Default)]
struct Accepted {
    v4: PrefixSet<Ipv4Network>,
    v6: PrefixSet<Ipv6Network>,
}

impl Table {
    /// Adds a peer under its 24-bit index.
    pub fn insert(&mut self, peer: Arc<Peer>, index: u32) -> Slot {
        let slot = Slot(self.peers.len());
        self.peers.push(peer);
        self.slots.insert(index, slot);
        slot
    }

    /// Adds a further 24-bit index of a peer.
    pub fn insert_index(&mut self, slot: Slot, index: u32) {
        self.slots.insert(index, slot);
    }

    /// Makes a peer the owner of a prefix, both ways.
    pub fn allow(&mut self, slot: Slot, prefix: IpNetwork) {
        match prefix {
            IpNetwork::V4(prefix) => drop(self.owners_v4.insert(prefix, slot)),
            IpNetwork::V6(prefix) => drop(self.owners_v6.insert(prefix, slot)),
        }
    }

    /// Lets a peer send from a prefix that others may own.
    pub fn accept(&mut self, slot: Slot, prefix: IpNetwork) {
        let accepted = self.accepted.entry(slot).or_default();
        match prefix {
            IpNetwork::V4(prefix) => drop(accepted.v4.insert(prefix)),
            IpNetwork::V6(prefix) => drop(accepted.v6.insert(prefix)),
        }
    }

    /// All peers.
    pub fn peers(&self) -> impl Iterator<Item = &Arc<Peer>> {
        self.peers.iter()
    }

    /// The peer at a slot of this table.
    #[must_use]
    pub fn peer(&self, slot: Slot) -> Option<&Arc<Peer>> {
        self.peers.get(slot.0)
    }

    /// The owner of the most specific allowed prefix around an address.
    #[must_use]
    pub fn owner(&self, address: IpAddr) -> Option<Slot> {
        match address {
            IpAddr::V4(address) => {
                self.owners_v4.get_lpm(&Ipv4Network::from(address)).map(|(_, slot)| *slot)
            }
            IpAddr::V6(address) => {
                self.owners_v6.get_lpm(&Ipv6Network::from(address)).map(|(_, slot)| *slot)
            }
        }
    }

    /// The peer that a message's receiver index belongs to: the upper 24 bits of it.
    #[must_use]
    pub fn by_receiver(&self, receiver: u32) -> Option<Slot> {
        self.slots.get(&(receiver >> 8)).copied()
    }

    /// Whether a peer may send from an address: it owns the most specific prefix around it, or the
    /// address is in its accept set.
    #[must_use]
    pub fn may_send(&self, slot: Slot, source: IpAddr) -> bool {
        self.owner(source) == Some(slot)
            || self.accepted.get(&slot).is_some_and(|accepted| match source {
                IpAddr::V4(source) => accepted.v4.get_lpm(&Ipv4Network::from(source)).is_some(),
                IpAddr::V6(source) => accepted.v6.get_lpm(&Ipv6Network::from(source)).is_some(),
            })
    }
}
