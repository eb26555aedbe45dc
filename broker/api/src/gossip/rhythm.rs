//! When to ask which peer: at once where digests differ, each pair of digests once, and again after a
//! minute while the difference stays; no member has more than its share. It asks nobody itself.

use super::standing::Digest;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

/// Peers that are asked at the same time: news usually comes from all of them, and one is enough.
pub const AT_ONCE: usize = 8;
/// Peers of one member that are asked at the same time: a member may have many, and they may lie.
pub const OF_MEMBER: usize = AT_ONCE / 4;
/// Least time between two questions to one peer, however often its digest changes.
pub const BETWEEN: Duration = Duration::from_millis(200);
/// A difference that stays is asked about again after this.
pub const AGAIN: Duration = Duration::from_secs(60);
/// A place held for longer is given to whoever waits for one: peers that dribble together must not keep
/// all others from telling what they know.
pub const LENT: Duration = Duration::from_secs(2);
/// First wait after a failure; doubled up to [`AGAIN`].
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// How a question ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With a whole answer.
    Answered,
    /// With a request to wait, or with words that only the moment refused: ask again after this. A
    /// second one in a row counts as a failure.
    Later(Duration),
    /// Without a whole answer.
    Failed,
}

/// The turns of all peers. `Peer` names one, `Member` whose it is; times are counted from any fixed
/// moment.
#[derive(Clone, Debug)]
pub struct Rhythm<Peer, Member> {
    members: BTreeMap<Peer, Member>,
    turns: BTreeMap<Peer, Turn>,
}

impl<Peer, Member> Default for Rhythm<Peer, Member> {
    fn default() -> Self {
        Self { members: BTreeMap::new(), turns: BTreeMap::new() }
    }
}

#[derive(Clone, Debug)]
struct Turn {
    theirs: Digest,
    /// The digests, theirs and ours, of the last question, and until when they are not asked about.
    rests: Option<(Digest, Digest, Duration)>,
    asking: Option<(Digest, Digest)>,
    /// When it was asked last.
    asked: Option<Duration>,
    not_before: Duration,
    has_waited: bool,
    failures: u32,
}

impl<Peer: Ord + Copy, Member: Ord + Clone> Rhythm<Peer, Member> {
    /// Takes who is a peer, and whose; forgets all others.
    pub fn follow(&mut self, members: &BTreeMap<Peer, Member>) {
        self.members.clone_from(members);
        self.turns.retain(|peer, _| members.contains_key(peer));
    }

    /// Takes the digest that a probe carried; strangers' are not kept.
    pub fn heard(&mut self, peer: Peer, theirs: Digest) {
        if !self.members.contains_key(&peer) {
            return;
        }
        self.turns.entry(peer).and_modify(|turn| turn.theirs = theirs).or_insert(Turn {
            theirs,
            rests: None,
            asking: None,
            asked: None,
            not_before: Duration::ZERO,
            has_waited: false,
            failures: 0,
        });
    }

    /// Returns whom to ask now: those first that were not asked for longest, and of them those that
    /// claim the newest list; each is asked until [`Rhythm::ended`].
    pub fn due(&mut self, now: Duration, ours: Digest) -> Vec<Peer> {
        let mut places = self.places();
        let mut due: Vec<(Option<Duration>, Reverse<_>, Peer)> = self
            .turns
            .iter()
            .filter(|(_, turn)| turn.is_due(now, ours))
            .map(|(peer, turn)| (turn.asked, Reverse(turn.theirs.list.position), *peer))
            .collect();
        due.sort_unstable();
        let due = due.into_iter().map(|(_, _, peer)| peer);
        let asked: Vec<Peer> =
            due.filter(|peer| places.take(self.members.get(peer).cloned())).collect();
        for peer in &asked {
            if let Some(turn) = self.turns.get_mut(peer) {
                turn.asking = Some((turn.theirs, ours));
                turn.asked = Some(now);
                turn.not_before = now + BETWEEN;
            }
        }
        asked
    }

