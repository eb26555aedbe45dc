//! Owns who is served inside lanes and legs, and how many at once. Does not own what is told, nor the
//! bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use sealane_api::gossip::telling::Telling;

/// Connections of any kind that one address may have, and all together.
const SEATS: Limit = Limit { of_peer: 4, of_all: 64 };
/// Pulls of one peer that are answered, and of all together.
const PULLS: Limit = Limit { of_peer: 2, of_all: 8 };

/// The place where peers ask. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub struct Desk {
    shown: Arc<RwLock<Shown>>,
    seats: Arc<Mutex<Counts>>,
    pulls: Arc<Mutex<Counts>>,
}

#[derive(Default)]
struct Shown {
    telling: Arc<Telling>,
    peers: BTreeSet<IpAddr>,
}

#[derive(Clone, Copy)]
struct Limit {
    of_peer: usize,
    of_all: usize,
}

#[derive(Default)]
struct Counts {
    all: usize,
    of: BTreeMap<IpAddr, usize>,
}

/// A place taken by a peer; free again when dropped.
pub struct Taken {
    counts: Arc<Mutex<Counts>>,
    peer: IpAddr,
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut counts = locked(&self.counts);
        counts.all = counts.all.saturating_sub(1);
        if let Some(of) = counts.of.get_mut(&self.peer) {
            *of -= 1;
            if *of == 0 {
                counts.of.remove(&self.peer);
            }
        }
    }
}

impl Desk {
    /// Shows what is told from now on.
    pub fn show(&self, telling: Arc<Telling>) {
        self.shown.write().unwrap_or_else(PoisonError::into_inner).telling = telling;
    }

    /// Takes whom to serve: peers and nodes of ours, by their addresses inside lanes and legs.
    pub fn serve(&self, peers: &BTreeSet<IpAddr>) {
        let mut shown = self.shown.write().unwrap_or_else(PoisonError::into_inner);
        if shown.peers != *peers {
            shown.peers.clone_from(peers);
        }
    }

    /// Returns what is told now.
    pub fn telling(&self) -> Arc<Telling> {
        self.shown.read().unwrap_or_else(PoisonError::into_inner).telling.clone()
    }

    /// Takes a connection; `None` for strangers, and when there are too many.
    pub fn seat(&self, from: IpAddr) -> Option<Taken> {
        let shown = self.shown.read().unwrap_or_else(PoisonError::into_inner);
        shown.peers.contains(&from).then(|| take(&self.seats, from, SEATS)).flatten()
    }

    /// Takes a pull; `None` when that peer or all together have enough.
    pub fn pull(&self, from: IpAddr) -> Option<Taken> {
        take(&self.pulls, from, PULLS)
    }
}

fn take(counts: &Arc<Mutex<Counts>>, peer: IpAddr, limit: Limit) -> Option<Taken> {
    let mut held = locked(counts);
    let of_peer = held.of.get(&peer).copied().unwrap_or(0);
    if of_peer >= limit.of_peer || held.all >= limit.of_all {
        return None;
    }
    held.all += 1;
    held.of.insert(peer, of_peer + 1);
    drop(held);
    Some(Taken { counts: counts.clone(), peer })
}

/// Counts are whole at any time, also when a holder of the lock panicked.
fn locked(counts: &Mutex<Counts>) -> MutexGuard<'_, Counts> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn a_stranger_has_no_seat_and_a_peer_four() {
        let desk = Desk::default();
        assert!(desk.seat(address(1)).is_none());
        desk.serve(&[address(1)].into());
        let seats: Vec<_> = (0..4).map_while(|_| desk.seat(address(1))).collect();
        assert_eq!(seats.len(), 4);
        assert!(desk.seat(address(1)).is_none());
        drop(seats);
        assert!(desk.seat(address(1)).is_some());
    }

    #[test]
    fn two_pulls_of_one_peer_and_eight_of_all_are_answered() {
        let desk = Desk::default();
        let two: Vec<_> = (0..3).map_while(|_| desk.pull(address(1))).collect();
        assert_eq!(two.len(), 2);
        let others: Vec<_> = (2..20).map_while(|last| desk.pull(address(last))).collect();
        assert_eq!(others.len(), 6);
        drop(two);
        assert!(desk.pull(address(30)).is_some());
    }
}
