//! Hostile inputs about signatures: who signed, what was signed, as which statement, how often.

use crate::fixture::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sealane_api::checks::{Budget, Checks};
use sealane_api::kinds::AdvertisementSpec;
use sealane_api::names::ClusterId;
use sealane_api::reason::Reason;
use sealane_api::receiver::{Offer, Verdict};
use sealane_api::signed::{Signed, Statement};
use sealane_api::time::UnixTime;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

#[test]
fn forged_sig() {
    let mut host = Host::settled();
    let ad = Ad::b_g1().sequence(8);
    let mut spec = ad.spec();
    spec.signed = Signed::seal(&seed(0x77), Statement::Advertisement, &ad.payload_bytes());
    host.reject_spec("b.g1", &spec, Reason::BadSignature);
}

#[test]
fn flipped_bit() {
    let mut host = Host::settled();
    let ad = Ad::b_g1().sequence(8);
    let (good, payload) = (ad.spec(), ad.payload_bytes());
    let signature = STANDARD.decode(&good.signed.signature).unwrap();
    let bent = |bytes: &[u8], bit: usize| {
        let mut flipped = bytes.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        STANDARD.encode(flipped)
    };
    let (held, seen) = (host.receiver.held().clone(), host.remotes());
    let mut refuse = |signed: Signed| {
        // A member may cost 50 new checks a second, so each bit gets a second of its own.
        host.now.0 += 1;
        let spec = AdvertisementSpec { signed, ..good.clone() };
        let offer = Offer { name: "b.g1", spec: &spec };
        let verdict = host.receiver.accept_advertisement(host.now, &host.facts, offer);
        assert_eq!(reason_of(&verdict), Some(Reason::BadSignature), "{verdict:?}");
        assert!(*host.receiver.held() == held, "a refusal changed what is held");
    };
    for bit in 0..payload.len() * 8 {
        refuse(Signed { payload: bent(&payload, bit), ..good.signed.clone() });
    }
    for bit in 0..signature.len() * 8 {
        refuse(Signed { signature: bent(&signature, bit), ..good.signed.clone() });
    }
    assert_eq!(host.remotes(), seen);
    host.accept(&ad);
}

#[test]
fn sig_s_plus_l() {
    let mut host = Host::settled();
    let mut spec = Ad::b_g1().sequence(8).spec();
    let mut signature = STANDARD.decode(&spec.signed.signature).unwrap();
    add_group_order(&mut signature[32..]);
    spec.signed.signature = STANDARD.encode(signature);
    host.reject_spec("b.g1", &spec, Reason::BadSignature);
}

/// Adds L, the order of the group, to a little-endian scalar.
fn add_group_order(scalar: &mut [u8]) {
    let order: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut carry = 0;
    for (byte, add) in scalar.iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
}

#[test]
fn other_prefix() {
    let mut host = Host::settled();
    let ad = Ad::b_g1().sequence(8);
    for prefix in [
        Statement::RootLink.prefix(),
        Statement::ClusterSet.prefix(),
        Statement::Enrolment.prefix(),
        Statement::GatewayCert.prefix(),
        Statement::Service.prefix(),
        Statement::Tunnel.prefix(),
        b"",
    ] {
        let message = [prefix, &ad.payload_bytes()].concat();
        let mut spec = ad.spec();
        spec.signed.signature = STANDARD.encode(seed(ad.key).sign(&message));
        host.reject_spec("b.g1", &spec, Reason::BadSignature);
    }

    let mut spec = ad.spec();
    spec.signed = spec.cert.clone();
    host.reject_spec("b.g1", &spec, Reason::BadSignature);
}

#[test]
fn cert_by_other_member() {
    let mut host = Host::settled();
    let ad = Ad { identity: identity_of("c"), ..Ad::b_g1().sequence(8) };
    host.reject(&ad, Reason::CertBadSignature);
}

#[test]
fn cert_swapped() {
    let mut host = Host::settled();
    let older = Ad::b_g1();
    let newer = Ad::b_g1().generation(200);
    host.accept(&newer);
    let mut spec = newer.sequence(8).spec();
    spec.cert = older.spec().cert;
    host.reject_spec("b.g1", &spec, Reason::CertSwapped);
}

#[test]
fn role_confusion() {
    let mut host = Host::settled();
    let certified = |role: &str, gateway: &str| {
        Ad::b_g1().generation(101).edit_cert(|cert| {
            cert["role"] = json!(role);
            cert["gateway"] = json!(gateway);
        })
    };
    host.reject(&certified("services", ""), Reason::WrongRole);
    host.reject(&certified("services", "g1"), Reason::WrongRole);
    host.reject(&certified("keeper", "g1"), Reason::Malformed);
    // A key certified for no gateway speaks for none.
    host.reject(&certified("gateway", ""), Reason::EnvelopeMismatch);
    host.accept(&certified("gateway", "g1"));
}

#[test]
fn small_order_identity_and_noncanonical_key() {
    let mut host = Host::fresh();
    let mut identity = [0; 32];
    identity[0] = 1;
    for key in [identity, noncanonical_key()] {
        let mut payload = list_json(&list());
        payload["version"] = json!(6);
        payload["members"][1]["keys"] = json!([b64(key)]);
        host.reject_list(&signed_json(&payload), Reason::WeakKey);
    }
}

