//! Brokers that send what no broker should: nothing of it stops or swells the client.

use crate::door::*;
use crate::support::{eventually, soon};
use sealane_broker::board::{BoardEvent, Kind, Sighting};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Answers for ClusterSets that are none, quietly.
fn quiet(path: &str) -> Option<Reply> {
    let is_watch = path.contains("watch=true");
    path.contains("clustersets").then(|| match is_watch {
        true => Reply::Watch(vec![]),
        false => Reply::Whole(200, list("1", "", &[])),
    })
}

async fn listed(told: &mut Told) -> Vec<Sighting> {
    loop {
        if let BoardEvent::Listed(Kind::Advertisement, objects) = told.next_news().await {
            return objects;
        }
    }
}

async fn away(told: &mut Told) -> String {
    loop {
        if let BoardEvent::Unreachable { trouble, .. } = told.next().await {
            return trouble.to_string();
        }
    }
}

fn names(objects: &[Sighting]) -> Vec<&str> {
    objects.iter().map(|object| &*object.name).collect()
}

#[tokio::test]
async fn objects_that_are_none_do_not_stop_the_others() {
    let odd = || {
        let mut odd = vec![
            json!(7),
            json!(null),
            json!({}),
            json!({"metadata": {"name": ["x"], "resourceVersion": "1"}}),
            json!({"metadata": {"name": "x".repeat(10_000), "resourceVersion": "1"}}),
        ];
        odd.push(item("good.b", "2", json!({"member": "good"})));
        odd
    };
    let door = Door::open(move |path| {
        quiet(path).unwrap_or_else(|| {
            if !path.contains("watch=true") {
                return Reply::Whole(200, list("1", "", &odd()));
            }
            let mut lines = vec![json!("no event"), json!({"type": "MELTED", "object": {}})];
            lines.extend(odd().into_iter().map(|it| json!({"type": "MODIFIED", "object": it})));
            Reply::Watch(lines)
        })
    })
    .await;
    let mut told = Told::by(vec![door.broker()]);
    assert_eq!(names(&listed(&mut told).await), ["good.b"]);
    let BoardEvent::Written(Kind::Advertisement, object) = told.next().await else {
        panic!("not the good object")
    };
    assert_eq!(object.spec, json!({"member": "good"}));
}

#[tokio::test]
async fn an_object_that_is_too_large_is_named_without_its_bytes() {
    let door = Door::open(|path| {
        quiet(path).unwrap_or_else(|| {
            let large = || item("big.b", "2", json!({"view": "x".repeat(1_500_000)}));
            if path.contains("watch=true") {
                return Reply::Watch(vec![json!({"type": "ADDED", "object": large()})]);
            }
            Reply::Whole(200, list("1", "", &[large(), item("good.b", "2", json!({}))]))
        })
    })
    .await;
    let mut told = Told::by(vec![door.broker()]);
    let objects = listed(&mut told).await;
    assert_eq!(names(&objects), ["big.b", "good.b"]);
    assert_eq!(objects[0].spec, Value::Null);
    assert!(objects[0].oversize.is_some_and(|size| size > 1_500_000));
    assert_eq!(objects[1].oversize, None);
    let BoardEvent::Written(_, object) = told.next().await else { panic!("not the large object") };
    assert_eq!((&*object.name, &object.spec), ("big.b", &Value::Null));
}

#[tokio::test]
async fn a_page_of_giants_is_asked_for_again_in_smaller_parts() {
    let door = Door::open(|path| {
        quiet(path).unwrap_or_else(|| {
            if path.contains("watch=true") {
                return Reply::Watch(vec![]);
            }
            if path.contains("limit=100&") || path.ends_with("limit=100") {
                return Reply::Whole(200, json!("x".repeat(17 << 20)));
            }
            Reply::Whole(200, list("1", "", &[item("good.b", "2", json!({}))]))
        })
    })
    .await;
    let mut told = Told::by(vec![door.broker()]);
    assert_eq!(names(&listed(&mut told).await), ["good.b"]);
}

#[tokio::test]
async fn answers_and_lines_without_end_are_cut_off() {
    let door = Door::open(|_| Reply::Endless).await;
    let mut told = Told::by(vec![door.broker()]);
    let cause = away(&mut told).await;
    assert!(cause.contains("more than 16 MiB"), "{cause}");
    // Two page sizes are tried, and the kernel's buffers hold a little more.
    assert!(door.sent() < 64 << 20, "{} bytes were taken", door.sent());
    drop(told);

    let door = Door::open(|path| match path.contains("watch=true") {
        true => Reply::Endless,
        false => Reply::Whole(200, list("1", "", &[])),
    })
    .await;
    let told = Told::by(vec![door.broker()]);
    eventually("the watch is opened again", || async { door.heard().len() > 4 }).await;
    drop(told);
}

