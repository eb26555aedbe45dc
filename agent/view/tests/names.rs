//! The names in documents are a promise to scripts: this is what they look like.
#![allow(clippy::unwrap_used)]

use sealane_view::membership::{JoinRequest, LeaveRequest, WithoutBroker};
use sealane_view::status::{MemberState, MemberView, NetworksView, StatusDocument};
use sealane_view::trace::{HopView, Outcome, Stage, TraceDocument};
use serde_json::{Value, json};

#[test]
fn a_member_is_shown_with_units_in_the_names_and_without_nulls() {
    let member = MemberView {
        member: "edge".to_owned(),
        state: MemberState::Degraded,
        gateways: 2,
        live_gateways: 1,
        via: Some("box".to_owned()),
        networks: NetworksView {
            external: vec!["10.7.0.0/24".parse().unwrap()],
            ..NetworksView::default()
        },
        granted: Vec::new(),
        rtt_microseconds: Some(12_000),
        loss_permille: Some(0),
        path_mtu_bytes: None,
        since_unix_seconds: None,
        reason: "1 of 2 gateways answer".to_owned(),
    };
    let expected = json!({
        "member": "edge", "state": "degraded", "gateways": 2, "liveGateways": 1, "via": "box",
        "networks": {"pods": [], "services": [], "external": ["10.7.0.0/24"]},
        "rttMicroseconds": 12000, "lossPermille": 0, "reason": "1 of 2 gateways answer",
    });
    assert_eq!(serde_json::to_value(&member).unwrap(), expected);
    assert_eq!(serde_json::from_value::<MemberView>(expected).unwrap(), member);
}

#[test]
fn a_trace_says_where_and_what_in_order() {
    let hop = HopView {
        at: "north.g1".to_owned(),
        stage: Stage::ReturnPath,
        what: "10.7.0.0/24 dev sealane0".to_owned(),
        detail: "the answer takes the lane it came by".to_owned(),
        outcome: Outcome::Ok,
    };
    let trace = TraceDocument {
        source: None,
        destination: "10.7.0.1".parse().unwrap(),
        hops: vec![hop],
        outcome: Outcome::Ok,
        verdict: "nothing on the way stops it".to_owned(),
    };
    let text = serde_json::to_string(&trace).unwrap();
    assert!(text.contains(r#""stage":"returnPath""#) && text.contains(r#""outcome":"ok""#));
    assert_eq!(serde_json::from_str::<TraceDocument>(&text).unwrap(), trace);
}

#[test]
fn documents_of_a_newer_agent_can_still_be_read() {
    let newer = json!({"node": "box", "roles": ["keeper"], "somethingNew": 1});
    let status: StatusDocument = serde_json::from_value(newer).unwrap();
    assert_eq!((status.node.as_str(), status.member), ("box", None));
}

#[test]
fn requests_with_a_misspelt_field_are_refused_before_anything_is_done() {
    let misspelt: Value = json!({"withoutbroker": "leave"});
    assert!(serde_json::from_value::<LeaveRequest>(misspelt).is_err());
    let leave: LeaveRequest = serde_json::from_value(json!({"withoutBroker": "leave"})).unwrap();
    assert_eq!(leave.without_broker, WithoutBroker::Leave);
    assert!(serde_json::from_value::<JoinRequest>(json!({"token": "t", "force": true})).is_err());
}
