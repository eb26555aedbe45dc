//! The broker client of the product on either broker, as a member.

use kube::api::{Patch, PatchParams};
use sealane_broker::board::{BoardEvent, Kind};
use sealane_broker::mirror;
use sealane_broker::publish::{self, Found, Retry};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::stage::{Room, advertisement, soon};

on_each_broker!(
    a_member_writes_what_is_not_there_yet,
    a_refusal_says_whether_trying_again_helps,
    a_mirror_tells_what_there_is_then_every_change,
);

fn spec(member: &str, word: &str) -> Value {
    advertisement(member, "gw", word).data["spec"].clone()
}

async fn a_member_writes_what_is_not_there_yet(room: Room) {
    let token = room.board.member(&room.namespace, "west").await.unwrap();
    let west = room.board.client(&room.board.url, &room.namespace, &token).unwrap();
    let say = async |word: &str| {
        publish::publish(&west, Kind::Advertisement, "west.gw", &spec("west", word)).await.unwrap()
    };
    let read = async || publish::read(&west, Kind::Advertisement, "west.gw").await.unwrap();
    assert_eq!(read().await, None);
    assert_eq!(say("one").await, Found::Other);
    assert_eq!(read().await, Some(spec("west", "one")));
    assert_eq!(say("one").await, Found::Same);
    let change = json!({"spec": {"signed": {"payload": "meddled"}}});
    let meddle = Patch::Merge(&change);
    room.advertisements().patch("west.gw", &PatchParams::default(), &meddle).await.unwrap();
    assert_eq!(say("one").await, Found::Other);
    assert_eq!(read().await, Some(spec("west", "one")));
}

async fn a_refusal_says_whether_trying_again_helps(room: Room) {
    let token = room.board.member(&room.namespace, "west").await.unwrap();
    let west = room.board.client(&room.board.url, &room.namespace, &token).unwrap();
    let write = async |broker, name: &str, spec: &Value| {
        publish::publish(broker, Kind::Advertisement, name, spec).await.unwrap_err()
    };
    let refused = write(&west, "east.gw", &spec("east", "one")).await;
    assert_eq!(refused.retry, Retry::OnChange, "{refused}");
    let refused = write(&west, "west.gw", &json!({"member": "west", "gateway": "gw"})).await;
    assert_eq!(refused.retry, Retry::OnChange, "{refused}");
    let stranger = room.board.client(&room.board.url, &room.namespace, "nonsense").unwrap();
    let refused = write(&stranger, "west.gw", &spec("west", "one")).await;
    assert_eq!(refused.retry, Retry::OnChange, "{refused}");
    let nobody = room.board.client("https://127.0.0.1:1", &room.namespace, &token).unwrap();
    let refused = write(&nobody, "west.gw", &spec("west", "one")).await;
    assert_eq!(refused.retry, Retry::Soon, "{refused}");
}

async fn a_mirror_tells_what_there_is_then_every_change(room: Room) {
    let token = room.board.member(&room.namespace, "west").await.unwrap();
    let west = room.board.client(&room.board.url, &room.namespace, &token).unwrap();
    let write = async |word: &str| {
        let spec = spec("west", word);
        publish::publish(&west, Kind::Advertisement, "west.gw", &spec).await.unwrap();
    };
    write("one").await;
    let (sender, mut events) = mpsc::channel(16);
    let follower = tokio::spawn(mirror::follow(vec![west.clone()], sender));
    let mut next = async || short(&soon("news", events.recv()).await.unwrap());
    assert_eq!(next().await, "reachable");
    assert_eq!(next().await, "ClusterSet:");
    assert_eq!(next().await, "Advertisement: west.gw=one");
    write("two").await;
    assert_eq!(next().await, "Advertisement west.gw=two");
    publish::read(&west, Kind::Advertisement, "west.gw").await.unwrap();
    room.advertisements().delete("west.gw", &Default::default()).await.unwrap();
    assert_eq!(next().await, "Advertisement west.gw gone");
    follower.abort();
}

/// An event without what differs between brokers.
pub(crate) fn short(event: &BoardEvent) -> String {
    let sighting = |it: &sealane_broker::board::Sighting| {
        format!("{}={}", it.name, it.spec["signed"]["payload"].as_str().unwrap_or_default())
    };
    match event {
        BoardEvent::Listed(kind, all) => {
            let all: Vec<String> = all.iter().map(sighting).collect();
            format!("{kind:?}: {}", all.join(" ")).trim().to_owned()
        }
        BoardEvent::Written(kind, one) => format!("{kind:?} {}", sighting(one)),
        BoardEvent::Gone(kind, name) => format!("{kind:?} {name} gone"),
        BoardEvent::Reachable(_) => "reachable".to_owned(),
        BoardEvent::Unreachable { .. } => "away".to_owned(),
    }
}
