//! Owns connections on which nobody has shown a token yet: how many there may be, how long, and which
//! goes when there are too many. Does not own what makes a token good, nor connections.

use super::limit::Limits;
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// Who came this short a time ago may be in the middle of a handshake: members behind one address come
/// back all at once after the broker was away.
const HANDSHAKE: Duration = Duration::from_secs(2);
/// The least that one customer of a provider has of IPv6.
const SITE_BITS: u32 = 64;

/// The strangers of one broker.
///
/// Nobody who comes is turned away: whoever has been a stranger for longest makes room, of one site if
/// that is longer than a handshake takes. A member shows its token in its first packets, a squatter
/// never does.
#[derive(Debug)]
pub(crate) struct Strangers {
    present: Mutex<Present>,
    all: usize,
    per_source: usize,
    patience: Duration,
}

#[derive(Debug, Default)]
struct Present {
    arrivals: u64,
    /// By arrival.
    guests: BTreeMap<u64, Guest>,
    per_source: BTreeMap<Source, Vec<u64>>,
}

#[derive(Debug)]
struct Guest {
    source: Source,
    since: Instant,
    leave: CancellationToken,
}

/// An IPv4 address, or the first half of an IPv6 one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Source(IpAddr);

impl Source {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(v6) => {
                let site = v6.to_bits() >> SITE_BITS << SITE_BITS;
                Self(Ipv6Addr::from_bits(site).into())
            }
            v4 => Self(v4),
        }
    }
}

impl Strangers {
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            present: Mutex::default(),
            all: limits.strangers,
            per_source: limits.strangers_per_source,
            patience: limits.stranger_patience,
        })
    }

    /// Counts a connection until its place is dropped.
    pub(crate) fn enter(self: &Arc<Self>, from: IpAddr, now: Instant) -> Place {
        let (source, leave) = (Source::of(from), CancellationToken::new());
        let mut present = self.lock();
        let of_source = present.per_source.get(&source).filter(|it| it.len() >= self.per_source);
        let idle = |arrival: &u64| {
            let guest = present.guests.get(arrival);
            guest.is_some_and(|it| now.saturating_duration_since(it.since) >= HANDSHAKE)
        };
        let oldest_of_source = of_source.and_then(|it| it.first().copied()).filter(idle);
        let is_full = present.guests.len() >= self.all;
        let oldest = present.guests.keys().next().copied().filter(|_| is_full);
        if let Some(arrival) = oldest_of_source.or(oldest)
            && let Some(asked) = present.remove(arrival)
        {
            asked.cancel();
        }
        let arrival = present.arrivals;
        present.arrivals += 1;
        let guest = Guest { source, since: now, leave: leave.clone() };
        present.guests.insert(arrival, guest);
        present.per_source.entry(source).or_default().push(arrival);
        Place { strangers: Arc::clone(self), arrival, leave }
    }

    fn lock(&self) -> MutexGuard<'_, Present> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Present {
    fn remove(&mut self, arrival: u64) -> Option<CancellationToken> {
        let Guest { source, leave, .. } = self.guests.remove(&arrival)?;
        if let Some(arrivals) = self.per_source.get_mut(&source) {
            arrivals.retain(|other| *other != arrival);
            if arrivals.is_empty() {
                self.per_source.remove(&source);
            }
        }
        Some(leave)
    }
}

/// One stranger's place.
#[derive(Debug)]
pub(crate) struct Place {
    strangers: Arc<Strangers>,
    arrival: u64,
    leave: CancellationToken,
}

impl Place {
    /// Ends when the connection has to be closed; never once it is `known`, which frees the place.
    pub(crate) async fn outstayed(self, known: CancellationToken) {
        tokio::select! {
            // Who has just shown a token stays, whoever was asked to leave meanwhile.
            biased;
            () = known.cancelled() => {
                drop(self);
                std::future::pending().await
            }
            () = self.leave.cancelled() => {}
            () = sleep(self.strangers.patience) => {}
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.strangers.lock().remove(self.arrival);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strangers(strangers: usize, strangers_per_source: usize) -> Arc<Strangers> {
        Strangers::new(&Limits { strangers, strangers_per_source, ..Limits::default() })
    }

    fn at(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn asked_to_leave(places: &[Place]) -> Vec<usize> {
        (0..places.len()).filter(|number| places[*number].leave.is_cancelled()).collect()
    }

    #[test]
    fn the_oldest_stranger_of_a_site_makes_room_for_its_next() {
        let strangers = strangers(100, 2);
        let begin = Instant::now();
        let later = begin + HANDSHAKE;
        let from = ["2001:db8::1", "192.0.2.1", "2001:db8::2", "2001:db8:0:1::1"];
        let mut places: Vec<Place> = from.map(|text| strangers.enter(at(text), begin)).into();
        places.push(strangers.enter(at("2001:db8::3"), later - Duration::from_millis(1)));
        assert_eq!(asked_to_leave(&places), [] as [usize; 0], "it may be shaking hands");
        places.push(strangers.enter(at("2001:db8::4"), later));
        assert_eq!(asked_to_leave(&places), [0]);
        places.push(strangers.enter(at("::ffff:192.0.2.1"), later));
        assert_eq!(asked_to_leave(&places), [0]);
        places.push(strangers.enter(at("192.0.2.1"), later));
        assert_eq!(asked_to_leave(&places), [0, 1], "mapped or not, it is one address");
    }

    #[test]
    fn the_oldest_of_all_makes_room_where_there_is_none() {
        let (strangers, now) = (strangers(2, 2), Instant::now());
        let come = |n: u8| strangers.enter([192, 0, 2, n].into(), now);
        let mut places: Vec<Place> = (1..4).map(come).collect();
        assert_eq!(asked_to_leave(&places), [0]);
        drop(places.remove(1));
        places.push(come(9));
        assert_eq!(asked_to_leave(&places), [0], "who went by itself had left room");
    }

    #[tokio::test]
    async fn who_shows_a_token_leaves_the_strangers_and_is_asked_no_more() {
        let (strangers, now) = (strangers(1, 1), Instant::now());
        let known = CancellationToken::new();
        let place = strangers.enter(at("192.0.2.1"), now);
        known.cancel();
        place.leave.cancel();
        let member = tokio::spawn(place.outstayed(known));
        tokio::task::yield_now().await;
        assert!(strangers.lock().guests.is_empty() && strangers.lock().per_source.is_empty());
        let first = strangers.enter(at("192.0.2.1"), now);
        let second = strangers.enter(at("192.0.2.1"), now);
        first.outstayed(CancellationToken::new()).await;
        assert!(!second.leave.is_cancelled() && !member.is_finished());
        member.abort();
    }
}
