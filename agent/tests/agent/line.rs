//! The line to the broker: one writer at a time, at a pace, and what others did to our word.

use std::time::{Duration, Instant};

use futures::FutureExt as _;
use sealane_agent::event::Event;
use sealane_agent::line::{BrokerLine, say_last};
use sealane_agent::membership::Membership;
use sealane_broker::board::Kind;
use sealane_broker::publish;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::fixture::{Gateway, list, own, signed, token};
use crate::host::{Broker, DEADLINE, Host, eventually, now};

async fn published(events: &mut mpsc::Receiver<Event>) -> bool {
    let wait = async {
        loop {
            if let Event::Published { result, .. } = events.recv().await.unwrap() {
                return result.is_ok();
            }
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.unwrap()
}

/// A word that the broker takes: `turn` tells it from others.
fn word(turn: u64) -> Value {
    let gateway = Gateway { id: own(), ..Gateway::of("me.host", 0x77, "10.4.0.0/16") };
    serde_json::to_value(gateway.sequence(turn).spec(now())).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_word_is_written_again_when_it_was_overwritten_or_removed_and_not_too_often() {
    let broker = Broker::holding(&signed(&list(now()))).await;
    let place = tempfile::tempdir().unwrap();
    let host = Host::start(place.path());
    host.join(&broker.token().await).await.unwrap();
    // A broker that is asked too often says so instead.
    let said = || async {
        publish::read(&broker.admin, Kind::Advertisement, "me.host").await.ok().flatten()
    };
    eventually("our word, with what root granted", || async {
        let word = broker.word_of_me().await;
        word.is_some_and(|word| word["networks"]["pods"] == json!(["10.4.0.0/16"]))
    })
    .await;
    // The watch runs: from here on only what it tells can have the word checked.
    let peer = Gateway::b_g1();
    let spec = serde_json::to_value(peer.spec(now())).unwrap();
    publish::publish(&broker.admin, Kind::Advertisement, "b.g1", &spec).await.unwrap();
    eventually("a peer is seen", || async { has_lane_to_b(&host).await }).await;

    at_rest().await;
    let ours = said().await.unwrap();
    publish::publish(&broker.admin, Kind::Advertisement, "me.host", &word(1)).await.unwrap();
    let back = || async { said().await.as_ref() == Some(&ours) };
    eventually("what was written over it is written over", back).await;
    at_rest().await;
    broker.remove("me.host").await;
    eventually("what was removed is back", back).await;
    host.stop().await;
    broker.server.stop().await;
}

/// What we write ourselves is heard of, and checked: two seconds later that is over, and only what
/// others do then can have the word written again.
async fn at_rest() {
    let later = now().plus_seconds(2);
    eventually("the line is at rest", || async { now() >= later }).await;
}

async fn has_lane_to_b(host: &Host) -> bool {
    let members = host.status().await.members;
    members.iter().any(|member| member.member == "b" && member.gateways > 0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_that_follow_one_another_fast_are_written_at_a_pace() {
    let broker = Broker::holding(&signed(&list(now()))).await;
    let membership = Membership::of_token(&broker.token_of_me().await, None);
    let (events, mut inbox) = mpsc::channel(64);
    let line = BrokerLine::open(&membership, &[], events);
    line.say(&own(), word(1));
    assert!(published(&mut inbox).await);
    for turn in 2..5 {
        let before = Instant::now();
        line.say(&own(), word(turn));
        assert!(published(&mut inbox).await);
        // Told when it was written; the next one was said at once.
        assert!(before.elapsed() >= Duration::from_millis(200), "{:?}", before.elapsed());
    }
    drop(line);
    broker.server.stop().await;
}

#[tokio::test]
async fn nothing_is_written_while_somebody_else_writes() {
    // Without a broker each attempt ends at once, so that one that does not wait is seen.
    let membership = Membership::of_token(&token(Vec::new()), None);
    let (events, mut inbox) = mpsc::channel(64);
    let line = BrokerLine::open(&membership, &[], events);
    let (brokers, pen) = line.brokers();
    let others = (brokers, pen.clone());

    let writing = pen.lock().await;
    line.say(&own(), json!({}));
    let spec = json!({});
    let gateway = own();
    let last = say_last(&others, &gateway, &spec);
    tokio::pin!(last);
    for _ in 0..100 {
        tokio::task::yield_now().await;
        assert!(last.as_mut().now_or_never().is_none(), "a last word waits for the one before it");
        assert!(inbox.try_recv().is_err(), "the word waits");
    }
    drop(writing);
    let mut results = [published(&mut inbox).await, true];
    results[1] = tokio::time::timeout(DEADLINE, last).await.unwrap().is_ok();
    assert_eq!(results, [false, false], "no broker took anything");
}

#[tokio::test]
async fn what_the_name_of_a_broker_leads_to_stays_outside_the_lanes() {
    let named = serde_json::from_value(json!({ "url": "https://localhost:1" })).unwrap();
    let numbered = serde_json::from_value(json!({ "url": "https://[2001:db8::7]:1" })).unwrap();
    let membership = Membership::of_token(&token(vec![named, numbered]), None);
    let (events, _inbox) = mpsc::channel(64);
    let line = BrokerLine::open(&membership, &[], events);
    assert_eq!(line.addresses(), ["2001:db8::7".parse().unwrap()].into(), "known at once");
    let loopback: std::net::IpAddr = [127, 0, 0, 1].into();
    eventually("its address", || async { line.addresses().contains(&loopback) }).await;
    assert!(line.addresses().contains(&"2001:db8::7".parse().unwrap()));
}