#[tokio::test]
async fn pages_without_end_are_left_at_fifty_thousand_objects() {
    let page = AtomicUsize::new(0);
    let door = Door::open(move |path| {
        quiet(path).unwrap_or_else(|| {
            if path.contains("watch=true") {
                let spam = json!({"type": "ADDED", "object": item("one-more.b", "3", json!({}))});
                let known = json!({"type": "DELETED", "object": item("b.0-0", "4", json!({}))});
                return Reply::Watch(vec![spam, known]);
            }
            let page = page.fetch_add(1, Ordering::Relaxed);
            let objects: Vec<Value> =
                (0..9_999).map(|at| item(&format!("b.{page}-{at}"), "1", json!({}))).collect();
            Reply::Whole(200, list("1", "more", &objects))
        })
    })
    .await;
    let mut told = Told::by(vec![door.broker()]);
    assert_eq!(listed(&mut told).await.len(), 50_000);
    assert_eq!(told.next().await, BoardEvent::Gone(Kind::Advertisement, "b.0-0".to_owned()));
}

#[tokio::test]
async fn a_broker_that_takes_the_connection_and_is_silent_is_away() {
    let door = Door::open(|_| Reply::Silence).await;
    let mut told = Told::by(vec![door.broker()]);
    let cause = soon("the verdict", away(&mut told)).await;
    assert!(cause.contains("no answer within 5 s"), "{cause}");
}

#[tokio::test]
async fn watches_that_end_at_once_are_not_opened_at_full_speed() {
    let door = Door::open(|path| match path.contains("watch=true") {
        true => Reply::Ending(vec![]),
        false => Reply::Whole(200, list("1", "", &[])),
    })
    .await;
    let mut told = Told::by(vec![door.broker()]);
    let cause = away(&mut told).await;
    assert!(cause.contains("ends its watches at once"), "{cause}");
    assert!(door.heard().len() <= 5, "{:?}", door.heard());
}

#[tokio::test]
async fn a_refusal_is_told_in_the_brokers_words() {
    let door = Door::open(|_| {
        let message = "advertisements is forbidden: no role\u{1b}[2J";
        Reply::Whole(403, json!({"kind": "Status", "code": 403, "message": message}))
    })
    .await;
    let mut told = Told::by(vec![door.broker()]);
    let cause = away(&mut told).await;
    assert!(cause.contains("forbidden: no role") && !cause.contains('\u{1b}'), "{cause}");
}

#[tokio::test]
async fn a_busy_broker_is_asked_again_where_it_stopped_and_is_not_away() {
    let busy = || {
        let details = json!({"retryAfterSeconds": 1});
        Reply::Whole(429, json!({"kind": "Status", "code": 429, "details": details}))
    };
    let refusals = AtomicUsize::new(0);
    let door = Door::open(move |path| {
        quiet(path).unwrap_or_else(|| match path.contains("watch=true") {
            true if refusals.fetch_add(1, Ordering::Relaxed) < 2 => busy(),
            true => {
                let object = item("good.c", "3", json!({"member": "good"}));
                Reply::Watch(vec![json!({"type": "ADDED", "object": object})])
            }
            false if !path.contains("continue=") => {
                let one = item("good.a", "1", json!({"member": "good"}));
                Reply::Whole(200, list("1", "more", &[one]))
            }
            false if refusals.fetch_add(1, Ordering::Relaxed) < 1 => busy(),
            false => {
                let one = item("good.b", "2", json!({"member": "good"}));
                Reply::Whole(200, list("2", "", &[one]))
            }
        })
    })
    .await;
    let mut told = Told::by(vec![door.broker()]);
    assert!(matches!(told.next().await, BoardEvent::Reachable(_)));
    assert!(matches!(told.next().await, BoardEvent::Listed(Kind::ClusterSet, _)));
    let BoardEvent::Listed(Kind::Advertisement, objects) = told.next().await else {
        panic!("no list of advertisements")
    };
    assert_eq!(names(&objects), ["good.a", "good.b"]);
    let BoardEvent::Written(Kind::Advertisement, object) = told.next().await else {
        panic!("no watch")
    };
    assert_eq!(object.name, "good.c");
    let first_pages = door
        .heard()
        .iter()
        .filter(|head| {
            head.contains("advertisements?")
                && !head.contains("continue=")
                && !head.contains("watch=")
        })
        .count();
    assert_eq!(first_pages, 1, "{:?}", door.heard());
}
