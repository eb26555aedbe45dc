//! Owns who is served inside lanes and legs, and how many at once, of one address and of one member.
//! Does not own what is told, nor the bytes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use sealane_api::gossip::rhythm::LENT;
use sealane_api::gossip::telling::Telling;
use sealane_api::names::ClusterId;
use tokio::sync::Notify;

/// Peers by their addresses inside lanes and legs, with the member that each is of; `None` is our own.
pub type Peers = BTreeMap<IpAddr, Option<ClusterId>>;

/// Connections of any kind that one address may have, and all together.
const SEATS: Limit = Limit { of_peer: 4, of_member: 16, of_own: 32, of_all: 64 };
/// Pulls of one peer that are answered, and of all together.
const PULLS: Limit = Limit { of_peer: 2, of_member: 2, of_own: 4, of_all: 8 };
/// Questions about packets that are worked on, of one peer and of all together.
const TRACES: Limit = Limit { of_peer: 2, of_member: 2, of_own: 2, of_all: 4 };

/// The place where peers ask. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub struct Desk {
    shown: Arc<RwLock<Shown>>,
    seats: Arc<Mutex<Counts>>,
    pulls: Arc<Mutex<Counts>>,
    traces: Arc<Mutex<Counts>>,
}

#[derive(Default)]
struct Shown {
    telling: Arc<Telling>,
    peers: Arc<Peers>,
}

#[derive(Clone, Copy)]
struct Limit {
    of_peer: usize,
    /// One member may have sixteen gateways on one host.
    of_member: usize,
    /// Our own nodes are many.
    of_own: usize,
    of_all: usize,
}

impl Limit {
    fn of(self, member: Option<&ClusterId>) -> usize {
        if member.is_some() { self.of_member } else { self.of_own }
    }
}

#[derive(Default)]
struct Counts {
    all: usize,
    /// Places in the order in which they were taken, those excepted that were called back.
    held: BTreeMap<u64, Held>,
    next: u64,
    of: BTreeMap<IpAddr, usize>,
    of_member: BTreeMap<Option<ClusterId>, usize>,
}

struct Held {
    since: Instant,
    recall: Arc<Notify>,
}

/// A place taken by a peer; free again when dropped.
pub struct Taken {
    counts: Arc<Mutex<Counts>>,
    number: u64,
    peer: IpAddr,
    member: Option<ClusterId>,
    recall: Arc<Notify>,
}

impl Taken {
    /// Ends when the place is given to another peer, which waited while this one took its time.
    pub async fn called_back(&self) {
        self.recall.notified().await;
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut counts = locked(&self.counts);
        counts.all = counts.all.saturating_sub(1);
        counts.held.remove(&self.number);
        one_less(&mut counts.of, &self.peer);
        one_less(&mut counts.of_member, &self.member);
    }
}

fn one_less<Key: Ord>(counts: &mut BTreeMap<Key, usize>, key: &Key) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(key);
        }
    }
}

impl Desk {
    /// Shows what is told from now on.
    pub fn show(&self, telling: Arc<Telling>) {
        self.shown.write().unwrap_or_else(PoisonError::into_inner).telling = telling;
    }

    /// Takes whom to serve: peers and nodes of ours.
    pub fn serve(&self, peers: Arc<Peers>) {
        self.shown.write().unwrap_or_else(PoisonError::into_inner).peers = peers;
    }

    /// Returns what is told now.
    pub fn telling(&self) -> Arc<Telling> {
        self.shown.read().unwrap_or_else(PoisonError::into_inner).telling.clone()
    }

    /// Says whether this is the address of a peer or of a node of ours.
    pub fn serves(&self, from: IpAddr) -> bool {
        let shown = self.shown.read().unwrap_or_else(PoisonError::into_inner);
        shown.peers.contains_key(&from)
    }

    /// Takes a connection; `None` for strangers, and when there are too many.
    pub fn seat(&self, from: IpAddr) -> Option<Taken> {
        self.take(&self.seats, from, SEATS, Instant::now())
    }

    /// Takes a pull; `None` for strangers, and when that peer, its member or all together have enough.
    /// Where all places are taken, the one held for longest is called back once it was held for long.
    pub fn pull(&self, from: IpAddr) -> Option<Taken> {
        self.pull_at(from, Instant::now())
    }

    fn pull_at(&self, from: IpAddr, now: Instant) -> Option<Taken> {
        let taken = self.take(&self.pulls, from, PULLS, now);
        if taken.is_some() {
            return taken;
        }
        let (number, slow) = self.longest_pull(now)?;
        let one_more = Limit { of_all: usize::MAX, ..PULLS };
        let taken = self.take(&self.pulls, from, one_more, now);
        if taken.is_some() {
            slow.recall.notify_one();
        } else {
            locked(&self.pulls).held.insert(number, slow);
        }
        taken
    }

    /// Takes out the pull that was held for longest, where all places are taken and it was for long: it
    /// is called back once only.
    fn longest_pull(&self, now: Instant) -> Option<(u64, Held)> {
        let mut pulls = locked(&self.pulls);
        let (_, longest) = pulls.held.first_key_value()?;
        let is_long = now.saturating_duration_since(longest.since) >= LENT;
        if pulls.all < PULLS.of_all || !is_long {
            return None;
        }
        pulls.held.pop_first()
    }