/// The first y = p + k that decodes and is not of small order.
fn noncanonical_key() -> [u8; 32] {
    let noncanonical = |k: u8| {
        let mut bytes = [0xff; 32];
        bytes[0] = 0xed + k;
        bytes[31] = 0x7f;
        bytes
    };
    let decodes = |bytes: &[u8; 32]| {
        ed25519_dalek::VerifyingKey::from_bytes(bytes).is_ok_and(|key| !key.is_weak())
    };
    (0..19).map(noncanonical).find(decodes).expect("ed25519-dalek decodes some")
}

#[test]
fn small_order_gateway() {
    let mut host = Host::settled();
    let mut weak = [0; 32];
    weak[0] = 1;
    let ad = Ad::b_g1().generation(101).edit_cert(|cert| cert["key"] = json!(b64(weak)));
    host.reject(&ad, Reason::WeakKey);
}

#[test]
fn meta_tampered() {
    let mut host = Host::settled();
    let mut object = json!({
        "apiVersion": "sealane.dev/v1alpha1", "kind": "Advertisement",
        "metadata": {"name": "b.g1"}, "spec": serde_json::to_value(Ad::b_g1().spec()).unwrap(),
    });
    let tampered = [
        ("labels", json!({"sealane.dev/member": "c"})),
        ("annotations", json!({"sealane.dev/state": "withdrawn"})),
        ("ownerReferences", json!([{"kind": "Pod", "name": "gone"}])),
        ("finalizers", json!(["example.com/never"])),
        ("resourceVersion", json!("1")),
        ("generation", json!(9_000)),
        ("deletionTimestamp", json!("2030-01-01T00:00:00Z")),
    ];
    for (field, value) in tampered {
        object["metadata"][field] = value;
        let spec = sealane_api::kinds::spec(&object).unwrap();
        assert_eq!(host.offer_spec("b.g1", &spec), Verdict::Unchanged, "{field}");
    }
    assert_eq!(host.names(), ["b.g1", "b.g2", "c.g1"]);
}

/// What a flood may cost: signature checks in one second, of one member and of all together.
const MOST_OF_ONE: usize = 50;
const MOST_OF_ALL: usize = 2_000;

#[test]
fn flood() {
    const FORGERIES: usize = 10_000;
    let mut host = Host::settled();
    // A second in which nobody has spent anything yet.
    host.now.0 += 1;
    let (held, honest) = (host.receiver.held().clone(), Ad::b_g1().sequence(8));
    let mut spec = honest.spec();
    let mut verdicts = BTreeMap::new();
    for forgery in 0..FORGERIES {
        spec.signed.payload = STANDARD.encode(format!("{{\"v\":1,\"forgery\":{forgery}}}"));
        let offer = Offer { name: "b.g1", spec: &spec };
        let verdict = host.receiver.accept_advertisement(host.now, &host.facts, offer);
        *verdicts.entry(reason_of(&verdict)).or_insert(0) += 1;
    }
    assert!(*host.receiver.held() == held, "a flood changed what is held");
    // Each forgery costs one check, or none at all.
    let expected = [
        (Some(Reason::BadSignature), MOST_OF_ONE),
        (Some(Reason::RateLimited), FORGERIES - MOST_OF_ONE),
    ];
    assert_eq!(verdicts, BTreeMap::from(expected));
    // The others pay nothing for it, and b's own word counts in the next second.
    let begin = Instant::now();
    host.accept(&Ad::c_g1().sequence(8));
    assert!(begin.elapsed() < Duration::from_millis(100), "{:?}", begin.elapsed());
    host.reject(&honest, Reason::RateLimited);
    host.now.0 += 1;
    host.accept(&honest);
}

#[test]
fn a_flood_in_every_members_name_costs_a_bounded_number_of_checks() {
    let mut checks = Checks::default();
    let key = seed(identity_of("b")).public();
    let mut done = 0;
    let mut check = |member: &ClusterId, message: usize, now: UnixTime| {
        let budget = Budget::Of(member, now);
        let checked = checks.verifies(budget, &key, &message.to_le_bytes(), &[7; 64]);
        checked.map_err(|rejected| assert_eq!(rejected.reason, Reason::RateLimited))
    };
    let members: Vec<ClusterId> = (0..50).map(|at| member(&format!("m{at}"))).collect();
    for message in 0..members.len() * 100 {
        let owner = &members[message % members.len()];
        done += usize::from(check(owner, message, NOW).is_ok());
    }
    assert_eq!(done, MOST_OF_ALL);
    // What was checked is known, and costs nobody anything.
    assert_eq!(check(&members[0], 0, NOW), Ok(false));
    assert_eq!(check(&members[0], usize::MAX, NOW), Err(()));
    assert_eq!(check(&members[0], usize::MAX, NOW.plus_seconds(1)), Ok(false));
}

#[test]
fn members_that_tell_forgeries_leave_each_other_member_a_share() {
    let mut checks = Checks::default();
    let key = seed(identity_of("b")).public();
    let mut tell = |teller: &str, message: usize| {
        let teller = member(teller);
        let budget = Budget::ToldBy(&teller, NOW);
        checks.verifies(budget, &key, &message.to_le_bytes(), &[7; 64]).is_ok()
    };
    for (at, hostile) in ["a", "b", "c", "d"].into_iter().enumerate() {
        for message in 0..2_000 {
            let _ = tell(hostile, at * 10_000 + message);
        }
    }
    let honest = (0..1_000).filter(|message| tell("honest", 100_000 + message)).count();
    assert_eq!(honest, 24, "eight words");
}
