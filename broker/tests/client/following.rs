//! Following a broker through its and the network's changes.

use crate::door::*;
use crate::support::{Broker, advertisement, advertisements, cluster_set, cluster_sets, soon};
use kube::api::{DeleteParams, Patch, PatchParams};
use sealane_broker::board::BoardEvent;
use serde_json::json;
use std::time::{Duration, Instant};

/// An event without its details, to compare.
fn short(event: &BoardEvent) -> String {
    match event {
        BoardEvent::Listed(kind, objects) => {
            let names: Vec<&str> = objects.iter().map(|object| &*object.name).collect();
            format!("{kind:?}s: {}", names.join(" "))
        }
        BoardEvent::Written(kind, object) => {
            format!("{kind:?} {} {}", object.name, object.spec["signed"]["payload"])
        }
        BoardEvent::Gone(kind, name) => format!("{kind:?} {name} gone"),
        BoardEvent::Reachable(url) => format!("reachable {url}"),
        BoardEvent::Unreachable { url, .. } => format!("away {url}"),
    }
}

async fn write(broker: &Broker, gateway: &str, word: &str) {
    let object = advertisement("west", gateway, word);
    let api = advertisements(&broker.admin().await);
    let apply = PatchParams::apply("test").force();
    api.patch(&format!("west.{gateway}"), &apply, &Patch::Apply(&object)).await.unwrap();
}

async fn write_set(broker: &Broker, version: u64) {
    let apply = PatchParams::apply("test").force();
    let set = cluster_set("ours", version);
    let api = cluster_sets(&broker.admin().await);
    api.patch("sealane", &apply, &Patch::Apply(&set)).await.unwrap();
}

async fn expect(told: &mut Told, events: &[&str]) {
    for event in events {
        assert_eq!(short(&told.next_news().await), *event);
    }
}

#[tokio::test]
async fn what_is_there_is_listed_and_what_happens_is_told_in_order() {
    let broker = Broker::start().await;
    write(&broker, "a", "one").await;
    write_set(&broker, 1).await;
    let reader = member(&broker, "member-east").await;
    let reachable = format!("reachable {}", reader.url);
    let mut told = Told::by(vec![reader]);
    let first = [&*reachable, "ClusterSets: sealane", "Advertisements: west.a"];
    expect(&mut told, &first).await;
    write(&broker, "b", "one").await;
    write(&broker, "b", "two").await;
    expect(&mut told, &["Advertisement west.b \"one\"", "Advertisement west.b \"two\""]).await;
    let admin = broker.admin().await;
    advertisements(&admin).delete("west.a", &DeleteParams::default()).await.unwrap();
    expect(&mut told, &["Advertisement west.a gone"]).await;
    write_set(&broker, 2).await;
    expect(&mut told, &["ClusterSet sealane \"2\""]).await;
}

#[tokio::test]
async fn a_broker_that_restarts_is_away_then_listed_afresh_within_seconds() {
    let broker = Broker::start().await;
    write(&broker, "a", "one").await;
    let reader = member(&broker, "member-east").await;
    let reachable = format!("reachable {}", reader.url);
    let mut told = Told::by(vec![reader]);
    expect(&mut told, &[&reachable, "ClusterSets: ", "Advertisements: west.a"]).await;
    let broker = broker.restarted().await;
    let back = Instant::now();
    assert!(short(&told.next().await).starts_with("away "));
    expect(&mut told, &[&reachable, "ClusterSets: ", "Advertisements: west.a"]).await;
    assert!(back.elapsed() < Duration::from_secs(8), "{:?}", back.elapsed());
    write(&broker, "b", "one").await;
    expect(&mut told, &["Advertisement west.b \"one\""]).await;
}

