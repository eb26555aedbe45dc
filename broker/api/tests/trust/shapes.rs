//! Hostile inputs about sizes, counts, JSON and base64.

use crate::fixture::*;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};
use sealane_api::reason::Reason;
use serde_json::json;

#[test]
fn int_overflow() {
    let mut host = Host::settled();
    for number in ["9007199254740992", "-1", "1.0", "1e3", "\"7\"", "-0", "18446744073709551616"] {
        let ad = Ad::b_g1().sequence(777);
        let text = String::from_utf8(ad.payload_bytes()).unwrap();
        assert!(text.contains("777"));
        let spec = ad.spec_of(text.replace("777", number).as_bytes());
        host.reject_spec("b.g1", &spec, Reason::Malformed);
    }
}

#[test]
fn too_many() {
    let mut host = Host::settled();
    let cidrs: Vec<String> = (0..65).map(|at| format!("10.2.{at}.0/24")).collect();
    let ad = Ad::b_g1().sequence(8).edit(|payload| payload["networks"]["pods"] = json!(cidrs));
    host.reject(&ad, Reason::TooMany);

    let ad = Ad::b_g1().sequence(8).edit(|payload| {
        let candidates = vec![json!({"kind": "public", "addr": "192.0.2.7", "port": 1}); 17];
        payload["tunnels"][0]["candidates"] = json!(candidates);
    });
    host.reject(&ad, Reason::TooMany);

    let revoked = vec![json!({"gateway": "g9", "below": 1}); 17];
    let ad = Ad::b_g1().generation(101).edit_cert(|cert| cert["revoked"] = json!(revoked));
    host.reject(&ad, Reason::TooMany);
}

#[test]
fn too_large() {
    let mut host = Host::settled();
    let ad = Ad::b_g1().sequence(8);
    let mut bytes = ad.payload_bytes();
    bytes.resize(16_384, b' ');
    assert!(matches!(
        host.offer_spec("b.g1", &ad.spec_of(&bytes)),
        sealane_api::receiver::Verdict::Accepted { .. }
    ));
    bytes.push(b' ');
    host.reject_spec("b.g1", &ad.spec_of(&bytes), Reason::TooLarge);

    let mut spec = ad.spec();
    spec.enrolment = Some(spec.cert.clone());
    spec.enrolment.as_mut().unwrap().payload = "A".repeat(33 * 1024);
    host.reject_spec("b.g1", &spec, Reason::TooLarge);

    host.reject_list(&signed_list_bytes(&vec![b' '; 1_000_001]), Reason::TooLarge);
}

#[test]
fn a_list_of_the_largest_size_is_read() {
    let mut host = Host::fresh();
    let mut payload = list_json(&list());
    payload["version"] = json!(6);
    let mut bytes = payload.to_string().into_bytes();
    bytes.resize(1_000_000, b' ');
    host.accept_list(&signed_list_bytes(&bytes));
}

#[test]
fn too_many_of_something_in_a_list() {
    let mut host = Host::fresh();
    let cases = [
        ("cidrs", json!((0..65).map(|at| format!("10.2.{at}.0/24")).collect::<Vec<_>>())),
        ("namespaces", json!(vec!["x"; 65])),
        ("keys", json!(vec![b64([9; 32]); 3])),
        ("gateways", json!(65)),
    ];
    for (field, value) in cases {
        let mut payload = list_json(&list());
        payload["version"] = json!(6);
        payload["members"][1][field] = value;
        host.reject_list(&signed_json(&payload), Reason::TooLarge);
    }
}

#[test]
fn duplicate_json_key_unknown_field_and_trailing() {
    let mut host = Host::settled();
    let ad = Ad::b_g1().sequence(8);
    let text = String::from_utf8(ad.payload_bytes()).unwrap();
    let inner = text.strip_prefix('{').unwrap();
    let mut invalid_utf8 = text.clone().into_bytes();
    let at = text.find("0.1.0").unwrap();
    invalid_utf8[at] = 0xff;
    let deep = |depth: usize| {
        format!("{{\"ext\":{{\"x\":{}{}}},{inner}", "[".repeat(depth), "]".repeat(depth))
    };
    let cases: Vec<Vec<u8>> = vec![
        format!("{{\"v\":1,{inner}").into_bytes(),
        format!("{{\"extra\":1,{inner}").into_bytes(),
        format!("{text} x").into_bytes(),
        format!("{text}{text}").into_bytes(),
        format!("\u{feff}{text}").into_bytes(),
        deep(7).into_bytes(),
        invalid_utf8,
        b"[]".to_vec(),
        b"{}".to_vec(),
        b"".to_vec(),
        text.replace("\"pods\":", "\"pods\":1,\"pods\":").into_bytes(),
        text.replace("\"networks\":{", "\"networks\":{\"other\":[],").into_bytes(),
        text.replace("\"state\":\"active\"", "\"state\":\"asleep\"").into_bytes(),
    ];
    for bytes in cases {
        let spec = ad.spec_of(&bytes);
        host.reject_spec("b.g1", &spec, Reason::Malformed);
    }
    let verdict = host.offer_spec("b.g1", &ad.spec_of(deep(6).as_bytes()));
    assert!(matches!(verdict, sealane_api::receiver::Verdict::Accepted { .. }), "{verdict:?}");
}

