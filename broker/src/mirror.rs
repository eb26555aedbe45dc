//! Owns the standing watch of a broker: which address, when to try again, and in what order things
//! are told. Judges nothing; `feed` owns lists and watches.

use std::time::Duration;

use tokio::sync::mpsc::Sender;
use tokio::time::Instant;

use crate::access::Broker;
use crate::board::{BoardEvent, Kind};
use crate::feed::{End, Feed, Stop};
use crate::trouble::Trouble;

/// First wait after an error.
const SHORTEST_WAIT: Duration = Duration::from_millis(250);
/// Longest wait between tries: with the time to connect, what it takes at most to find a broker
/// that came back.
const LONGEST_WAIT: Duration = Duration::from_secs(4);
/// A connection that lasted this long is no reason to wait longer than at first.
const STEADY: Duration = Duration::from_secs(10);

/// Follows the broker for ever and tells what it sees; ends when nobody listens any more, or when
/// there is no address.
///
/// `brokers` are addresses of the same broker. One is kept as long as it answers; else the next is
/// tried at once, round and round, with a wait after each round. Whenever it was away, everything is
/// listed again: first the ClusterSet, then the Advertisements.
pub async fn follow(brokers: Vec<Broker>, events: Sender<BoardEvent>) {
    tokio::select! {
        () = events.closed() => {}
        () = rounds(&brokers, &events) => {}
    }
}

async fn rounds(brokers: &[Broker], events: &Sender<BoardEvent>) {
    let mut back_off = BackOff::default();
    let mut failures = 0;
    for broker in brokers.iter().cycle() {
        let mut since = None;
        let Err(Stop::Away(trouble)) = attend(broker, events, &mut since).await else { return };
        let away = BoardEvent::Unreachable { url: broker.url.clone(), trouble };
        if events.send(away).await.is_err() {
            return;
        }
        if since.is_some_and(|since: Instant| since.elapsed() >= STEADY) {
            (back_off, failures) = (BackOff::default(), 0);
        }
        failures += 1;
        if failures % brokers.len() == 0 {
            tokio::time::sleep(back_off.wait()).await;
        }
    }
}

/// Stays with one address until it fails; `since` is when its first list had come.
async fn attend(
    broker: &Broker,
    events: &Sender<BoardEvent>,
    since: &mut Option<Instant>,
) -> Result<(), Stop> {
    let mut cluster_sets = Feed::new(broker, Kind::ClusterSet);
    let mut advertisements = Feed::new(broker, Kind::Advertisement);
    let listed = cluster_sets.list().await?;
    *since = Some(Instant::now());
    tell(events, BoardEvent::Reachable(broker.url.clone())).await?;
    tell(events, listed).await?;
    tell(events, advertisements.list().await?).await?;
    tokio::try_join!(attend_one(cluster_sets, events), attend_one(advertisements, events))?;
    Ok(())
}

async fn attend_one(mut feed: Feed<'_>, events: &Sender<BoardEvent>) -> Result<(), Stop> {
    loop {
        if feed.watch(events).await? == End::Forgotten {
            tell(events, feed.list().await?).await?;
        }
    }
}

async fn tell(events: &Sender<BoardEvent>, event: BoardEvent) -> Result<(), Stop> {
    events.send(event).await.map_err(|_| Stop::Unheard)
}

/// Waits between tries: doubling from [`SHORTEST_WAIT`] to [`LONGEST_WAIT`], each drawn from the
/// upper half of its span so that members who lost the broker together come back apart.
#[derive(Default)]
struct BackOff {
    tries: u32,
}

impl BackOff {
    fn wait(&mut self) -> Duration {
        let span = SHORTEST_WAIT.saturating_mul(1 << self.tries.min(10)).min(LONGEST_WAIT);
        self.tries = self.tries.saturating_add(1);
        span.mul_f64(rand::random_range(0.5..=1.0))
    }
}

/// Returns an error of the client on one line, in words for people.
pub fn root_cause(error: &kube::Error) -> String {
    Trouble::of(error).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_are_drawn_apart_and_never_exceed_four_seconds() {
        let spans = [250, 500, 1_000, 2_000, 4_000, 4_000, 4_000];
        let mut first = Vec::new();
        for _ in 0..50 {
            let mut back_off = BackOff::default();
            for span in spans.map(Duration::from_millis) {
                let wait = back_off.wait();
                assert!(wait >= span / 2 && wait <= span, "{wait:?} of {span:?}");
                first.push(wait);
            }
        }
        first.sort();
        first.dedup();
        assert!(first.len() > 100, "only {} different waits", first.len());
        let mut long = BackOff { tries: u32::MAX };
        assert!(long.wait() <= LONGEST_WAIT);
    }
}
