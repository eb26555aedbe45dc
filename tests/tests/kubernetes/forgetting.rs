//! A broker that no longer knows how it came to what it holds: 410 Gone. Each case has a broker of its
//! own, which the others would miss meanwhile.

use std::net::SocketAddr;

use futures::StreamExt;
use kube::api::{ListParams, PostParams, WatchParams};
use sealane_broker::mirror;
use sealane_tests::kubernetes::board::{Board, Make, NAMESPACE};
use sealane_tests::kubernetes::detour::Detour;
use tokio::sync::mpsc;

use crate::client::short;
use crate::stage::{advertisement, next, objects, refusal, runtime, soon};
use sealane_broker::board::Kind;

#[test]
fn an_api_server_that_forgot_says_so_and_members_list_again() {
    forgets(Make::ApiServer);
}

#[test]
fn an_embedded_broker_that_forgot_says_so_and_members_list_again() {
    forgets(Make::Embedded);
}

fn forgets(make: Make) {
    let Some(mut board) = Board::start(make).unwrap() else { return };
    let runtime = runtime();
    runtime.block_on(places_that_are_forgotten_are_410(&mut board));
    runtime.block_on(a_mirror_lists_again_and_misses_nothing(&mut board));
}

async fn places_that_are_forgotten_are_410(board: &mut Board) {
    let api = |admin| objects(&admin, Kind::Advertisement);
    let old = api(board.admin(NAMESPACE).await.unwrap());
    for gateway in ["a", "b"] {
        let object = advertisement("west", gateway, "one");
        old.create(&PostParams::default(), &object).await.unwrap();
    }
    let one = ListParams { limit: Some(1), ..ListParams::default() };
    let page = old.list(&one).await.unwrap();
    let (place, token) =
        (page.metadata.resource_version.unwrap(), page.metadata.continue_.unwrap());
    board.forget().unwrap();

    let api = api(board.admin(NAMESPACE).await.unwrap());
    let mut events = match api.watch(&WatchParams::default(), &place).await {
        Ok(events) => events.boxed(),
        refused => return assert_eq!(refusal(refused.map(drop)).code, 410),
    };
    assert_eq!(next(&mut events).await, "ERROR 410");
    let rest = ListParams { continue_token: Some(token), ..one };
    let status = refusal(api.list(&rest).await);
    assert_eq!((status.code, &*status.reason), (410, "Expired"), "{}", status.message);
    assert_eq!(api.list(&ListParams::default()).await.unwrap().items.len(), 2);
}

async fn a_mirror_lists_again_and_misses_nothing(board: &mut Board) {
    let token = board.member(NAMESPACE, "west").await.unwrap();
    let target: SocketAddr = board.url.trim_start_matches("https://").parse().unwrap();
    let detour = Detour::to(target).await.unwrap();
    let url = format!("https://{}", detour.address);
    let west = board.client(&url, NAMESPACE, &token).unwrap();
    let (sender, mut events) = mpsc::channel(16);
    let follower = tokio::spawn(mirror::follow(vec![west], sender));
    let mut next = async || short(&soon("news", events.recv()).await.unwrap());
    assert_eq!(next().await, "reachable");
    assert_eq!(next().await, "ClusterSet:");
    assert_eq!(next().await, "Advertisement: west.a=one west.b=one");
    // A watch that has spoken may end: the mirror goes on where it ended.
    let admin = board.admin(NAMESPACE).await.unwrap();
    let api = objects(&admin, Kind::Advertisement);
    api.create(&PostParams::default(), &advertisement("west", "c", "one")).await.unwrap();
    assert_eq!(next().await, "Advertisement west.c=one");

    detour.close();
    api.delete("west.a", &Default::default()).await.unwrap();
    api.create(&PostParams::default(), &advertisement("west", "d", "one")).await.unwrap();
    board.forget().unwrap();
    detour.open();
    loop {
        match next().await.as_str() {
            "Advertisement: west.b=one west.c=one west.d=one" => break,
            // However the connections ended, what was missed comes by a list.
            "away" | "reachable" | "ClusterSet:" => {}
            other => panic!("{other}"),
        }
    }
    let admin = board.admin(NAMESPACE).await.unwrap();
    let api = objects(&admin, Kind::Advertisement);
    api.create(&PostParams::default(), &advertisement("west", "e", "one")).await.unwrap();
    while next().await != "Advertisement west.e=one" {}
    follower.abort();
}
