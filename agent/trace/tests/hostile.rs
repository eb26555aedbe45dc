//! What others send, and what hosts look like when they are broken: a trace always ends with a verdict.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod lab;

use lab::Lab;
use proptest::prelude::*;
use sealane_trace::nft::ruleset::Ruleset;
use sealane_trace::wire::{self, WireError};
use sealane_view::trace::{HopView, Outcome, Stage, TraceAnswer, TraceEnd};
use serde_json::{Value, json};

fn question() -> Value {
    json!({ "version": 1, "source": "10.1.1.10", "destination": "10.2.1.10", "choice": 0, "hopsLeft": 3 })
}

fn answer(hops: usize, at: &str, detail: &str) -> TraceAnswer {
    let hop = HopView {
        at: at.to_owned(),
        stage: Stage::Nft,
        what: "x".to_owned(),
        detail: detail.to_owned(),
        outcome: Outcome::Ok,
    };
    let end = TraceEnd::Delivered { at: at.to_owned(), link: None };
    TraceAnswer { version: 1, hops: vec![hop.clone(); hops], back: vec![hop; hops], end }
}

#[test]
fn a_question_of_our_form_is_read() {
    let read = wire::read_question(question().to_string().as_bytes()).unwrap();
    assert_eq!(read.hops_left, 3);
    assert_eq!(wire::read_question(&wire::question_bytes(&read).unwrap()).unwrap(), read);
}

#[test]
fn a_question_cannot_be_asked_on_without_end() {
    let mut question = question();
    question["hopsLeft"] = json!(255);
    let read = wire::read_question(question.to_string().as_bytes()).unwrap();
    assert_eq!(read.hops_left, wire::MOST_AGENTS);
}

#[test]
fn questions_of_another_form_are_refused() {
    let refusal = |change: &dyn Fn(&mut Value)| {
        let mut question = question();
        change(&mut question);
        wire::read_question(question.to_string().as_bytes()).unwrap_err()
    };
    let newer = refusal(&|it| {
        it["version"] = json!(2);
        it["port"] = json!(80);
    });
    assert!(matches!(newer, WireError::Version(2)), "{newer}");
    let mixed = refusal(&|it| it["source"] = json!("fd00::1"));
    assert!(matches!(mixed, WireError::Families { .. }), "{mixed}");
    let unknown = refusal(&|it| it["run"] = json!("x"));
    assert!(matches!(unknown, WireError::Form(_)), "{unknown}");
    let long = refusal(&|it| it["pad"] = json!("x".repeat(2000)));
    assert!(matches!(long, WireError::TooLong { .. }), "{long}");
}

#[test]
fn an_answer_never_grows_past_what_is_read() {
    let bytes = wire::answer_bytes(&answer(5000, "cluster-2.gw", &"x".repeat(5000))).unwrap();
    assert!(bytes.len() <= wire::LARGEST_ANSWER);
    assert!(wire::read_answer(&bytes, "cluster-2.gw", "cluster-1.gw").is_ok());
}

#[test]
fn an_answer_cannot_write_on_a_terminal_or_speak_for_the_one_who_asked() {
    let bytes = serde_json::to_vec(&answer(1, "cluster-1.gw", "\u{1b}[2Jok\n\u{202e}")).unwrap();
    let read = wire::read_answer(&bytes, "cluster-2.gw", "cluster-1.gw").unwrap();
    assert_eq!(read.hops[0].detail, "?[2Jok??");
    assert_eq!(read.hops[0].at, "cluster-2.gw");
    assert_eq!(read.end, TraceEnd::Delivered { at: "cluster-2.gw".to_owned(), link: None });
}

fn value() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        "match|vmap|dnat|jump|goto|drop|accept|xt|meta|ct|payload|set|range|prefix|elem|concat|map|fib",
        "left|right|op|key|data|addr|target|val|field|protocol|mark|daddr|==|@remote4|10.2.1.10",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(word.clone(), inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_broken_host_never_gets_an_ok_without_delivery(
        removals in prop::collection::vec((0usize..4, any::<usize>()), 0..6),
        choice in any::<u8>(),
    ) {
        let mut lab = Lab::in_order();
        lab.choice = choice;
        for (host, line) in removals {
            lab.hosts().nth(host).unwrap().remove_at(line);
        }
        for (source, destination) in [("10.1.1.10", "10.2.1.10"), ("", "fd02:0:0:1::a")] {
            let document = lab.trace("cluster-1.w", source, destination);
            prop_assert!(document.verdict.contains(" -> "));
            if document.outcome == Outcome::Ok {
                prop_assert!(document.verdict.contains("is delivered at cluster-2.w"), "{}", document.verdict);
            }
        }
    }

    #[test]
    fn any_statement_in_a_ruleset_leaves_a_verdict(
        statements in prop::collection::vec((0usize..4, any::<usize>(), value()), 1..4),
    ) {
        let mut lab = Lab::in_order();
        for (host, place, value) in statements {
            lab.hosts().nth(host).unwrap().replace_statement(place, &value);
        }
        let document = lab.trace("cluster-1.w", "10.1.1.10", "10.2.1.10");
        prop_assert!(document.verdict.contains(" -> "));
    }

    #[test]
    fn any_text_is_a_ruleset_a_question_an_answer_or_an_error(text in ".{0,200}", value in value()) {
        for text in [text, value.to_string(), json!({ "nftables": [value] }).to_string()] {
            let _ = Ruleset::read(&text);
            let _ = wire::read_question(text.as_bytes());
            let _ = wire::read_answer(text.as_bytes(), "a.b", "c.d");
        }
    }
}
