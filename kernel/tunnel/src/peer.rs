//! Owns one peer as the data path shares it: its key and its lane behind one lock. Owns no
//! configuration (`device`) and no prefixes (`table`).

use parking_lot::{Mutex, MutexGuard};

use crate::key::PublicKey;
use crate::lane::Lane;

/// A peer; threads take its lane once for a batch of packets.
pub struct Peer {
    key: PublicKey,
    lane: Mutex<Lane>,
}

impl Peer {
    /// A peer with its lane.
    #[must_use]
    pub const fn new(key: PublicKey, lane: Lane) -> Self {
        Self { key, lane: Mutex::new(lane) }
    }

    /// The peer's public key.
    #[must_use]
    pub const fn key(&self) -> PublicKey {
        self.key
    }

    /// The lane, for as long as the guard lives.
    pub fn lane(&self) -> MutexGuard<'_, Lane> {
        self.lane.lock()
    }
}
