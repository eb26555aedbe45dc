//! Joining: what is handed to the agent, what is shown while it works, and how the wait ends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use sealane_view::admin;
use serde_json::{Value, json};

use support::documents;
use support::fake_agent::{FakeAgent, nobody};
use support::program::{Desk, Run};

/// A desk with the token of cluster-a.
fn desk() -> Desk {
    let desk = Desk::with_clusterset();
    desk.run("token create --cluster cluster-a --cidr 10.1.0.0/16 --token-file a.token").ends(0);
    desk
}

fn joined() -> Value {
    json!({"clusterset": "vag7", "member": "cluster-a", "node": "node-1", "fingerprint": "2qtf-ab4x",
           "next": ["have it pinned"]})
}

fn join(desk: &Desk, agent: &FakeAgent, flags: &str) -> Run {
    let socket = agent.socket();
    desk.run(&format!("join --token-file a.token --socket {} {flags}", socket.display()))
}

/// The status of a host at each step of the way from its token to its lanes.
fn on_the_way() -> Vec<Value> {
    let mut up = documents::good_status();
    up["advertisedUnixSeconds"] = json!(documents::NOW);
    let mut no_lane = up.clone();
    no_lane["members"][0]["state"] = json!("connecting");
    no_lane["members"][0]["liveGateways"] = json!(0);
    let mut unsaid = no_lane.clone();
    unsaid.as_object_mut().unwrap().remove("advertisedUnixSeconds");
    let mut no_list = unsaid.clone();
    no_list.as_object_mut().unwrap().remove("clusterset");
    no_list["members"] = json!([]);
    let mut no_broker = no_list.clone();
    no_broker["broker"]["connected"] = json!(false);
    no_broker["broker"]["lastError"] = json!("connection refused");
    vec![no_broker, no_list, unsaid, no_lane, up]
}

#[test]
fn every_stage_is_a_line_and_the_end_is_the_status() {
    let agent = FakeAgent::changing([(admin::JOIN, vec![joined()]), (admin::STATUS, on_the_way())]);
    let run = join(&desk(), &agent, "").ends(0);
    let lines: Vec<&str> = run.err.lines().collect();
    let beginnings = [
        "token read: cluster-a of clusterset ",
        "enrolled: identity 2qtf-ab4x",
        "waiting for broker https://broker.example.net:6464: connection refused",
        "broker reached: https://broker.example.net:6464",
        "waiting for the list of members",
        "listed: version 4 of the list is accepted",
        "waiting for this gateway's certificate and advertisement to be on the broker",
        "certified: the broker holds this gateway's advertisement",
        "lanes: 0 of 2 up, waiting for cluster-b",
        "lanes: 2 of 2 up",
        "all is well",
    ];
    assert_eq!(lines.len(), beginnings.len(), "{}", run.err);
    for (line, beginning) in lines.iter().zip(beginnings) {
        assert!(line.starts_with(beginning), "{line:?} is not {beginning:?}");
    }
    for shown in ["fingerprint  2qtf-ab4x", "next: have it pinned", "cluster-b  up"] {
        assert!(run.out.contains(shown), "no {shown:?} in\n{}", run.out);
    }
}

#[test]
fn only_the_last_document_is_on_standard_output() {
    let agent = FakeAgent::changing([(admin::JOIN, vec![joined()]), (admin::STATUS, on_the_way())]);
    let run = join(&desk(), &agent, "-o json").ends(0);
    let document: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(document["fingerprint"], "2qtf-ab4x");
    assert_eq!(document["status"]["members"][0]["state"], "up");
}

#[test]
fn a_wait_that_is_over_says_what_was_waited_for_and_what_to_do() {
    for (stage, waited, next) in [
        (0, "connection refused", "may reach its port"),
        (1, "the list of members", "sealane clusterset apply"),
        (2, "certificate and advertisement", "journalctl"),
        (3, "0 of 2 up, waiting for cluster-b", "UDP port 51820"),
    ] {
        let status = on_the_way().swap_remove(stage);
        let agent = FakeAgent::with([(admin::JOIN, joined()), (admin::STATUS, status)]);
        let run = join(&desk(), &agent, "--timeout 1s").ends(1);
        let last = run.err.lines().next_back().unwrap();
        assert!(last.starts_with("sealane: joined, but not all is well after 1s: "), "{last}");
        assert!(last.contains(waited) && last.contains(next), "{last}");
        assert!(run.out.contains("cluster-a"), "{}", run.out);
    }
}

