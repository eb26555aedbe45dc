//! The last moment, the last generation, the last network and the last key on each side of a rule.

use crate::fixture::*;
use sealane_api::cidr::{Cidr, CidrError};
use sealane_api::keys::PairKey;
use sealane_api::names::{ClusterSetId, GatewayId};
use sealane_api::probe_address;
use sealane_api::reason::Reason;
use sealane_api::receiver::{Sweep, Verdict};
use sealane_api::time::UnixTime;
use serde_json::json;

const END: u64 = NOW.0 + 1_000;

#[test]
fn a_word_is_new_until_the_second_in_which_it_expires() {
    let advertisement = || Ad::b_g1().edit(|it| it["expires"] = json!(END));
    let certificate = || Ad::b_g1().edit_cert(|it| it["expires"] = json!(END));
    for (ad, late) in [(advertisement(), Reason::Expired), (certificate(), Reason::CertExpired)] {
        let mut host = Host::fresh();
        host.now = UnixTime(END + 1);
        host.reject(&ad, late);
        host.now = UnixTime(END);
        host.accept(&ad);
    }
}

#[test]
fn a_list_admits_members_until_the_second_in_which_it_expires() {
    let mut host = Host::fresh();
    host.accept_list(&next_list(|list| list.expires = UnixTime(END)));
    host.now = UnixTime(END + 1);
    host.reject(&Ad::b_g1(), Reason::ClusterSetExpired);
    host.now = UnixTime(END);
    host.accept(&Ad::b_g1());
}

#[test]
fn what_is_held_alone_stays_to_its_last_second_and_then_the_clock_is_blamed() {
    let mut host = Host::fresh();
    host.accept(&Ad::b_g1());
    let until = host.remote("b.g1").held_until;
    assert_eq!(host.receiver.expire(until), Sweep::default());
    let suspect = Sweep { clock_suspect: true, ..Sweep::default() };
    assert_eq!(host.receiver.expire(until.plus_seconds(1)), suspect);
}

#[test]
fn a_key_in_a_list_is_32_bytes_wherever_it_stands() {
    let sound = seed(0x70).public().to_string();
    for (keys, join, refused) in [
        (json!([&sound]), json!(null), None),
        (json!([]), json!({"key": &sound, "before": 9}), None),
        (json!([b64([7; 31])]), json!(null), Some(Reason::Malformed)),
        (json!([]), json!({"key": b64([7; 31]), "before": 9}), Some(Reason::Malformed)),
        (json!([&sound]), json!({"key": "", "before": 9}), Some(Reason::Malformed)),
    ] {
        let mut payload = list_json(&list());
        payload["version"] = json!(6);
        let entry = payload["members"][1].as_object_mut().unwrap();
        entry.insert("keys".to_owned(), keys.clone());
        if !join.is_null() {
            entry.insert("join".to_owned(), join.clone());
        }
        let verdict = Host::fresh().offer_list(&signed_json(&payload));
        assert_eq!(reason_of(&verdict), refused, "{keys} {join}: {verdict:?}");
    }
}

#[test]
fn a_revocation_ends_what_is_below_its_generation_and_nothing_else() {
    for (below, ended) in [(100, false), (101, true)] {
        let mut host = Host::settled();
        let (_, dropped) = host.accept(&Ad::b_g2().generation(300).edit_cert(|it| {
            it["revoked"] = json!([{"gateway": "g1", "below": below}]);
        }));
        assert_eq!(dropped.len(), usize::from(ended), "below {below}");
        let next = Ad::b_g1().sequence(8);
        let refused = ended.then_some(Reason::GatewayRevoked);
        assert_eq!(reason_of(&host.offer(&next)), refused, "below {below}");
    }
}

#[test]
fn an_identity_may_revoke_256_names_and_name_them_again() {
    let revoking = |generation: u64, names: std::ops::Range<usize>| {
        let revoked: Vec<_> =
            names.map(|at| json!({"gateway": format!("old-{at}"), "below": 1})).collect();
        Ad::b_g1().generation(generation).edit_cert(|it| it["revoked"] = json!(revoked))
    };
    let mut host = Host::fresh();
    for batch in 0..16 {
        host.now.0 += 1;
        host.accept(&revoking(200 + batch as u64, 16 * batch..16 * batch + 16));
    }
    host.now.0 += 10;
    host.reject(&revoking(300, 250..257), Reason::TooManyGateways);
    host.accept(&revoking(300, 240..256));
}

#[test]
fn the_own_member_is_of_one_identity_and_the_own_gateway_of_one_key() {
    let of_me = |gateway: &str| Ad::of("me", gateway, 1);
    let cases = [
        ("our own word", of_me("host"), true),
        ("our name under another key", Ad::of("me", "host", 2), false),
        ("a sibling with its own key", Ad::of("me", "other", 2), true),
        ("a sibling of another identity", Ad { identity: 0xd8, ..of_me("other") }, false),
    ];
    for (what, ad, is_own) in cases {
        let mut host = Host::fresh();
        host.accept_list(&next_list(|list| {
            let me = list.members.get_mut(&member("me")).unwrap();
            me.keys.push(seed(0xd8).public());
        }));
        let verdict = host.offer(&ad);
        assert_eq!(matches!(verdict, Verdict::Own(_)), is_own, "{what}: {verdict:?}");
        let taken = (!is_own).then_some(Reason::OwnNameTaken);
        assert_eq!(reason_of(&verdict), taken, "{what}: {verdict:?}");
    }
}

