//! Section 10, rows about signatures: who signed, what was signed, and as which statement.

use crate::fixture::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sealane_api::reason::Reason;
use sealane_api::signed::{Signed, Statement};
use serde_json::json;

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
    let payload = ad.payload_bytes();
    // A step that shares no factor with 8 meets every bit of a byte, all over the payload.
    for bit in (0..payload.len() * 8).step_by(41) {
        let mut spec = ad.spec();
        let mut flipped = payload.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        spec.signed.payload = STANDARD.encode(flipped);
        // One member may cost 50 new checks a second, so each bit gets a second of its own.
        host.now.0 += 1;
        host.reject_spec("b.g1", &spec, Reason::BadSignature);
    }
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
    let service = [b"sealane:v1:service\0".as_slice(), &ad.payload_bytes()].concat();
    let mut spec = ad.spec();
    spec.signed.signature = STANDARD.encode(seed(ad.key).sign(&service));
    host.reject_spec("b.g1", &spec, Reason::BadSignature);

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
    let ad = Ad::b_g1().generation(101).edit_cert(|cert| cert["role"] = json!("services"));
    host.reject(&ad, Reason::WrongRole);
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
    // Metadata never reaches the receiver; the same bytes again are no news.
    let mut host = Host::settled();
    assert_eq!(host.offer(&Ad::b_g1()), sealane_api::receiver::Verdict::Unchanged);
    assert_eq!(host.names(), ["b.g1", "b.g2", "c.g1"]);
}

#[test]
fn flood() {
    let mut host = Host::settled();
    let ad = Ad::b_g1().sequence(8);
    let mut limited = 0;
    for forgery in 0..10_000_u32 {
        let mut spec = ad.spec();
        let forged = format!("{{\"v\":1,\"forgery\":{forgery}}}");
        spec.signed.payload = STANDARD.encode(forged);
        let verdict = host.receiver.accept_advertisement(
            host.now,
            &host.facts,
            sealane_api::receiver::Offer { name: "b.g1", spec: &spec },
        );
        match reason_of(&verdict) {
            Some(Reason::RateLimited) => limited += 1,
            other => assert_eq!(other, Some(Reason::BadSignature)),
        }
    }
    assert!(limited >= 9_950, "only {limited} were limited");
    host.accept(&Ad::c_g1().sequence(8));
    host.now.0 += 1;
    host.accept(&ad);
}
