//! What one caller cannot use up.

use crate::support::*;
use futures::{Stream, TryStreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use kube::api::{DynamicObject, ListParams, PostParams, WatchEvent, WatchParams};
use kube::client::ConfigExt;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::num::NonZeroU32;
use std::pin::pin;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

#[tokio::test]
async fn a_body_above_the_limit_is_refused_whole() {
    let broker = Broker::start().await;
    let admin = broker.admin().await;
    let path = format!("/apis/sealane.dev/v1alpha1/namespaces/{NAMESPACE}/advertisements");
    let body = json!({"x": "x".repeat(1_572_865)});
    assert_eq!(send(&admin, "POST", &path, &body).await, Err(413));
    let mut large = advertisement("west", "gw", &"x".repeat(20_000));
    assert_eq!(
        code(&advertisements(&admin).create(&PostParams::default(), &large).await.unwrap_err()),
        422
    );
    large = advertisement("west", "gw", "one");
    large.metadata.annotations = Some([("a".to_owned(), "x".repeat(50_000))].into());
    assert_eq!(
        code(&advertisements(&admin).create(&PostParams::default(), &large).await.unwrap_err()),
        413
    );
    assert!(advertisements(&admin).list(&ListParams::default()).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn a_flood_of_one_account_is_held_back_and_the_others_go_on() {
    let broker = Broker::with(|config| {
        config.limits.requests_per_second = NonZeroU32::new(1).unwrap();
        config.limits.request_burst = NonZeroU32::new(10).unwrap();
    })
    .await;
    let flood = broker.account(NAMESPACE, "member-west").await;
    let requests = (0..30).map(|_| send(&flood, "GET", "/version", &Value::Null));
    let outcomes = futures::future::join_all(requests).await;
    let refused = outcomes.iter().filter(|outcome| **outcome == Err(429)).count();
    assert!((18..=20).contains(&refused), "{refused}");
    send(&broker.admin().await, "GET", "/version", &Value::Null).await.unwrap();
}

#[tokio::test]
async fn a_member_that_fills_its_share_leaves_room_for_the_others() {
    let broker = Broker::with(|config| config.limits.objects_per_member = 3).await;
    let admin = broker.admin().await;
    let api = advertisements(&admin);
    let create = |member: &'static str, gateway: &'static str| {
        let api = api.clone();
        async move {
            let object = advertisement(member, gateway, "one");
            api.create(&PostParams::default(), &object).await.map_err(|error| code(&error))
        }
    };
    for gateway in ["a", "b", "c"] {
        create("west", gateway).await.unwrap();
    }
    assert_eq!(create("west", "d").await.unwrap_err(), 403);
    create("east", "a").await.unwrap();
    create("west-2", "a").await.unwrap();
}

#[tokio::test]
async fn objects_and_watches_are_bounded_in_all() {
    let broker = Broker::with(|config| {
        config.limits.objects = 2;
        config.limits.watches = 1;
    })
    .await;
    let admin = broker.admin().await;
    let api = advertisements(&admin);
    for gateway in ["a", "b"] {
        api.create(&PostParams::default(), &advertisement("west", gateway, "one")).await.unwrap();
    }
    let third = api.create(&PostParams::default(), &advertisement("west", "c", "one")).await;
    assert_eq!(code(&third.unwrap_err()), 403);

    let open = api.watch(&WatchParams::default(), "0").await.unwrap();
    let second = api.watch(&WatchParams::default(), "0").await;
    assert_eq!(second.map(|_| ()).map_err(|error| code(&error)), Err(429));
    drop(open);
    eventually("a closed watch makes room", || async {
        api.watch(&WatchParams::default(), "0").await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn lists_that_nobody_reads_are_few_and_do_not_stay() {
    let broker = Broker::with(|config| {
        config.limits.lists_per_credential = 2;
        config.limits.list_patience = Duration::from_millis(500);
        config.limits.request_burst = NonZeroU32::new(10_000).unwrap();
    })
    .await;
    let admin = broker.admin().await;
    let api = advertisements(&admin);
    let text = "x".repeat(14_000);
    // More than the sockets between the two take up.
    for at in 0..900 {
        let object = advertisement(&format!("west{at}"), "gw", &text);
        api.create(&PostParams::default(), &object).await.unwrap();
    }
    let hoarder = broker.account(NAMESPACE, "hoarder").await;
    let path = format!("/apis/sealane.dev/v1alpha1/namespaces/{NAMESPACE}/advertisements");
    let ask = || async {
        let request = http::Request::get(&path).body(kube::client::Body::empty()).unwrap();
        hoarder.send(request).await.unwrap()
    };
    let (one, two, third) = (ask().await, ask().await, ask().await);
    let codes = [&one, &two, &third].map(|answer| answer.status().as_u16());
    assert_eq!(codes, [200, 200, 429]);
    // Other accounts are not held back by it, nor is this one for ever.
    assert_eq!(api.list(&ListParams::default()).await.unwrap().items.len(), 900);
    eventually("unread lists are cut off", || async { ask().await.status().is_success() }).await;
    assert!(one.into_body().collect().await.is_err(), "the rest of the first list came after all");
}

#[tokio::test]
async fn who_shows_no_token_holds_no_place_against_who_does() {
    let broker = Broker::with(|config| {
        config.limits.strangers = 4;
        config.limits.strangers_per_source = 4;
    })
    .await;
    let address = broker.server.addresses()[0];
    let mut squatters = Vec::new();
    for _ in 0..12 {
        squatters.push(TcpStream::connect(address).await.unwrap());
    }
    let admin = broker.admin().await;
    assert!(advertisements(&admin).list(&ListParams::default()).await.is_ok());
    let watch = advertisements(&admin).watch(&WatchParams::default(), "0").await.unwrap();
    for squatter in &mut squatters[..8] {
        assert!(is_closed(squatter).await);
    }
    for _ in 0..12 {
        squatters.push(TcpStream::connect(address).await.unwrap());
    }
    // Known by its token, the connection of the watch is none of those that make room.
    still_hears(&admin, watch).await;
}

#[tokio::test]
async fn bodies_that_never_end_are_few_and_only_their_senders() {
    let broker = Broker::with(|config| config.limits.bodies_per_credential = 2).await;
    let admin = broker.admin().await;
    let hoarder = broker.account(NAMESPACE, "member-west").await;
    let token = new_token(&admin, NAMESPACE, "member-west").await;
    let config = config(broker.server.admin_kubeconfig(), None).await;
    let url = format!(
        "{}apis/sealane.dev/v1alpha1/namespaces/{NAMESPACE}/advertisements",
        config.cluster_url
    );
    let https = HttpsConnectorBuilder::new()
        .with_tls_config(config.rustls_client_config().unwrap())
        .https_only()
        .enable_http1()
        .build();
    let http = legacy::Client::builder(TokioExecutor::new()).build(https);
    let begin = || {
        let endless = StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>());
        let request = http::Request::post(&url).header("authorization", format!("Bearer {token}"));
        let (http, request) = (http.clone(), request.body(endless).unwrap());
        tokio::spawn(async move { http.request(request).await.map(|it| it.status().as_u16()) })
    };
    let sent: Vec<_> = (0..6).map(|_| begin()).collect();
    let refused = || sent.iter().filter(|sent| sent.is_finished()).count();
    eventually("all but two are refused", || async { refused() == 4 }).await;
    // What ends at once needs no such place, and others have their own.
    for (client, member) in [(&hoarder, "west"), (&admin, "east")] {
        let object = advertisement(member, "gw", "one");
        advertisements(client).create(&PostParams::default(), &object).await.unwrap();
    }
    assert_eq!(refused(), 4, "the two are waited for");
    for sent in sent.into_iter().filter(tokio::task::JoinHandle::is_finished) {
        assert_eq!(sent.await.unwrap().unwrap(), 429);
    }
}

#[tokio::test]
async fn a_connection_without_a_token_ends_in_time_and_one_with_it_does_not() {
    let patience = Duration::from_millis(300);
    let broker = Broker::with(|config| config.limits.stranger_patience = patience).await;
    let admin = broker.admin().await;
    let watch = advertisements(&admin).watch(&WatchParams::default(), "0").await.unwrap();
    let mut squatter = TcpStream::connect(broker.server.addresses()[0]).await.unwrap();
    assert!(is_closed(&mut squatter).await);
    still_hears(&admin, watch).await;
}

#[tokio::test]
async fn one_account_holds_its_share_of_connections_and_no_more() {
    let broker = Broker::with(|config| config.limits.connections_per_credential = 2).await;
    let admin = broker.admin().await;
    broker.account(NAMESPACE, "member-west").await;
    let token = new_token(&admin, NAMESPACE, "member-west").await;
    let mut clients = Vec::new();
    let mut outcomes = Vec::new();
    for _ in 0..3 {
        let client = broker.with_token(&token).await;
        outcomes.push(send(&client, "GET", "/version", &Value::Null).await.map(|_| ()));
        clients.push(client);
    }
    assert_eq!(outcomes, [Ok(()), Ok(()), Err(429)]);
    send(&admin, "GET", "/version", &Value::Null).await.unwrap();
    clients.truncate(1);
    eventually("a closed connection makes room", || async {
        let client = broker.with_token(&token).await;
        send(&client, "GET", "/version", &Value::Null).await.is_ok()
    })
    .await;
}

/// The watch tells of what is created now.
async fn still_hears(
    admin: &kube::Client,
    watch: impl Stream<Item = kube::Result<WatchEvent<DynamicObject>>>,
) {
    let object = advertisement("west", "gw", "one");
    advertisements(admin).create(&PostParams::default(), &object).await.unwrap();
    let told = soon("what the watch tells", pin!(watch).try_next()).await;
    assert!(matches!(told, Ok(Some(WatchEvent::Added(_)))), "{told:?}");
}

/// Sooner than a TLS handshake would time out.
async fn is_closed(connection: &mut TcpStream) -> bool {
    let end = tokio::time::timeout(Duration::from_secs(5), connection.read(&mut [0])).await;
    matches!(end, Ok(Ok(0) | Err(_)))
}
