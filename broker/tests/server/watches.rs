//! Watching objects.

use crate::support::*;
use futures::{Stream, StreamExt, TryStreamExt, pin_mut};
use kube::{
    Client, ResourceExt,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, WatchEvent, WatchParams},
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use sealane_broker::server::history::HistoryBounds;
use serde_json::json;
use std::{
    num::NonZeroU32,
    time::{Duration, Instant},
};

async fn write(client: &Client, gateway: &str, word: &str) -> DynamicObject {
    let apply = PatchParams::apply("test");
    let object = advertisement("west", gateway, word);
    advertisements(client).patch(&object.name_any(), &apply, &Patch::Apply(&object)).await.unwrap()
}

async fn revision(client: &Client) -> String {
    let list = advertisements(client).list(&ListParams::default()).await.unwrap();
    list.metadata.resource_version.unwrap()
}

/// `TYPE name`, or the code of an error.
async fn next<S>(stream: &mut S) -> String
where
    S: Stream<Item = kube::Result<WatchEvent<DynamicObject>>> + Unpin,
{
    match soon("a watch event", stream.try_next()).await.unwrap() {
        None => "END".to_owned(),
        Some(WatchEvent::Added(object)) => format!("ADDED {}", object.name_any()),
        Some(WatchEvent::Modified(object)) => format!("MODIFIED {}", object.name_any()),
        Some(WatchEvent::Deleted(object)) => format!("DELETED {}", object.name_any()),
        Some(WatchEvent::Bookmark(mark)) => format!("BOOKMARK {}", mark.metadata.resource_version),
        Some(WatchEvent::Error(status)) => format!("ERROR {}", status.code),
    }
}

#[tokio::test]
async fn a_watch_tells_every_change_after_its_version_in_order() {
    let broker = Broker::start().await;
    let admin = broker.admin().await;
    let start = revision(&admin).await;
    write(&admin, "a", "one").await;
    write(&admin, "a", "two").await;
    let watch =
        advertisements(&admin).watch(&WatchParams::default(), &start).await.unwrap().boxed();
    pin_mut!(watch);
    assert_eq!(next(&mut watch).await, "ADDED west.a");
    assert_eq!(next(&mut watch).await, "MODIFIED west.a");
    write(&admin, "b", "one").await;
    assert_eq!(next(&mut watch).await, "ADDED west.b");
    advertisements(&admin).delete("west.a", &DeleteParams::default()).await.unwrap();
    assert_eq!(next(&mut watch).await, "DELETED west.a");
}

#[tokio::test]
async fn an_object_that_leaves_the_selector_is_deleted_for_that_watch() {
    let broker = Broker::start().await;
    let admin = broker.admin().await;
    let api = advertisements(&admin);
    write(&admin, "a", "one").await;
    let start = revision(&admin).await;
    let params = WatchParams::default().labels("site=south");
    let watch = api.watch(&params, &start).await.unwrap().boxed();
    pin_mut!(watch);
    for site in ["south", "north"] {
        let label = json!({"metadata": {"labels": {"site": site}}});
        api.patch("west.a", &PatchParams::default(), &Patch::Merge(&label)).await.unwrap();
    }
    assert_eq!(next(&mut watch).await, "ADDED west.a");
    assert_eq!(next(&mut watch).await, "DELETED west.a");
}

#[tokio::test]
async fn bookmarks_carry_a_quiet_watch_past_changes_it_does_not_see() {
    let broker = Broker::with(|config| config.bookmark_interval = Duration::from_millis(20)).await;
    let admin = broker.admin().await;
    let start = revision(&admin).await;
    let params = WatchParams::default().fields("metadata.name=west.none");
    let watch = advertisements(&admin).watch(&params, &start).await.unwrap().boxed();
    pin_mut!(watch);
    let unseen = write(&admin, "a", "one").await.resource_version().unwrap();
    let mark = format!("BOOKMARK {unseen}");
    soon("the bookmark", async { while next(&mut watch).await != mark {} }).await;
}

#[tokio::test]
async fn a_watch_ends_when_its_time_is_over() {
    let broker = Broker::start().await;
    let admin = broker.admin().await;
    let start = revision(&admin).await;
    let params = WatchParams::default().timeout(1);
    let watch = advertisements(&admin).watch(&params, &start).await.unwrap().boxed();
    pin_mut!(watch);
    let mut told = Vec::new();
    while told.last().is_none_or(|last| last != "END") {
        told.push(soon("the end", next(&mut watch)).await);
    }
    told.pop();
    // Where the next watch goes on, said once or twice, and nothing else.
    let mark = format!("BOOKMARK {start}");
    assert!(!told.is_empty() && told.iter().all(|it| *it == mark), "{told:?}, not {mark}");
}

#[tokio::test]
async fn a_streaming_list_shows_what_there_is_and_then_says_so() {
    let broker = Broker::start().await;
    let admin = broker.admin().await;
    write(&admin, "a", "one").await;
    write(&admin, "b", "one").await;
    let config = watcher::Config::default().streaming_lists();
    let events = watcher(advertisements(&admin), config);
    pin_mut!(events);
    let mut seen = Vec::new();
    while seen.last().is_none_or(|last| last != "InitDone") {
        seen.push(soon("an event", events.try_next()).await.unwrap().unwrap().to_string());
    }
    assert_eq!(seen, ["Init", "InitApply(west.a)", "InitApply(west.b)", "InitDone"]);
    write(&admin, "c", "one").await;
    let event = soon("an event", events.try_next()).await.unwrap().unwrap();
    assert_eq!(event.to_string(), "Apply(west.c)");
}

