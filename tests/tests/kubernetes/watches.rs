//! Watches on a broker.

use futures::StreamExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, WatchParams};

use crate::stage::{Room, advertisement, next};

on_each_broker!(
    a_watch_tells_every_change_in_order,
    a_watch_from_nothing_marks_the_end_of_what_there_was,
    a_watch_marks_where_it_is_before_it_ends,
);

async fn write(room: &Room, gateway: &str, word: &str) {
    let apply = PatchParams::apply("test").force();
    let object = advertisement("west", gateway, word);
    let name = format!("west.{gateway}");
    room.advertisements().patch(&name, &apply, &Patch::Apply(&object)).await.unwrap();
}

async fn a_watch_tells_every_change_in_order(room: Room) {
    let api = room.advertisements();
    let list = api.list(&ListParams::default()).await.unwrap();
    let place = list.metadata.resource_version.unwrap();
    write(&room, "a", "one").await;
    write(&room, "a", "two").await;
    let watch = WatchParams { bookmarks: false, ..WatchParams::default() };
    let mut events = api.watch(&watch, &place).await.unwrap().boxed();
    assert_eq!(next(&mut events).await, "ADDED west.a");
    assert_eq!(next(&mut events).await, "MODIFIED west.a");
    write(&room, "b", "one").await;
    assert_eq!(next(&mut events).await, "ADDED west.b");
    api.delete("west.a", &DeleteParams::default()).await.unwrap();
    assert_eq!(next(&mut events).await, "DELETED west.a");
    let one =
        WatchParams { bookmarks: false, ..WatchParams::default().fields("metadata.name=west.b") };
    let mut events = api.watch(&one, &place).await.unwrap().boxed();
    assert_eq!(next(&mut events).await, "ADDED west.b");
}

async fn a_watch_from_nothing_marks_the_end_of_what_there_was(room: Room) {
    write(&room, "a", "one").await;
    write(&room, "b", "one").await;
    let initial = WatchParams::default().initial_events();
    let mut events = room.advertisements().watch(&initial, "").await.unwrap().boxed();
    let mut there = [next(&mut events).await, next(&mut events).await];
    there.sort();
    assert_eq!(there, ["ADDED west.a", "ADDED west.b"]);
    assert_eq!(next(&mut events).await, "BOOKMARK of the end of what there was");
    write(&room, "b", "two").await;
    assert_eq!(next(&mut events).await, "MODIFIED west.b");
}

async fn a_watch_marks_where_it_is_before_it_ends(room: Room) {
    write(&room, "a", "one").await;
    let api = room.advertisements();
    let list = api.list(&ListParams::default()).await.unwrap();
    let brief = WatchParams::default().timeout(6).fields("metadata.name=west.a");
    let place = list.metadata.resource_version.unwrap();
    let mut events = api.watch(&brief, &place).await.unwrap().boxed();
    // Out of the watch's sight, yet the place to go on from.
    write(&room, "b", "one").await;
    assert_eq!(next(&mut events).await, "BOOKMARK");
}
