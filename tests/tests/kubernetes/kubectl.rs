//! `kubectl` on either broker, as a person uses it.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use sealane_tests::kubernetes::board::Make;
use serde_json::json;
use tokio::sync::mpsc;

use crate::stage::{Room, advertisement, soon};

on_each_broker!(kubectl_shows_what_there_is, kubectl_watches, kubectl_is_told_what_is_wrong);

fn apply(room: &Room, word: &str, how: &str) -> Result<String, String> {
    let text = json!(advertisement("west", "gw", word)).to_string();
    let arguments = format!("-n {} apply {how} -f -", room.namespace);
    room.board.kubectl_with(&arguments, &text).map_err(|fault| fault.to_string())
}

async fn kubectl_shows_what_there_is(room: Room) {
    assert!(apply(&room, "one", "").unwrap().contains("created"));
    assert!(apply(&room, "one", "").unwrap().contains("unchanged"));
    assert!(apply(&room, "two", "").unwrap().contains("configured"));
    assert!(
        apply(&room, "three", "--server-side --force-conflicts")
            .unwrap()
            .contains("serverside-applied")
    );

    let cells = |text: String| -> Vec<Vec<String>> {
        text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
    };
    let shown = cells(room.kubectl("get slad").unwrap());
    assert_eq!(shown[0], ["NAME", "MEMBER", "GATEWAY", "STATE", "NETWORKS", "EXPIRES", "AGE"]);
    assert_eq!(shown[1][..4], ["west.gw", "west", "gw", "active"]);
    // Go's form of a list has brackets and quotes on an API server.
    assert!(shown[1][4].contains("10.1.0.0/16") && shown[1][4].contains("fd01::/48"), "{shown:?}");
    assert_eq!(shown[1][5], "2030-01-01T00:00:00Z");
    let wide = cells(room.kubectl("get slad -o wide").unwrap());
    let columns = [
        "NAME",
        "MEMBER",
        "GATEWAY",
        "STATE",
        "NETWORKS",
        "EXPIRES",
        "VERSION",
        "ADDRESSES",
        "AGE",
    ];
    assert_eq!(wide[0], columns);
    assert!(wide[1].iter().any(|cell| cell.contains("203.0.113.1:51820")), "{wide:?}");
    let set = cells(room.kubectl("get slcs").unwrap());
    assert!(set.is_empty(), "{set:?}");

    assert!(
        room.kubectl("get sealane -o name").unwrap().contains("advertisement.sealane.dev/west.gw")
    );
    assert!(room.kubectl("describe advertisement west.gw").unwrap().contains("three"));
    assert_eq!(room.kubectl("get slad west.gw -o jsonpath={.spec.member}").unwrap(), "west");
    let explained = room.kubectl("explain advertisement.spec.cert").unwrap();
    assert!(
        explained.contains("signature") && explained.contains("signed by an identity key"),
        "{explained}"
    );
    assert!(room.kubectl("explain clusterset.spec").unwrap().contains("genesis"));
    room.kubectl("label slad west.gw site=lab").unwrap();
    assert!(room.kubectl("get slad -l site=lab -o name").unwrap().contains("west.gw"));
    assert!(room.kubectl("delete slad west.gw").unwrap().contains("deleted"));
    assert!(room.kubectl("get slad west.gw").unwrap_err().contains("NotFound"));
}

async fn kubectl_watches(room: Room) {
    apply(&room, "one", "").unwrap();
    let arguments = format!("-n {} get slad --watch --output-watch-events", room.namespace);
    let mut command = room.board.kubectl_command(&arguments);
    let mut watching = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let (tell, mut told) = mpsc::unbounded_channel();
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(tell.send(line))));
    let mut next = async || soon("a line of kubectl", told.recv()).await.unwrap();
    let header = next().await;
    assert!(header.starts_with("EVENT") && header.contains("MEMBER"), "{header}");
    assert!(next().await.starts_with("ADDED"));
    apply(&room, "two", "").unwrap();
    assert!(next().await.starts_with("MODIFIED"));
    room.kubectl("delete slad west.gw").unwrap();
    assert!(next().await.starts_with("DELETED"));
    watching.kill().unwrap();
    watching.wait().unwrap();
}

async fn kubectl_is_told_what_is_wrong(room: Room) {
    let arguments = format!("-n {} apply -f -", room.namespace);
    let said = |object: &serde_json::Value| {
        room.board.kubectl_with(&arguments, &object.to_string()).unwrap_err().to_string()
    };
    let mut renamed = json!(advertisement("west", "gw", "one"));
    renamed["metadata"]["name"] = json!("east.gw");
    let text = said(&renamed);
    let named = match room.board.make {
        Make::ApiServer => "the name must be spec.member, a dot and spec.gateway",
        Make::Embedded => "metadata.name: must be west.gw",
    };
    assert!(text.contains(named), "{text}");
    let mut typo = json!(advertisement("west", "gw", "one"));
    typo["spec"]["gatewya"] = json!("gw");
    let text = said(&typo);
    assert!(text.contains("unknown field \"spec.gatewya\""), "{text}");
}