    /// Takes a question about a packet; `None` as for a pull.
    pub fn trace(&self, from: IpAddr) -> Option<Taken> {
        self.take(&self.traces, from, TRACES, Instant::now())
    }

    fn take(
        &self,
        counts: &Arc<Mutex<Counts>>,
        peer: IpAddr,
        limit: Limit,
        now: Instant,
    ) -> Option<Taken> {
        let shown = self.shown.read().unwrap_or_else(PoisonError::into_inner);
        let member = shown.peers.get(&peer)?.clone();
        drop(shown);
        let mut held = locked(counts);
        let of_peer = held.of.get(&peer).copied().unwrap_or(0);
        let of_member = held.of_member.get(&member).copied().unwrap_or(0);
        if of_peer >= limit.of_peer
            || of_member >= limit.of(member.as_ref())
            || held.all >= limit.of_all
        {
            return None;
        }
        held.all += 1;
        held.of.insert(peer, of_peer + 1);
        held.of_member.insert(member.clone(), of_member + 1);
        let (number, recall) = (held.next, Arc::new(Notify::new()));
        held.next += 1;
        held.held.insert(number, Held { since: now, recall: Arc::clone(&recall) });
        drop(held);
        Some(Taken { counts: counts.clone(), number, peer, member, recall })
    }
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

    /// A desk that serves these addresses, each with the member that it is of.
    fn desk(peers: impl Iterator<Item = (u8, Option<String>)>) -> Desk {
        let desk = Desk::default();
        let of = |member: Option<String>| member.map(|name| ClusterId::parse(&name).unwrap());
        desk.serve(Arc::new(peers.map(|(last, name)| (address(last), of(name))).collect()));
        desk
    }

    #[test]
    fn a_stranger_has_no_seat_and_a_peer_four() {
        let desk = desk([(1, Some("b".to_owned()))].into_iter());
        assert!(desk.seat(address(2)).is_none() && desk.pull(address(2)).is_none());
        let seats: Vec<_> = (0..4).map_while(|_| desk.seat(address(1))).collect();
        assert_eq!(seats.len(), 4);
        assert!(desk.seat(address(1)).is_none());
        drop(seats);
        assert!(desk.seat(address(1)).is_some());
    }

    #[test]
    fn two_pulls_of_one_peer_and_eight_of_all_are_answered() {
        let desk = desk((1..40).map(|last| (last, Some(format!("m{last}")))));
        let two: Vec<_> = (0..3).map_while(|_| desk.pull(address(1))).collect();
        assert_eq!(two.len(), 2);
        let others: Vec<_> = (2..20).map_while(|last| desk.pull(address(last))).collect();
        assert_eq!(others.len(), 6);
        drop(two);
        assert!(desk.pull(address(30)).is_some());
    }

    #[tokio::test]
    async fn who_takes_long_gives_its_place_to_a_peer_that_waits() {
        let desk = desk((1..40).map(|last| (last, Some(format!("m{last}")))));
        let begun = Instant::now();
        let slow: Vec<_> = (1..9).map_while(|last| desk.pull_at(address(last), begun)).collect();
        assert_eq!(slow.len(), 8);
        let almost = begun + LENT - std::time::Duration::from_millis(1);
        assert!(desk.pull_at(address(20), almost).is_none());
        let late = begun + LENT;
        assert!(desk.pull_at(address(99), late).is_none(), "a stranger");
        let taken = desk.pull_at(address(20), late).unwrap();
        slow[0].called_back().await;
        let next = desk.pull_at(address(21), late).unwrap();
        slow[1].called_back().await;
        drop(slow);
        assert!(desk.pull_at(address(22), late).is_some());
        drop((taken, next));
        let all: Vec<_> = (1..20).map_while(|last| desk.pull_at(address(last), late)).collect();
        assert_eq!(all.len(), 8, "every place came back");
    }

    #[test]
    fn questions_that_are_slow_to_answer_do_not_pile_up() {
        let desk = desk((1..10).map(|last| (last, Some(format!("m{last}")))));
        let mut places: Vec<_> = (1..10).map_while(|last| desk.trace(address(last))).collect();
        assert_eq!(places.len(), 4);
        places.pop();
        assert!(desk.trace(address(9)).is_some(), "who was refused may ask again at once");
    }

    #[test]
    fn sixteen_gateways_of_one_member_leave_three_quarters_of_all_places_to_others() {
        let hostile = (1..17).map(|last| (last, Some("b".to_owned())));
        let desk = desk(hostile.chain([(20, Some("c".to_owned())), (21, None)]));
        let all = || (0..4).flat_map(|_| 1..17).map(address);
        let seats: Vec<_> = all().filter_map(|from| desk.seat(from)).collect();
        let pulls: Vec<_> = all().filter_map(|from| desk.pull(from)).collect();
        assert_eq!((seats.len(), pulls.len()), (16, 2));
        assert!(desk.seat(address(20)).is_some() && desk.pull(address(20)).is_some());
        assert!(desk.seat(address(21)).is_some() && desk.pull(address(21)).is_some());
        let traces: Vec<_> = all().filter_map(|from| desk.trace(from)).collect();
        assert_eq!(traces.len(), 2);
        assert!(desk.trace(address(20)).is_some() && desk.trace(address(21)).is_some());
        drop((seats, pulls));
        assert!(desk.seat(address(1)).is_some() && desk.pull(address(1)).is_some());
    }
}
