//! A wall clock that is set while the agent runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sealane_agent::clock::Wall;
use sealane_agent::event::Event;
use sealane_agent::hand::Pass;
use sealane_api::time::{DAY_SECONDS, UnixTime};
use sealane_broker::board::{BoardEvent, Kind, Sighting};
use sealane_view::status::StatusDocument;

use crate::fixture::{Gateway, NOW, list, no_broker, sighting, signed, token};
use crate::host::{Host, bare_host, config, eventually};

/// A host whose clock stands until it is set.
struct Settable {
    host: Host,
    time: Arc<AtomicU64>,
}

impl Settable {
    async fn knowing(state: &std::path::Path, gateways: Vec<Sighting>) -> Self {
        let time = Arc::new(AtomicU64::new(NOW.0));
        let shown = time.clone();
        let wall = Wall::reading(move || shown.load(Ordering::Relaxed));
        let host = Host::unseen_at(config(state), wall);
        host.join(&token(vec![no_broker()]).encode()).await.unwrap();
        let pass = Pass::idle(bare_host(), None);
        assert!(host.events.send(Event::Host(pass)).await.is_ok());
        let list = vec![sighting("sealane", &signed(&list(NOW)))];
        for (kind, objects) in [(Kind::ClusterSet, list), (Kind::Advertisement, gateways)] {
            let event = Event::Board(BoardEvent::Listed(kind, objects));
            assert!(host.events.send(event).await.is_ok());
        }
        Self { host, time }
    }

    async fn set(&self, now: UnixTime, what: &str, holds: impl Fn(&StatusDocument) -> bool) {
        self.time.store(now.0, Ordering::Relaxed);
        eventually(what, || async { holds(&self.host.status().await) }).await;
    }
}

fn day(days: u64) -> UnixTime {
    UnixTime(NOW.0 + days * DAY_SECONDS)
}

fn gateways(status: &StatusDocument, member: &str) -> u32 {
    let found = status.members.iter().find(|it| it.member == member);
    found.map_or(0, |member| member.gateways)
}

#[tokio::test]
async fn a_clock_far_ahead_is_suspected_and_takes_no_lane() {
    let place = tempfile::tempdir().unwrap();
    let settable = Settable::knowing(place.path(), vec![Gateway::b_g1().seen(NOW)]).await;
    let is_suspect = |status: &StatusDocument| {
        status.warnings.iter().any(|warning| warning.starts_with("ClockSuspect"))
    };
    settable.set(NOW, "a lane", |status| gateways(status, "b") == 1).await;
    settable.set(day(4000), "the suspicion", is_suspect).await;
    assert_eq!(gateways(&settable.host.status().await, "b"), 1);
    settable.set(NOW, "all is well again", |status| !is_suspect(status)).await;
    assert_eq!(gateways(&settable.host.status().await, "b"), 1);
    settable.host.stop().await;
}

#[tokio::test]
async fn what_looked_expired_by_a_wrong_clock_is_believed_once_that_is_set() {
    let place = tempfile::tempdir().unwrap();
    let long_ago = UnixTime(NOW.0 - 300 * DAY_SECONDS);
    let old = Gateway::b_g1().seen(long_ago);
    let settable = Settable::knowing(place.path(), vec![old]).await;
    settable.set(NOW, "a refusal", |status| !status.rejections.is_empty()).await;
    let reason = settable.host.status().await.rejections[0].reason.clone();
    assert!(["Expired", "CertExpired"].contains(&reason.as_str()), "{reason}");
    let right = UnixTime(long_ago.0 + 60);
    settable.set(right, "a lane", |status| gateways(status, "b") == 1).await;
    assert_eq!(settable.host.status().await.rejections, []);
    settable.host.stop().await;
}