    /// Returns who is to be asked no longer, so that another finds a place: the one asked for longest,
    /// where all places are taken and somebody waits. Say that it [`Rhythm::ended`].
    #[must_use]
    pub fn overdue(&self, now: Duration, ours: Digest) -> Option<Peer> {
        let (peer, since) = self.longest_asked()?;
        let waits = self.turns.values().any(|turn| turn.is_due(now, ours));
        (waits && now >= since + LENT).then_some(peer)
    }

    /// Returns who holds a place for longest, and since when; `None` while there are free ones.
    fn longest_asked(&self) -> Option<(Peer, Duration)> {
        let asking = self.turns.iter().filter(|(_, turn)| turn.asking.is_some());
        let mut since: Vec<_> =
            asking.filter_map(|(peer, turn)| Some((turn.asked?, *peer))).collect();
        since.sort_unstable();
        let (at, peer) = *since.first()?;
        (since.len() >= AT_ONCE).then_some((peer, at))
    }

    /// Returns the places that are taken.
    fn places(&self) -> Places<Option<Member>> {
        let mut places = Places { all: 0, of: BTreeMap::new() };
        for (peer, _) in self.turns.iter().filter(|(_, turn)| turn.asking.is_some()) {
            places.all += 1;
            *places.of.entry(self.members.get(peer).cloned()).or_insert(0) += 1;
        }
        places
    }

    /// Takes how a question ended.
    pub fn ended(&mut self, peer: Peer, now: Duration, ended: Ended) {
        let Some(turn) = self.turns.get_mut(&peer) else { return };
        let Some((theirs, ours)) = turn.asking.take() else { return };
        let wait = match ended {
            Ended::Answered => {
                (turn.failures, turn.has_waited) = (0, false);
                AGAIN
            }
            Ended::Later(wait) if !turn.has_waited => {
                turn.has_waited = true;
                let wait = wait.clamp(BETWEEN, AGAIN);
                turn.not_before = turn.not_before.max(now + BETWEEN);
                wait
            }
            Ended::Later(_) | Ended::Failed => {
                let wait = AFTER_FAILURE.saturating_mul(1 << turn.failures.min(6)).min(AGAIN);
                turn.failures = turn.failures.saturating_add(1);
                turn.not_before = now + AFTER_FAILURE;
                wait
            }
        };
        turn.rests = Some((theirs, ours, now + wait));
    }

    /// Returns when [`Rhythm::due`] or [`Rhythm::overdue`] next has something to say, if nothing else is
    /// heard. Whoever finds no place waits for one to come free, or to be held for too long.
    #[must_use]
    pub fn next_wake(&self, ours: Digest) -> Option<Duration> {
        let places = self.places();
        let lent_until = self.longest_asked().map(|(_, since)| since + LENT);
        let waiting =
            self.turns.iter().filter(|(_, turn)| turn.asking.is_none() && turn.theirs != ours);
        let wakes = waiting.filter_map(|(peer, turn)| {
            let wake = turn.wake(ours);
            if places.has_one_for(&self.members.get(peer).cloned()) {
                return Some(wake);
            }
            lent_until.map(|until| until.max(wake))
        });
        wakes.min()
    }
}

/// Places taken by questions, in all and of each member.
struct Places<Member> {
    all: usize,
    of: BTreeMap<Member, usize>,
}

impl<Member: Ord> Places<Member> {
    fn has_one_for(&self, member: &Member) -> bool {
        self.all < AT_ONCE && self.of.get(member).is_none_or(|taken| *taken < OF_MEMBER)
    }

    /// Takes a place if there is one.
    fn take(&mut self, member: Member) -> bool {
        let has_one = self.has_one_for(&member);
        if has_one {
            self.all += 1;
            *self.of.entry(member).or_insert(0) += 1;
        }
        has_one
    }
}

impl Turn {
    fn is_due(&self, now: Duration, ours: Digest) -> bool {
        self.asking.is_none() && self.theirs != ours && now >= self.wake(ours)
    }

    /// When this peer is worth asking while both stand where they do: what changed ends a rest.
    fn wake(&self, ours: Digest) -> Duration {
        match self.rests {
            Some((theirs, asked_with, until)) if (theirs, asked_with) == (self.theirs, ours) => {
                self.not_before.max(until)
            }
            _ => self.not_before,
        }
    }
}
