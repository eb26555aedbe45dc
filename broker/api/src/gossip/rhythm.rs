//! When to ask which peer: at once where digests differ, each pair of digests once, and again after a
//! minute while the difference stays. It asks nobody itself.

use super::standing::Digest;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Peers that are asked at the same time: news usually comes from all of them, and one is enough.
pub const AT_ONCE: usize = 8;
/// Least time between two questions to one peer, however often its digest changes.
pub const BETWEEN: Duration = Duration::from_millis(200);
/// A difference that stays is asked about again after this.
pub const AGAIN: Duration = Duration::from_secs(60);
/// First wait after a failure; doubled up to [`AGAIN`].
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// How a question ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With a whole answer.
    Answered,
    /// With a request to wait, or with words that only the moment refused: ask again after this.
    Later(Duration),
    /// Without an answer.
    Failed,
}

/// The turns of all peers. `Peer` names one; times are counted from any fixed moment.
#[derive(Clone, Debug)]
pub struct Rhythm<Peer> {
    turns: BTreeMap<Peer, Turn>,
}

impl<Peer> Default for Rhythm<Peer> {
    fn default() -> Self {
        Self { turns: BTreeMap::new() }
    }
}

#[derive(Clone, Debug)]
struct Turn {
    theirs: Digest,
    /// The digests, theirs and ours, of the last question that was answered, and when.
    settled: Option<(Digest, Digest, Duration)>,
    asking: Option<(Digest, Digest)>,
    not_before: Duration,
    failures: u32,
}

impl<Peer: Ord + Copy> Rhythm<Peer> {
    /// Takes the digest that a peer's probe carried.
    pub fn heard(&mut self, peer: Peer, theirs: Digest) {
        self.turns.entry(peer).and_modify(|turn| turn.theirs = theirs).or_insert(Turn {
            theirs,
            settled: None,
            asking: None,
            not_before: Duration::ZERO,
            failures: 0,
        });
    }

    /// Forgets all peers but these.
    pub fn retain(&mut self, peers: &BTreeSet<Peer>) {
        self.turns.retain(|peer, _| peers.contains(peer));
    }

    /// Returns whom to ask now, those with the newest list first; each is asked until
    /// [`Rhythm::ended`].
    pub fn due(&mut self, now: Duration, ours: Digest) -> Vec<Peer> {
        let asking = self.asking();
        let mut due: Vec<(Reverse<_>, Duration, Peer)> = self
            .turns
            .iter()
            .filter(|(_, turn)| turn.is_due(now, ours))
            .map(|(peer, turn)| (Reverse(turn.theirs.list.position), turn.not_before, *peer))
            .collect();
        due.sort_unstable();
        due.truncate(AT_ONCE.saturating_sub(asking));
        for (_, _, peer) in &due {
            if let Some(turn) = self.turns.get_mut(peer) {
                turn.asking = Some((turn.theirs, ours));
                turn.not_before = now + BETWEEN;
            }
        }
        due.into_iter().map(|(_, _, peer)| peer).collect()
    }

    fn asking(&self) -> usize {
        self.turns.values().filter(|turn| turn.asking.is_some()).count()
    }

    /// Takes how a question ended.
    pub fn ended(&mut self, peer: Peer, now: Duration, ended: Ended) {
        let Some(turn) = self.turns.get_mut(&peer) else { return };
        let Some((theirs, ours)) = turn.asking.take() else { return };
        match ended {
            Ended::Answered => {
                turn.settled = Some((theirs, ours, now));
                turn.failures = 0;
            }
            Ended::Later(wait) => turn.not_before = now + wait.clamp(BETWEEN / 4, AGAIN),
            Ended::Failed => {
                let wait = AFTER_FAILURE.saturating_mul(1 << turn.failures.min(6)).min(AGAIN);
                turn.failures = turn.failures.saturating_add(1);
                turn.not_before = now + wait;
            }
        }
    }

    /// Returns when [`Rhythm::due`] next has something to say, if nothing else is heard. While all
    /// places are taken that is nothing: the end of a question is what is waited for.
    #[must_use]
    pub fn next_wake(&self, ours: Digest) -> Option<Duration> {
        if self.asking() >= AT_ONCE {
            return None;
        }
        let waiting = self.turns.values().filter(|turn| turn.asking.is_none());
        waiting.filter(|turn| turn.theirs != ours).map(|turn| turn.wake(ours)).min()
    }
}

impl Turn {
    fn is_due(&self, now: Duration, ours: Digest) -> bool {
        self.asking.is_none() && self.theirs != ours && now >= self.wake(ours)
    }

    /// When this peer is worth asking while both stand where they do.
    fn wake(&self, ours: Digest) -> Duration {
        match self.settled {
            Some((theirs, asked_with, at)) if (theirs, asked_with) == (self.theirs, ours) => {
                self.not_before.max(at + AGAIN)
            }
            _ => self.not_before,
        }
    }
}
