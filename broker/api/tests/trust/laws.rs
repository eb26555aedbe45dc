//! Laws about one host: refusals leave no trace, nothing panics.

use crate::fixture::*;
use proptest::prelude::*;
use sealane_api::cidr::{Cidr, Ownership};
use sealane_api::clusterset::{ClusterSet, MemberEntry};
use sealane_api::names::{ClusterId, GatewayName};
use sealane_api::reason::Reason;
use sealane_api::receiver::Verdict;
use sealane_api::token::Token;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn mutated_envelopes_never_panic_and_never_change_what_is_held(
        at in any::<prop::sample::Index>(), byte in any::<u8>(), part in 0..4_usize
    ) {
        let mut host = Host::settled();
        let mut spec = Ad::b_g1().sequence(8).spec();
        let text = match part {
            0 => &mut spec.signed.payload,
            1 => &mut spec.signed.signature,
            2 => &mut spec.cert.payload,
            _ => &mut spec.cert.signature,
        };
        let mut bytes = text.clone().into_bytes();
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != byte);
        bytes[at] = byte;
        *text = String::from_utf8_lossy(&bytes).into_owned();
        // `Host` asserts that a refusal leaves everything as it was.
        let verdict = host.offer_spec("b.g1", &spec);
        prop_assert!(reason_of(&verdict).is_some(), "{verdict:?}");
    }

    #[test]
    fn any_signed_bytes_are_judged_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut host = Host::settled();
        let verdict = host.offer_spec("b.g1", &Ad::b_g1().spec_of(&bytes));
        prop_assert!(reason_of(&verdict).is_some());
        let verdict = host.offer_list(&signed_list_bytes(&bytes));
        prop_assert!(reason_of(&verdict).is_some());
    }

    #[test]
    fn any_single_field_of_any_type_is_judged_without_panic(
        field in 0..12_usize, value in odd_value(), in_cert in any::<bool>()
    ) {
        let mut host = Host::settled();
        let put = |target: &mut Value| {
            let fields = target.as_object_mut().unwrap();
            let name = fields.keys().nth(field % fields.len()).unwrap().clone();
            fields.insert(name, value.clone());
        };
        let ad = Ad::b_g1().sequence(8);
        let ad = if in_cert { ad.edit_cert(put) } else { ad.edit(put) };
        host.offer(&ad);
    }

    #[test]
    fn any_text_is_a_damaged_token(text in ".{0,200}") {
        prop_assert!(Token::decode(&text).is_err());
        let framed = format!("slj1.{text}.00000000");
        prop_assert!(Token::decode(&framed).is_err());
    }

    #[test]
    fn the_overlap_sweep_agrees_with_comparing_all_pairs(
        networks in prop::collection::vec((any::<[u8; 2]>(), 8..=24_u8, 0..3_usize), 0..12)
    ) {
        let pairs: Vec<(Cidr, usize)> = networks
            .iter()
            .map(|([a, b], length, owner)| {
                let address = std::net::Ipv4Addr::new(10, *a % 4, *b, 0).into();
                (Cidr::covering(address, *length).unwrap(), *owner)
            })
            .collect();
        let overlap = pairs.iter().enumerate().any(|(at, one)| {
            pairs[..at].iter().any(|other| other.1 != one.1 && other.0.overlaps(&one.0))
        });
        prop_assert_eq!(Ownership::of(pairs).first_overlap().is_some(), overlap);
    }

    #[test]
    fn names_read_back_as_written(text in "[a-z0-9.-]{0,70}") {
        if let Ok(name) = ClusterId::parse(&text) {
            prop_assert_eq!(name.as_str(), text.as_str());
        }
        if let Ok(name) = GatewayName::parse(&text) {
            prop_assert_eq!(name.to_string(), text);
        }
    }
}

fn odd_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,50}".prop_map(Value::from),
        prop::collection::vec(any::<u8>(), 0..5).prop_map(Value::from),
        Just(json!({"a": {"b": []}})),
    ]
}

#[test]
fn two_hosts_with_the_same_inputs_accept_the_same() {
    let mut host = Host::settled();
    let mut other = Host::settled();
    let from_other_host = sealane_api::remote::LocalFacts {
        own: sealane_api::names::GatewayId::parse("a.g1").unwrap(),
        ..facts()
    };
    other.facts = from_other_host;
    for ad in [Ad::b_g1().sequence(8), Ad::c_g1().sequence(8).pods(&["10.9.0.0/16"])] {
        assert_eq!(host.offer(&ad), other.offer(&ad));
    }
    assert_eq!(host.receiver.held(), other.receiver.held());
}

#[test]
fn every_reason_has_a_name_of_its_own_and_says_what_to_do() {
    let names: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(names.len(), Reason::ALL.len());
    for reason in Reason::ALL {
        let text = reason.to_string();
        assert!(text.contains("; ") && !text.ends_with('.') && !text.contains('\n'), "{text}");
        assert_eq!(format!("{reason:?}"), reason.as_str());
    }
}

/// Members of the smaller and the larger list.
const SIZES: [u32; 2] = [400, 4_000];
/// Linear, with room for a busy machine: comparing all pairs takes a hundred times as long.
const GROWTH: u32 = 40;
/// Times below this are not compared.
const NOTICEABLE: Duration = Duration::from_millis(2);

#[test]
fn ten_times_as_many_members_are_judged_in_about_ten_times_as_long() {
    let took = SIZES.map(|count| {
        let (spec, mut host) = (signed_list(&with(count)), Host::fresh());
        let begin = Instant::now();
        let verdict = host.offer_list(&spec);
        let took = begin.elapsed();
        assert!(matches!(verdict, Verdict::Accepted { .. }), "{verdict:?}");
        assert!(host.receiver.clusterset().unwrap().grants().first_overlap().is_none());
        took
    });
    assert!(took[1] < GROWTH * took[0].max(NOTICEABLE), "{SIZES:?} members: {took:?}");
}

/// The list of so many more members, each with a key and a network of its own.
fn with(count: u32) -> ClusterSet {
    let mut big = list();
    for number in 0..count {
        let (high, low) = (number / 250 + 20, number % 250);
        let cidrs = vec![Cidr::parse(&format!("10.{high}.{low}.0/24")).unwrap()];
        let mut entry = MemberEntry::granting(cidrs);
        let mut bytes = [0x55; 32];
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        let key = sealane_api::keys::SigningSeed::from_bytes(zeroize::Zeroizing::new(bytes));
        entry.keys = vec![key.public()];
        big.members.insert(ClusterId::parse(&format!("m{number}")).unwrap(), entry);
    }
    big.position.version = 6;
    big
}