#[test]
fn the_held_list_in_another_wrapping_is_judged_again() {
    let mut host = Host::fresh();
    let held = signed_list(&list());
    assert_eq!(host.offer_list(&held), Verdict::Unchanged);
    let mut foreign = held.clone();
    foreign.genesis.root = seed(77).public().to_string();
    host.reject_list(&foreign, Reason::WrongClusterSet);
    let mut linked = held.clone();
    linked.links = vec![held.signed];
    host.reject_list(&linked, Reason::LinkBadSignature);
}

#[test]
fn an_ipv4_probe_that_this_host_needs_itself_is_not_seen() {
    let probing = Ad::b_g1().edit(|it| it["probe4"] = json!("10.2.0.9"));
    let mut host = Host::fresh();
    host.accept(&probing);
    assert_eq!(host.remote("b.g1").probe4, Some([10, 2, 0, 9].into()));
    host.facts.reserved.insert([10, 2, 0, 9].into());
    assert_eq!(host.remote("b.g1").probe4, None);

    let mut host = Host::fresh();
    host.accept(&probing);
    host.accept_list(&next_list(|list| {
        let b = list.members.get_mut(&member("b")).unwrap();
        b.cidrs = vec![Cidr::parse("10.2.128.0/17").unwrap()];
    }));
    assert_eq!(host.remote("b.g1").probe4, None, "outside what is granted now");
}

#[test]
fn networks_shorter_than_the_shortest_grant_are_refused_at_every_length() {
    let probes = probe_address::network(&clusterset_id());
    let cases = [
        ("64.0.0.0/2", false),
        ("64.0.0.0/7", false),
        ("64.0.0.0/8", true),
        ("64.0.0.0/9", true),
        ("2000::/3", false),
        ("2000::/15", false),
        ("2000::/16", true),
        ("2000::/17", true),
    ];
    for (text, granted) in cases {
        let network = Cidr::parse(text).unwrap();
        assert_eq!(network.grantable(&probes).is_ok(), granted, "{text}");
        let (address, length) = text.split_once('/').unwrap();
        assert_eq!(network.length().to_string(), length);
        assert_eq!(network.address().to_string(), address);
    }
}

#[test]
fn a_network_with_host_bits_names_the_network_that_was_meant() {
    for (text, meant) in [
        ("10.1.2.3/16", "; did you mean 10.1.0.0/16"),
        ("10.1.2.3", "; did you mean 10.1.2.3/32"),
        ("FD00::1/64", "; did you mean fd00::/64"),
        (" 10.1.0.0/16", "; did you mean 10.1.0.0/16"),
    ] {
        let refused = Cidr::parse(text).unwrap_err();
        assert!(matches!(refused, CidrError::NotCanonical { .. }), "{text}");
        assert!(refused.to_string().ends_with(meant), "{refused}");
    }
    let refused = Cidr::parse("ten/8").unwrap_err().to_string();
    assert!(!refused.contains("did you mean"), "{refused}");
}

#[test]
fn a_pair_key_has_one_encoding() {
    let key = |low: u8, middle: u8, high: u8| {
        let mut bytes = [middle; 32];
        (bytes[0], bytes[31]) = (low, high);
        bytes
    };
    // The prime is ed ff … ff 7f in this order of bytes.
    let cases = [
        ("two below the prime", key(0xeb, 0xff, 0x7f), true),
        ("two above the prime", key(0xef, 0xff, 0x7f), false),
        ("far above the prime", key(0xff, 0xff, 0x7f), false),
        ("the largest low byte under it", key(0xff, 0xfe, 0x7f), true),
        ("the prime's low bytes with a smaller high one", key(0xff, 0xff, 0x7e), true),
        ("the unused bit", key(0x09, 0x00, 0x80), false),
        ("the base point", key(0x09, 0x00, 0x00), true),
        ("zero", key(0, 0, 0), false),
        ("one", key(1, 0, 0), false),
    ];
    for (what, bytes, sound) in cases {
        assert_eq!(PairKey::check(bytes).is_ok(), sound, "{what}");
    }
}

#[test]
fn a_fingerprint_is_eight_groups_that_people_can_compare() {
    let text = seed(ROOT).public().fingerprint();
    let groups: Vec<&str> = text.split('-').collect();
    assert_eq!(groups.len(), 8, "{text}");
    let is_plain = |it: &u8| it.is_ascii_lowercase() || (b'2'..=b'7').contains(it);
    assert!(groups.iter().all(|it| it.len() == 4 && it.as_bytes().iter().all(is_plain)), "{text}");
    assert_ne!(text, seed(RECOVERY).public().fingerprint());
}

#[test]
fn names_end_where_their_rule_says() {
    let id = clusterset_id().to_string();
    for (text, sound) in
        [(id.clone(), true), (id.to_uppercase(), false), (id[..16].to_owned(), false)]
    {
        assert_eq!(ClusterSetId::parse(&text).is_ok(), sound, "{text}");
    }
    let label = |length: usize| "n".repeat(length);
    let long = format!("{0}.{0}.{1}", label(63), label(22));
    for (text, sound) in [
        (format!("b.{}", label(63)), true),
        (format!("b.{}", label(64)), false),
        (format!("b.{long}"), true),
        (format!("b.{long}n"), false),
        (format!("{}.g1", label(63)), true),
        (format!("{}.g1", label(64)), false),
        ("b.-g".to_owned(), false),
        ("b.g-".to_owned(), false),
        ("b.g..h".to_owned(), false),
        ("b.G1".to_owned(), false),
        ("b".to_owned(), false),
    ] {
        assert_eq!(GatewayId::parse(&text).is_ok(), sound, "{text}");
    }
}