#[test]
fn an_array_is_not_read_as_the_object_it_could_stand_for() {
    let mut host = Host::settled();
    let ad = Ad::b_g1().sequence(8).edit(|payload| {
        payload["networks"] = json!([["10.2.0.0/16"], [], []]);
    });
    host.reject(&ad, Reason::Malformed);
}

#[test]
fn critical_ext() {
    let mut host = Host::settled();
    let critical = Ad::b_g1().sequence(8).edit(|payload| {
        payload["ext"] = json!({"x": {"y": [1, null, true]}});
        payload["crit"] = json!(["x"]);
    });
    host.reject(&critical, Reason::UnknownCritical);
    host.accept(&Ad::b_g1().sequence(8).edit(|payload| payload["ext"] = json!({"x": 1})));
    let seventeen: serde_json::Map<_, _> = (0..17).map(|at| (at.to_string(), json!(at))).collect();
    let ad = Ad::b_g1().sequence(9).edit(|payload| payload["ext"] = json!(seventeen));
    host.reject(&ad, Reason::Malformed);
}

#[test]
fn version_2() {
    let mut host = Host::settled();
    let newer = |value: &mut serde_json::Value| {
        value["v"] = json!(2);
        value["fields of the future"] = json!("welcome");
    };
    host.reject(&Ad::b_g1().sequence(8).edit(newer), Reason::UnsupportedVersion);
    host.reject(&Ad::b_g1().generation(101).edit_cert(newer), Reason::UnsupportedVersion);
    let mut payload = list_json(&list());
    newer(&mut payload);
    host.reject_list(&signed_json(&payload), Reason::UnsupportedVersion);
}

#[test]
fn base64_bent() {
    let mut host = Host::settled();
    let ad = Ad::b_g1().sequence(8);
    let good = ad.spec();
    // 1 byte more or less, so that the payload needs padding.
    let mut padded = ad.payload_bytes();
    while padded.len() % 3 != 1 {
        padded.push(b' ');
    }
    let stray = {
        let text = STANDARD.encode(&padded);
        let body = text.trim_end_matches('=');
        let (start, last) = body.split_at(body.len() - 1);
        assert_eq!(last, "A", "a space ends in these bits; the test sets a stray one");
        format!("{start}B==")
    };
    let bend = |payload: String| {
        let mut spec = good.clone();
        spec.signed.payload = payload;
        spec
    };
    let text = STANDARD.encode(&padded);
    let cases = [
        bend(format!(" {text}")),
        bend(format!("{text}\n")),
        bend(STANDARD_NO_PAD.encode(&padded)),
        bend(URL_SAFE.encode([0xfb; 33])),
        bend(stray),
    ];
    for spec in cases {
        host.reject_spec("b.g1", &spec, Reason::BadEncoding);
    }
    let mut short = good.clone();
    short.signed.signature = STANDARD.encode([1; 63]);
    host.reject_spec("b.g1", &short, Reason::BadEncoding);
}

#[test]
fn an_unsigned_view_of_any_shape_refuses_nothing() {
    let spec = Ad::b_g1().spec();
    let mut object = json!({"spec": serde_json::to_value(&spec).unwrap()});
    object["spec"]["view"] = json!([1, "nonsense"]);
    let read: sealane_api::kinds::AdvertisementSpec = sealane_api::kinds::spec(&object).unwrap();
    assert_eq!(read, spec);
}

#[test]
fn a_refusal_never_carries_control_characters_of_the_object() {
    let mut object = json!({"spec": serde_json::to_value(Ad::b_g1().spec()).unwrap()});
    object["spec"]["signed"]["\u{1b}[31mred"] = json!(1);
    let refused = sealane_api::kinds::spec::<sealane_api::kinds::AdvertisementSpec>(&object);
    let text = refused.unwrap_err().to_string();
    assert!(!text.chars().any(char::is_control), "{text:?}");

    let mut host = Host::settled();
    let mut spec = Ad::b_g1().spec();
    spec.member = "\u{1b}b".to_owned();
    let verdict = host.offer_spec("\u{1b}b.g1", &spec);
    let sealane_api::receiver::Verdict::Rejected(rejected) = verdict else { panic!() };
    assert!(!rejected.to_string().chars().any(char::is_control), "{rejected}");
    let ad = Ad::b_g1().sequence(8).edit(|payload| payload["\u{1b}x"] = json!(1));
    let sealane_api::receiver::Verdict::Rejected(rejected) = host.offer(&ad) else { panic!() };
    assert!(!rejected.to_string().chars().any(char::is_control), "{rejected}");
}

#[test]
fn an_object_without_its_signed_parts_is_malformed() {
    for object in [json!({}), json!({"spec": 1}), json!({"spec": {"member": "b", "gateway": "g1"}})]
    {
        let read = sealane_api::kinds::spec::<sealane_api::kinds::AdvertisementSpec>(&object);
        assert_eq!(read.unwrap_err().reason, Reason::Malformed);
    }
}
