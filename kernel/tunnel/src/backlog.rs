//! Owns the room for packets that wait for sessions: one budget for all peers of a device, and who
//! may have how much of it. Does not own the packets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Bytes of packets that may wait in one device, over all peers.
pub const BACKLOG_BYTES: usize = 4 << 20;
/// Packets that may wait in one peer; as many as boringtun keeps.
pub const PEER_PACKETS: usize = 256;
/// Kept for first packets: of a peer that has not waited yet one always finds room, be it a SYN.
const RESERVED_BYTES: usize = BACKLOG_BYTES / 2;
/// Beside its first packet a peer may have this part of what is free of the rest: the more peers wait,
/// the less each gets (dynamic thresholds; Choudhury and Hahne, 1998).
const SHARE: usize = 8;

/// The budget of a device.
#[derive(Debug, Default)]
pub struct Backlog {
    bytes: AtomicUsize,
    dropped: AtomicU64,
}

impl Backlog {
    /// Bytes of packets that wait now.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Packets dropped so far because others were waiting already.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// What one peer has of the budget; gives it back when dropped.
#[derive(Debug)]
pub struct Waiting {
    backlog: Arc<Backlog>,
    packets: usize,
    bytes: usize,
}

impl Waiting {
    /// Nothing yet.
    #[must_use]
    pub const fn new(backlog: Arc<Backlog>) -> Self {
        Self { backlog, packets: 0, bytes: 0 }
    }

    /// Takes room for a packet, or counts it as dropped; the newest goes, as those before it may be
    /// what it is a part of.
    pub fn take(&mut self, len: usize) -> bool {
        let free = BACKLOG_BYTES.saturating_sub(self.backlog.bytes());
        let shared = free.saturating_sub(RESERVED_BYTES) / SHARE;
        let room = if self.packets == 0 { free } else { shared };
        if self.packets >= PEER_PACKETS || self.bytes + len > room {
            self.backlog.dropped.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        self.packets += 1;
        self.bytes += len;
        self.backlog.bytes.fetch_add(len, Ordering::Relaxed);
        true
    }

    /// Gives all back: what waited went, or was given up.
    pub fn clear(&mut self) {
        self.backlog.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        (self.packets, self.bytes) = (0, 0);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: usize = 1_420;

    #[test]
    fn however_many_peers_wait_the_budget_holds_and_a_newcomer_gets_room() {
        let backlog = Arc::new(Backlog::default());
        let mut peers = Vec::new();
        for _ in 0..1_000 {
            let mut peer = Waiting::new(Arc::clone(&backlog));
            assert!(peer.take(LEN), "a newcomer's first packet waits");
            while peer.take(LEN) {}
            peers.push(peer);
        }
        assert!(backlog.bytes() <= BACKLOG_BYTES);
        assert_eq!(backlog.dropped(), 1_000);
        drop(peers);
        assert_eq!(backlog.bytes(), 0);
    }

    #[test]
    fn one_peer_alone_may_have_a_long_queue() {
        let mut peer = Waiting::new(Arc::default());
        let waiting = (0..1_000).filter(|_| peer.take(LEN)).count();
        assert!((150..PEER_PACKETS).contains(&waiting), "{waiting}");
        let mut small = Waiting::new(Arc::default());
        assert_eq!((0..1_000).filter(|_| small.take(100)).count(), PEER_PACKETS);
        peer.clear();
        assert!(peer.take(LEN));
    }
}