#[test]
fn a_problem_that_stays_is_named_with_its_own_next_step() {
    let mut status = on_the_way().pop().unwrap();
    status["problems"] = json!([{"severity": "part", "reason": "CidrNotGranted", "thing": "10.9.0.0/16",
        "cause": "the ClusterSet does not grant it", "next": "have root grant it"}]);
    let agent = FakeAgent::with([(admin::JOIN, joined()), (admin::STATUS, status)]);
    let run = join(&desk(), &agent, "--timeout 1s").ends(1);
    let last = run.err.lines().next_back().unwrap();
    assert!(last.contains("CidrNotGranted") && last.ends_with("; have root grant it"), "{last}");
}

#[test]
fn what_no_waiting_mends_ends_it_at_once_and_nobody_is_sent_to_pin() {
    let mut status = on_the_way().swap_remove(3);
    status["problems"] = json!([{"severity": "host", "reason": "EnrolmentConflict", "thing": "cluster-a",
        "cause": "another identity enrolled", "next": "sealane leave here, then a token with --rekey"}]);
    let agent = FakeAgent::with([(admin::JOIN, joined()), (admin::STATUS, status)]);
    let run = join(&desk(), &agent, "--timeout 10m").ends(1);
    let last = run.err.lines().next_back().unwrap();
    assert!(last.contains("EnrolmentConflict: cluster-a: another identity enrolled"), "{last}");
    assert!(last.ends_with("with --rekey"), "{last}");
    assert!(!run.out.contains("have it pinned"), "{}", run.out);
}

#[test]
fn the_first_member_waits_for_nobody() {
    let mut status = on_the_way().pop().unwrap();
    status["members"] = json!([{"member": "edge-1", "state": "absent", "gateways": 0, "liveGateways": 0,
                               "networks": {}, "reason": "not seen"}]);
    let agent = FakeAgent::with([(admin::JOIN, joined()), (admin::STATUS, status)]);
    let run = join(&desk(), &agent, "--timeout 10s").ends(0);
    assert!(run.err.contains("lanes: no other member has joined yet"), "{}", run.err);
}

#[test]
fn without_a_wait_the_status_is_not_asked() {
    let agent = FakeAgent::with([(admin::JOIN, joined())]);
    let run = join(&desk(), &agent, "--no-wait").ends(0);
    assert_eq!((run.err.as_str(), agent.asked().len()), ("", 1));
    assert!(run.out.contains("fingerprint  2qtf-ab4x"), "{}", run.out);
}

#[test]
fn a_refused_token_and_an_absent_agent_end_at_once() {
    let desk = desk();
    let refusing = FakeAgent::refusing(admin::JOIN, 422);
    let run = join(&desk, &refusing, "").ends(5);
    assert!(run.err.ends_with("sealane: not done: because of this; do that\n"), "{}", run.err);
    let socket = nobody(&desk.path(""));
    desk.run(&format!("join --token-file a.token --socket {}", socket.display())).ends(3);
}

#[test]
fn a_later_token_on_a_member_is_told_as_a_renewal() {
    let mut renewed = joined();
    renewed["renewed"] = json!(true);
    renewed["next"] = json!([]);
    let status = on_the_way().pop().unwrap();
    let agent = FakeAgent::with([(admin::JOIN, renewed), (admin::STATUS, status)]);
    let run = join(&desk(), &agent, "").ends(0);
    assert!(
        run.err.contains("renewed: the access to the broker is that of the token"),
        "{}",
        run.err
    );
    assert!(!run.err.contains("enrolled:"), "{}", run.err);
    assert!(run.out.contains("identity, keys and lanes stay"), "{}", run.out);
}
