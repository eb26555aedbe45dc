//! What stands exactly at a limit is taken; one more is refused.

use crate::fixture::*;
use crate::service_fixture::Service;
use sealane_api::pace::Pace;
use sealane_api::reason::Reason;
use sealane_api::receiver::Verdict;
use serde_json::{Value, json};

fn many(count: usize, one: impl Fn(usize) -> Value) -> Value {
    (0..count).map(one).collect()
}

fn network(at: usize) -> Value {
    json!(format!("10.2.{at}.0/24"))
}

fn candidate(at: usize) -> Value {
    json!({"kind": "public", "addr": "192.0.2.7", "port": 1_000 + at})
}

fn assert_at_limit(what: &str, refused: Reason, most: Verdict, more: Verdict) {
    assert!(matches!(most, Verdict::Accepted { .. }), "the most {what}: {most:?}");
    assert_eq!(reason_of(&more), Some(refused), "more {what}: {more:?}");
}

/// An advertisement with so much of something; whether it is in the payload or in the certificate.
type Saying = fn(usize) -> Ad;

#[test]
fn an_advertisement_may_hold_what_the_limits_name_and_nothing_more() {
    let cases: [(&str, usize, Reason, Saying); 9] = [
        ("networks", 64, Reason::TooMany, |count| {
            Ad::b_g1().edit(|it| it["networks"]["pods"] = many(count, network))
        }),
        ("networks of three kinds", 64, Reason::TooMany, |count| {
            Ad::b_g1().edit(|it| {
                it["networks"]["pods"] = many(count - 2, network);
                it["networks"]["services"] = json!(["10.2.200.0/24"]);
                it["networks"]["external"] = json!(["10.2.201.0/24"]);
            })
        }),
        ("candidates", 16, Reason::TooMany, |count| {
            Ad::b_g1().edit(|it| it["tunnels"][0]["candidates"] = many(count, candidate))
        }),
        ("revocations", 16, Reason::TooMany, |count| {
            let revoked = many(count, |at| json!({"gateway": format!("g{}", at + 9), "below": 1}));
            Ad::b_g1().edit_cert(|it| it["revoked"] = revoked)
        }),
        ("bytes of a version", 32, Reason::Malformed, |count| {
            Ad::b_g1().edit(|it| it["agent"] = json!("v".repeat(count)))
        }),
        ("extensions", 16, Reason::Malformed, |count| {
            let ext: serde_json::Map<_, _> =
                (0..count).map(|at| (at.to_string(), json!(at))).collect();
            Ad::b_g1().edit(|it| it["ext"] = json!(ext))
        }),
        ("seconds of life", 31 * 86_400, Reason::LifetimeTooLong, |seconds| {
            Ad::b_g1().edit(|it| it["expires"] = json!(NOW.0 + seconds as u64))
        }),
        ("seconds of a certificate's life", 100 * 86_400, Reason::LifetimeTooLong, |seconds| {
            Ad::b_g1().edit_cert(|it| it["expires"] = json!(NOW.0 + seconds as u64))
        }),
        ("of a candidate's port", 65_535, Reason::Malformed, |port| {
            Ad::b_g1().edit(|it| it["tunnels"][0]["candidates"][0]["port"] = json!(port))
        }),
    ];
    for (what, most, refused, saying) in cases {
        let taken = Host::fresh().offer(&saying(most));
        assert_at_limit(what, refused, taken, Host::fresh().offer(&saying(most + 1)));
    }
}

/// A service with so much of something.
type Exporting = fn(usize) -> Service;

#[test]
fn a_service_may_hold_what_the_limits_name_and_nothing_more() {
    let cases: [(&str, usize, Reason, Exporting); 5] = [
        ("ports", 64, Reason::TooMany, |count| {
            let port = |at| json!({"name": format!("p{at}"), "protocol": "TCP", "port": at + 1});
            Service::of_b().with("ports", many(count, port))
        }),
        ("addresses", 64, Reason::TooMany, |count| {
            Service::of_b().with("addresses", many(count, |at| json!(format!("10.2.0.{at}"))))
        }),
        ("endpoints", 256, Reason::TooMany, |count| {
            let endpoint = |at| json!({"addr": format!("fd00:2::{at}")});
            Service::of_b().headless().with("endpoints", many(count, endpoint))
        }),
        ("bytes of an application protocol", 253, Reason::Malformed, |count| {
            let name = "x".repeat(count);
            let port = json!([{"protocol": "TCP", "port": 80, "appProtocol": name}]);
            Service::of_b().with("ports", port)
        }),
        ("seconds of affinity", 86_400, Reason::BadService, |seconds| {
            Service::of_b().with("affinity", json!(seconds))
        }),
    ];
    for (what, most, refused, exporting) in cases {
        let taken = Host::fresh().offer_service(&exporting(most));
        assert_at_limit(what, refused, taken, Host::fresh().offer_service(&exporting(most + 1)));
    }
    let odd = json!([{"protocol": "TCP", "port": 80, "appProtocol": "ht\u{7}tp"}]);
    Host::fresh().reject_service(&Service::of_b().with("ports", odd), Reason::Malformed);
}

