//! Owns the standing watch of a broker: list, watch, relist on 410, back-off with jitter, next
//! address when one is away. Judges nothing and keeps nothing but its place.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{Stream, StreamExt, TryStreamExt};
use kube::Api;
use kube::api::DynamicObject;
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event, watcher};
use tokio::sync::mpsc;

use crate::access::Broker;
use crate::board::{BoardEvent, Kind, Sighting};

/// Errors in a row on one address before the next address is tried.
const PATIENCE: u32 = 2;
/// Objects asked for at once; a page of the largest advertisements stays below 4 MB.
const PAGE: u32 = 100;
/// First wait after an error.
const SHORTEST_WAIT: Duration = Duration::from_millis(250);
/// Longest wait between tries: a broker that comes back is found within this.
const LONGEST_WAIT: Duration = Duration::from_secs(8);
/// The server ends a watch after this long; shorter than the read time-out of the client.
const WATCH_SECONDS: u32 = 240;

/// Follows the broker for ever and tells what it sees; ends when nobody listens any more.
///
/// `brokers` are addresses of the same broker, tried in order, round and round.
pub async fn follow(brokers: Vec<Broker>, events: mpsc::Sender<BoardEvent>) {
    let mut turn = 0;
    while let Some(broker) = brokers.get(turn % brokers.len().max(1)) {
        if follow_one(broker, &events, brokers.len() > 1).await.is_err() {
            return;
        }
        turn += 1;
    }
}

/// Nobody listens any more.
struct Unheard;

async fn follow_one(
    broker: &Broker,
    events: &mpsc::Sender<BoardEvent>,
    has_alternative: bool,
) -> Result<(), Unheard> {
    let mut streams = futures::stream::select(
        kind_events(broker, Kind::ClusterSet).boxed(),
        kind_events(broker, Kind::Advertisement).boxed(),
    );
    let mut listing = BTreeMap::new();
    let mut errors = 0;
    let mut reachable = false;
    while let Some((kind, step)) = streams.next().await {
        let told = match step {
            Ok(event) => {
                errors = 0;
                if !std::mem::replace(&mut reachable, true) {
                    tell(events, BoardEvent::Reachable(broker.url.clone())).await?;
                }
                digest(kind, event, &mut listing)
            }
            Err(cause) => {
                errors += 1;
                reachable = false;
                Some(BoardEvent::Unreachable { url: broker.url.clone(), cause })
            }
        };
        if let Some(event) = told {
            tell(events, event).await?;
        }
        if has_alternative && errors >= PATIENCE {
            return Ok(());
        }
    }
    Ok(())
}

async fn tell(events: &mpsc::Sender<BoardEvent>, event: BoardEvent) -> Result<(), Unheard> {
    events.send(event).await.map_err(|_| Unheard)
}

fn kind_events(
    broker: &Broker,
    kind: Kind,
) -> impl Stream<Item = (Kind, Result<Event<DynamicObject>, String>)> + Send + use<> {
    let api: Api<DynamicObject> =
        Api::namespaced_with(broker.client.clone(), &broker.namespace, &kind.resource());
    let config = watcher::Config::default().page_size(PAGE).timeout(WATCH_SECONDS);
    watcher(api, config)
        .backoff(BackOff::default())
        .map_err(|error| root_cause(&error))
        .map(move |step| (kind, step))
}

/// Waits between tries: doubling from [`SHORTEST_WAIT`] to [`LONGEST_WAIT`], each drawn from the
/// upper half of its span so that members who lost the broker together come back apart.
#[derive(Default)]
struct BackOff {
    tries: u32,
}

impl Iterator for BackOff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let span = SHORTEST_WAIT.saturating_mul(1 << self.tries.min(10)).min(LONGEST_WAIT);
        self.tries += 1;
        Some(span.mul_f64(rand::random_range(0.5..=1.0)))
    }
}

impl Backoff for BackOff {
    fn reset(&mut self) {
        self.tries = 0;
    }
}

/// Turns watcher steps into board events; a list is told once it is whole.
fn digest(
    kind: Kind,
    event: Event<DynamicObject>,
    listing: &mut BTreeMap<Kind, Vec<Sighting>>,
) -> Option<BoardEvent> {
    match event {
        Event::Init => {
            listing.insert(kind, Vec::new());
            None
        }
        Event::InitApply(object) => {
            listing.entry(kind).or_default().push(object.into());
            None
        }
        Event::InitDone => {
            Some(BoardEvent::Listed(kind, listing.remove(&kind).unwrap_or_default()))
        }
        Event::Apply(object) => Some(BoardEvent::Written(kind, object.into())),
        Event::Delete(object) => Some(BoardEvent::Gone(kind, Sighting::from(object).name)),
    }
}

/// Returns the whole chain of an error on one line: the last link is what helps.
pub fn root_cause(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let line = cause.to_string();
        if !text.contains(&line) {
            text.push_str(": ");
            text.push_str(&line);
        }
        next = cause.source();
    }
    text
}
