//! Owns `endpoints.json`: where lanes last worked, so that a host which boots again can call peers that
//! nobody else tells how to reach, as those behind NAT. No more than hints: WireGuard proves who answers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sealane_broker::store::{Store, StoreError};

use crate::spacing::Spacing;

/// The file's name.
const FILE: &str = "endpoints.json";
/// Least time between two writes: a peer behind NAT may move again and again.
const BETWEEN_WRITES: Duration = Duration::from_secs(5);

/// Addresses by the remote tunnel entry's public key, base64.
pub type Known = BTreeMap<String, SocketAddr>;

/// The file, and what it holds.
pub struct Endpoints {
    store: Store,
    known: Known,
    writes: Spacing,
}

impl Endpoints {
    /// Reads the file; one that is missing or damaged holds nothing.
    pub fn load(store: Store) -> Self {
        let read = store.load(FILE).ok().flatten();
        let known = read.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        Self { known, ..Self::none(store) }
    }

    /// Knows nothing.
    pub fn none(store: Store) -> Self {
        Self { store, known: Known::default(), writes: Spacing::of(BETWEEN_WRITES) }
    }

    /// Returns what the file holds.
    pub fn known(&self) -> &Known {
        &self.known
    }

    /// Has the file hold where the lanes that there are work or last did; one that is not written now
    /// is tried again by the next call.
    pub fn keep(&mut self, now: Instant, lanes: Known) {
        if lanes == self.known || !self.writes.grants(now) {
            return;
        }
        // Strings as keys and values always serialise.
        match self.store.save(FILE, &serde_json::to_vec(&lanes).unwrap_or_default()) {
            Ok(()) => self.known = lanes,
            Err(error) => tracing::debug!(%error, "where lanes work is not saved"),
        }
    }

    /// Removes the file.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be removed.
    pub fn remove(store: &Store) -> Result<(), StoreError> {
        store.remove(FILE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_worked_is_known_after_a_restart_and_a_damaged_file_is_as_none() {
        let place = tempfile::tempdir().unwrap();
        let store = Store::open(place.path()).unwrap();
        let begin = Instant::now();
        let mut endpoints = Endpoints::load(store.clone());
        let at = |port| Known::from([("key".to_owned(), SocketAddr::from(([192, 0, 2, 1], port)))]);
        endpoints.keep(begin, at(1));
        assert_eq!(Endpoints::load(store.clone()).known(), &at(1));
        endpoints.keep(begin + Duration::from_secs(1), at(2));
        assert_eq!(Endpoints::load(store.clone()).known(), &at(1), "too soon");
        endpoints.keep(begin + BETWEEN_WRITES, at(2));
        assert_eq!(Endpoints::load(store.clone()).known(), &at(2));
        store.save(FILE, b"{").unwrap();
        assert_eq!(Endpoints::load(store).known(), &Known::default());
    }
}