#[test]
fn a_certificate_has_8_kibibytes_at_most() {
    let of_size = |bytes: usize| {
        let padded =
            |fill: usize| Ad::b_g1().edit_cert(|it| it["ext"] = json!({"fill": "x".repeat(fill)}));
        let ad = padded(bytes - padded(0).cert_bytes().len());
        assert_eq!(ad.cert_bytes().len(), bytes);
        Host::fresh().offer(&ad)
    };
    assert_at_limit("bytes", Reason::TooLarge, of_size(8_192), of_size(8_193));
}

#[test]
fn who_said_nothing_lately_is_not_remembered() {
    let mut pace = Pace::default();
    for name in ["once", "twice", "twice"] {
        pace.took(&name, NOW);
    }
    pace.took(&"later", NOW.plus_seconds(1));
    let remembered = format!("{pace:?}");
    for (name, is_remembered) in [("once", false), ("twice", true), ("later", true)] {
        assert_eq!(remembered.contains(name), is_remembered, "{name}: {remembered}");
    }
}

#[test]
fn a_version_is_text_that_a_terminal_can_show() {
    for agent in ["0.1.0\u{1b}[31m", "\n", "0.1\u{7f}"] {
        let ad = Ad::b_g1().edit(|it| it["agent"] = json!(agent));
        Host::fresh().reject(&ad, Reason::Malformed);
    }
}

fn listing(edit: impl FnOnce(&mut Value)) -> Verdict {
    let mut payload = list_json(&list());
    payload["version"] = json!(6);
    edit(&mut payload);
    Host::fresh().offer_list(&signed_json(&payload))
}

/// Makes something of a statement so many.
type Grow<'a> = &'a dyn Fn(&mut Value, usize);

#[test]
fn a_list_may_hold_what_the_limits_name_and_nothing_more() {
    let broker = |keys: usize| json!({"url": "https://a", "spki": vec![b64([5; 32]); keys]});
    let cases: [(&str, usize, Grow<'_>); 7] = [
        ("networks of a member", 64, &|it, count| {
            it["members"][1]["cidrs"] = many(count, network);
        }),
        ("namespaces of a member", 64, &|it, count| {
            it["members"][1]["namespaces"] = many(count, |at| json!(format!("team-{at}")));
        }),
        ("identity keys of a member", 2, &|it, count| {
            let key = |at| json!(seed(0x70 + u8::try_from(at).unwrap()).public().to_string());
            it["members"][1]["keys"] = many(count, key);
        }),
        ("gateways of a member", 64, &|it, count| it["members"][1]["gateways"] = json!(count)),
        ("brokers", 8, &|it, count| it["brokers"] = many(count, |_| broker(1))),
        ("keys of a broker", 4, &|it, count| it["brokers"] = json!([broker(count)])),
        ("seconds of life", 800 * 86_400, &|it, seconds| {
            it["expires"] = json!(NOW.0 + seconds as u64);
        }),
    ];
    for (what, most, edit) in cases {
        let is_life = what == "seconds of life";
        let refused = if is_life { Reason::LifetimeTooLong } else { Reason::TooLarge };
        let taken = listing(|it| edit(it, most));
        assert_at_limit(what, refused, taken, listing(|it| edit(it, most + 1)));
    }
}

#[test]
fn a_tunnel_has_a_slot_and_packets_that_linux_can_set_up() {
    let cases = [
        ("slot", 0, true),
        ("slot", 7, true),
        ("slot", 8, false),
        ("mtu", 1_279, false),
        ("mtu", 1_280, true),
        ("mtu", 65_535, true),
        ("mtu", 65_536, false),
    ];
    for (field, value, taken) in cases {
        let ad = Ad::b_g1().edit(|it| it["tunnels"][0][field] = json!(value));
        let verdict = Host::fresh().offer(&ad);
        let expected = if taken { None } else { Some(Reason::BadTunnel) };
        assert_eq!(reason_of(&verdict), expected, "{field} {value}: {verdict:?}");
    }
}

#[test]
fn every_kind_and_state_of_the_protocol_is_read() {
    for kind in ["private", "public", "observed"] {
        let mut host = Host::fresh();
        host.accept(&Ad::b_g1().edit(|it| it["tunnels"][0]["candidates"][0]["kind"] = json!(kind)));
        let candidate = host.remote("b.g1").tunnels[0].candidates[0];
        assert_eq!(serde_json::to_value(candidate.kind).unwrap(), kind);
    }
    for state in ["active", "draining"] {
        let mut host = Host::fresh();
        host.accept(&Ad::b_g1().edit(|it| it["state"] = json!(state)));
        assert_eq!(host.remote("b.g1").state.as_str(), state);
    }
}