#[tokio::test]
async fn another_address_is_used_while_one_is_away_and_kept_until_it_fails() {
    let answers = |path: &str| {
        if path.contains("watch=true") {
            Reply::Watch(vec![])
        } else {
            Reply::Whole(200, list("1", "", &[]))
        }
    };
    let first = Door::open(answers).await;
    let second = Door::open(answers).await;
    let brokers = vec![first.broker(), second.broker()];
    let urls: Vec<String> =
        brokers.iter().map(|broker| format!("reachable {}", broker.url)).collect();
    let lists = ["ClusterSets: ", "Advertisements: "];
    let mut told = Told::by(brokers.clone());
    expect(&mut told, &[&urls[0], lists[0], lists[1]]).await;
    assert_eq!(second.heard().len(), 0, "the second address was asked without need");
    first.close().await;
    expect(&mut told, &[&urls[1], lists[0], lists[1]]).await;
    drop(told);

    // The other way round: the first is away from the beginning.
    let away = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut told = Told::by(vec![reach(away, second.pin, TOKEN), second.broker()]);
    assert!(short(&told.next().await).starts_with("away "));
    expect(&mut told, &[&urls[1], lists[0], lists[1]]).await;
}

#[tokio::test]
async fn addresses_that_are_all_away_are_tried_with_pauses() {
    let away = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let door = Door::open(|_| Reply::Silence).await;
    let broker = reach(away, door.pin, TOKEN);
    let mut told = Told::by(vec![broker.clone(), broker]);
    let begun = Instant::now();
    for _ in 0..8 {
        assert!(short(&told.next().await).starts_with("away "));
    }
    // Three pauses of at least half of 250, 500 and 1,000 ms lie between four rounds.
    assert!(begun.elapsed() > Duration::from_millis(870), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_forgotten_place_is_listed_again_and_the_broker_is_not_away() {
    let counts = std::sync::Mutex::new((0, 0));
    let door = Door::open(move |path| {
        let mut counts = counts.lock().unwrap();
        if path.contains("clustersets") {
            return match path.contains("watch=true") {
                true => Reply::Watch(vec![]),
                false => Reply::Whole(200, list("1", "", &[])),
            };
        }
        if path.contains("watch=true") {
            counts.1 += 1;
            let written = json!({"type": "ADDED", "object": item("b.g1", "7", json!({}))});
            let expired = json!({"type": "ERROR", "object": {"code": 410, "message": "expired"}});
            return Reply::Watch(if counts.1 == 1 { vec![written, expired] } else { vec![] });
        }
        counts.0 += 1;
        let name = format!("list.{}", counts.0);
        Reply::Whole(200, list("5", "", &[item(&name, "5", json!({}))]))
    })
    .await;
    let mut told = Told::by(vec![door.broker()]);
    for event in [
        &*format!("reachable {}", door.broker().url),
        "ClusterSets: ",
        "Advertisements: list.1",
        "Advertisement b.g1 null",
        "Advertisements: list.2",
    ] {
        assert_eq!(short(&told.next().await), event);
    }
}

/// A broker of which advertisements are forgotten as `forgets` says: from (lists, pages, watches) so far,
/// the answer to the next request, if it is not the usual one.
async fn forgetful(
    forgets: impl Fn(&str, [u32; 2]) -> Option<Reply> + Send + Sync + 'static,
) -> Door {
    let counts = std::sync::Mutex::new([0, 0]);
    Door::open(move |path| {
        let is_watch = path.contains("watch=true");
        if path.contains("clustersets") {
            return if is_watch {
                Reply::Watch(vec![])
            } else {
                Reply::Whole(200, list("1", "", &[]))
            };
        }
        let mut counts = counts.lock().unwrap();
        counts[usize::from(is_watch)] += 1;
        let usual = || match is_watch {
            true => Reply::Watch(vec![]),
            false => {
                let name = format!("list.{}", counts[0]);
                Reply::Whole(200, list("5", "", &[item(&name, "5", json!({}))]))
            }
        };
        forgets(path, *counts).unwrap_or_else(usual)
    })
    .await
}

fn gone() -> serde_json::Value {
    json!({"kind": "Status", "status": "Failure", "code": 410, "reason": "Expired", "message": "too old"})
}

#[tokio::test]
async fn a_watch_that_is_refused_with_410_is_listed_again_and_the_broker_is_not_away() {
    let door = forgetful(|path, [_, watches]| {
        (path.contains("watch=true") && watches == 1).then(|| Reply::Whole(410, gone()))
    })
    .await;
    let mut told = Told::by(vec![door.broker()]);
    let reachable = format!("reachable {}", door.broker().url);
    for event in [&*reachable, "ClusterSets: ", "Advertisements: list.1", "Advertisements: list.2"]
    {
        assert_eq!(short(&told.next().await), event);
    }
}

#[tokio::test]
async fn a_list_that_is_forgotten_between_two_pages_is_begun_anew_and_loses_nothing() {
    let door = forgetful(|path, [lists, _]| match (path.contains("watch=true"), lists) {
        (false, 1) => Some(Reply::Whole(200, list("5", "more", &[item("old.1", "5", json!({}))]))),
        (false, 2) => Some(Reply::Whole(410, gone())),
        _ => None,
    })
    .await;
    let mut told = Told::by(vec![door.broker()]);
    let reachable = format!("reachable {}", door.broker().url);
    for event in [&*reachable, "ClusterSets: ", "Advertisements: list.3"] {
        assert_eq!(short(&told.next().await), event);
    }
}

#[tokio::test]
async fn a_broker_that_forgets_every_list_is_away_and_is_found_when_it_does_not() {
    let door = forgetful(|path, [lists, _]| {
        let page = list("5", "more", &[item("old.1", "5", json!({}))]);
        match path.contains("watch=true") || lists > 6 {
            true => None,
            false if path.contains("continue=more") => Some(Reply::Whole(410, gone())),
            false => Some(Reply::Whole(200, page)),
        }
    })
    .await;
    let mut told = Told::by(vec![door.broker()]);
    let reachable = format!("reachable {}", door.broker().url);
    expect(&mut told, &[&reachable, "ClusterSets: "]).await;
    let away = told.next().await;
    let BoardEvent::Unreachable { trouble, .. } = away else { panic!("{away:?}") };
    let cause = trouble.to_string();
    assert!(cause.contains("forgot 3 lists"), "{cause}");
    expect(&mut told, &[&reachable, "ClusterSets: ", "Advertisements: list.7"]).await;
}

#[tokio::test]
async fn a_watch_that_ends_goes_on_where_it_ended() {
    let watches = std::sync::Mutex::new(0);
    let door = Door::open(move |path| {
        if !path.contains("watch=true") {
            return Reply::Whole(200, list("5", "", &[]));
        }
        if path.contains("clustersets") {
            return Reply::Watch(vec![]);
        }
        let mut watches = watches.lock().unwrap();
        *watches += 1;
        let written = json!({"type": "ADDED", "object": item("b.g1", "7", json!({}))});
        let mark = json!({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9"}}});
        if *watches == 1 { Reply::Ending(vec![written, mark]) } else { Reply::Watch(vec![]) }
    })
    .await;
    let mut told = Told::by(vec![door.broker()]);
    let reachable = format!("reachable {}", door.broker().url);
    let first = [&*reachable, "ClusterSets: ", "Advertisements: ", "Advertisement b.g1 null"];
    expect(&mut told, &first).await;
    let resumed = || async { door.heard().iter().any(|head| head.contains("resourceVersion=9")) };
    crate::support::eventually("the watch goes on from the bookmark", resumed).await;
}

#[tokio::test]
async fn the_mirror_ends_when_nobody_listens_also_when_nothing_happens() {
    let broker = Broker::start().await;
    let reader = member(&broker, "member-east").await;
    let mut told = Told::by(vec![reader]);
    for _ in 0..3 {
        told.next().await;
    }
    soon("the end of the mirror", told.hang_up()).await.unwrap();

    let away = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut told = Told::by(vec![reach(away, pin_of(&broker), TOKEN)]);
    told.next().await;
    soon("the end of the mirror", told.hang_up()).await.unwrap();
    let none = Told::by(vec![]);
    soon("the end of a mirror of nothing", none.hang_up()).await.unwrap();
}