#[tokio::test]
async fn a_version_that_is_forgotten_or_from_another_life_is_answered_with_410() {
    let bounds = HistoryBounds { events: 2, ..HistoryBounds::default() };
    let broker = Broker::with(|config| config.history = bounds).await;
    let admin = broker.admin().await;
    let old = revision(&admin).await;
    for word in ["one", "two", "three", "four"] {
        write(&admin, "a", word).await;
    }
    let future = (revision(&admin).await.parse::<u64>().unwrap() + 1_000).to_string();
    for version in [old, future] {
        let watch = advertisements(&admin).watch(&WatchParams::default(), &version).await.unwrap();
        let watch = watch.boxed();
        pin_mut!(watch);
        assert_eq!(next(&mut watch).await, "ERROR 410");
    }
}

/// The reader sleeps while more changes than the history holds go by, and must list again.
#[tokio::test]
async fn a_watcher_that_fell_behind_lists_again_and_misses_nothing() {
    let broker = Broker::with(|config| {
        config.history.events = 4;
        config.limits.request_burst = NonZeroU32::new(10_000).unwrap();
    })
    .await;
    let admin = broker.admin().await;
    let events = watcher(advertisements(&admin), watcher::Config::default()).default_backoff();
    pin_mut!(events);
    soon("the first list", async {
        while !matches!(events.try_next().await.unwrap().unwrap(), Event::InitDone) {}
    })
    .await;
    // The first poll after the list opens the watch: this change proves that it is open.
    write(&admin, "first", "one").await;
    soon("the open watch", events.try_next()).await.unwrap();

    let bulk = "x".repeat(14_000);
    let writes = (0..600).map(|at| {
        let (admin, bulk) = (admin.clone(), bulk.clone());
        async move { write(&admin, &format!("gw{}", at % 300), &format!("{bulk}{at}")).await }
    });
    futures::stream::iter(writes).buffer_unordered(32).count().await;
    write(&admin, "last", "one").await;

    let mut relisted = false;
    soon("the last object", async {
        loop {
            match events.next().await.unwrap() {
                Ok(Event::Init) => relisted = true,
                Ok(Event::InitApply(object) | Event::Apply(object))
                    if object.name_any() == "west.last" =>
                {
                    break;
                }
                _ => {}
            }
        }
    })
    .await;
    assert!(relisted, "the history held more than it may");
}

#[tokio::test]
async fn a_reader_that_stops_reading_is_cut_off_and_others_are_not() {
    let broker = Broker::with(|config| {
        config.limits.watch_stall = Duration::from_millis(200);
        config.limits.request_burst = NonZeroU32::new(10_000).unwrap();
    })
    .await;
    let admin = broker.admin().await;
    let sleeper = broker.account(NAMESPACE, "sleeper").await;
    let start = revision(&admin).await;
    let asleep = advertisements(&sleeper).watch(&WatchParams::default(), &start).await.unwrap();
    let awake = advertisements(&admin).watch(&WatchParams::default(), &start).await.unwrap();
    let reader = tokio::spawn(async move {
        let awake = awake.boxed();
        pin_mut!(awake);
        while next(&mut awake).await != "ADDED west.last" {}
    });
    let bulk = "x".repeat(14_000);
    let cut = || async {
        let writes = (0..64).map(|at| {
            let (admin, bulk) = (&admin, &bulk);
            async move { write(admin, &format!("gw{}", at % 16), &format!("{bulk}{at}")).await }
        });
        futures::stream::iter(writes).buffer_unordered(16).count().await;
        let request = http::Request::get("/metrics").body(Vec::new()).unwrap();
        let metrics = admin.request_text(request).await.unwrap();
        metrics.contains("sealane_broker_stalled_watches_total 1\n")
    };
    eventually("the sleeping reader is cut off", cut).await;
    write(&admin, "last", "one").await;
    soon("the other reader", reader).await.unwrap();
    drop(asleep);
}

#[tokio::test]
async fn versions_and_watches_go_on_over_a_restart() {
    let broker = Broker::start().await;
    let before = write(&broker.admin().await, "a", "one").await.resource_version().unwrap();
    let start = revision(&broker.admin().await).await;
    let broker = broker.restarted().await;
    let admin = broker.admin().await;
    let after = write(&admin, "b", "one").await.resource_version().unwrap();
    assert!(after.parse::<u64>().unwrap() > before.parse::<u64>().unwrap());
    let watch =
        advertisements(&admin).watch(&WatchParams::default(), &start).await.unwrap().boxed();
    pin_mut!(watch);
    assert_eq!(next(&mut watch).await, "ADDED west.b");
}

#[tokio::test]
async fn stopping_ends_watches_within_a_second() {
    let broker = Broker::start().await;
    let admin = broker.admin().await;
    let start = revision(&admin).await;
    let watch =
        advertisements(&admin).watch(&WatchParams::default(), &start).await.unwrap().boxed();
    pin_mut!(watch);
    let begun = Instant::now();
    let (_, ended) = tokio::join!(broker.server.stop(), watch.try_next());
    assert!(begun.elapsed() < Duration::from_millis(1_500), "{:?}", begun.elapsed());
    assert!(matches!(ended, Ok(None) | Err(_)));
    let after = advertisements(&admin).list(&ListParams::default()).await;
    assert!(after.is_err(), "it still answers");
}
