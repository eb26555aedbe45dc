//! A broker that no longer knows how it came to what it holds: 410 Gone. Each case has a broker of its
//! own, which the others would miss meanwhile.

use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchParams};
use sealane_broker::board::Kind;
use sealane_broker::mirror;
use sealane_tests::kubernetes::board::{Board, HISTORY, Make, NAMESPACE};
use sealane_tests::kubernetes::detour::Detour;
use sealane_tests::kubernetes::error::BoardError;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::client::short;
use crate::stage::{advertisement, next, objects, refusal, runtime, soon};

#[test]
fn an_api_server_that_forgot_says_so_and_members_list_again() {
    forgets(Board::without_cache());
}

#[test]
fn an_embedded_broker_that_forgot_says_so_and_members_list_again() {
    forgets(Board::start(Make::Embedded));
}

fn forgets(board: Result<Option<Board>, BoardError>) {
    let Some(board) = board.unwrap() else { return };
    let runtime = runtime();
    runtime.block_on(places_that_are_forgotten_are_410(&board));
    runtime.block_on(a_mirror_lists_again_and_misses_nothing(&board));
}

/// Changes the label of an object until what was before is out of sight.
async fn forget(board: &Board) {
    let api = objects(&board.admin(NAMESPACE).await.unwrap(), Kind::Advertisement);
    for turn in 0..=HISTORY {
        let label = json!({"metadata": {"labels": {"turn": turn.to_string()}}});
        api.patch("west.b", &PatchParams::default(), &Patch::Merge(&label)).await.unwrap();
    }
    board.forget().unwrap();
    let label = json!({"metadata": {"labels": null}});
    api.patch("west.b", &PatchParams::default(), &Patch::Merge(&label)).await.unwrap();
}

async fn places_that_are_forgotten_are_410(board: &Board) {
    let api = objects(&board.admin(NAMESPACE).await.unwrap(), Kind::Advertisement);
    for gateway in ["a", "b"] {
        let object = advertisement("west", gateway, "one");
        api.create(&PostParams::default(), &object).await.unwrap();
    }
    let one = ListParams { limit: Some(1), ..ListParams::default() };
    let page = api.list(&one).await.unwrap();
    let (place, token) =
        (page.metadata.resource_version.unwrap(), page.metadata.continue_.unwrap());
    forget(board).await;

    match api.watch(&WatchParams::default(), &place).await {
        Ok(events) => assert_eq!(next(&mut events.boxed()).await, "ERROR 410"),
        refused => assert_eq!(refusal(refused.map(drop)).code, 410),
    }
    let rest = ListParams { continue_token: Some(token), ..one };
    let status = refusal(api.list(&rest).await);
    assert_eq!((status.code, &*status.reason), (410, "Expired"), "{}", status.message);
    assert_eq!(api.list(&ListParams::default()).await.unwrap().items.len(), 2);
}

async fn a_mirror_lists_again_and_misses_nothing(board: &Board) {
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
    let api = objects(&board.admin(NAMESPACE).await.unwrap(), Kind::Advertisement);
    api.create(&PostParams::default(), &advertisement("west", "c", "one")).await.unwrap();
    assert_eq!(next().await, "Advertisement west.c=one");
    // A watch that ends within a second is a fault; one that lasted is resumed where it ended.
    assert!(timeout(Duration::from_millis(1200), next()).await.is_err());

    detour.close();
    api.delete("west.a", &DeleteParams::default()).await.unwrap();
    api.create(&PostParams::default(), &advertisement("west", "d", "one")).await.unwrap();
    forget(board).await;
    detour.open();
    // Whether the watch was resumed and refused or its connection was lost first: what was missed comes
    // by a list, and nothing else does before.
    loop {
        match next().await.as_str() {
            "Advertisement: west.b=one west.c=one west.d=one" => break,
            "ClusterSet:" | "away" | "reachable" => {}
            other => panic!("{other}"),
        }
    }
    api.create(&PostParams::default(), &advertisement("west", "e", "one")).await.unwrap();
    while next().await != "Advertisement west.e=one" {}
    follower.abort();
}
