//! Hostile inputs about tunnel keys: whose they are.

use crate::fixture::*;
use sealane_api::reason::Reason;
use serde_json::json;

#[test]
fn our_key() {
    let mut host = Host::settled();
    // b shows our key with a proof that our key never made for b.
    let stolen = Ad::b_g1().sequence(8).edit(|payload| {
        payload["tunnels"][0]["key"] = json!(tunnel_seed(0xd3).public().to_string());
    });
    host.reject(&stolen, Reason::TunnelProofBad);
    // A cloned host holds our seed and proves it under another name.
    let ad = Ad::b_g1().sequence(8);
    let cloned = ad.tunnel(0xd3, 0);
    host.reject(&ad.edit(|payload| payload["tunnels"] = json!([cloned])), Reason::OwnKey);
}

#[test]
fn victims_key() {
    let mut host = Host::settled();
    let victim = Ad::b_g1().payload["tunnels"][0].clone();
    let copied = Ad::c_g1().sequence(8).edit(|payload| payload["tunnels"] = json!([victim]));
    host.reject(&copied, Reason::TunnelProofBad);

    // The same WireGuard key, by the other sign of the same point.
    let mut flipped = *tunnel_seed(Ad::b_g1().key + 1).public().as_bytes();
    flipped[31] ^= 0x80;
    let flipped =
        Ad::c_g1().sequence(8).edit(|payload| payload["tunnels"][0]["key"] = json!(b64(flipped)));
    host.reject(&flipped, Reason::TunnelProofBad);
}

#[test]
fn shared_key() {
    let mut host = Host::settled();
    let ad = Ad::c_g1().sequence(8);
    let shared = ad.tunnel(Ad::b_g2().key + 1, 0);
    host.reject(
        &ad.edit(|payload| payload["tunnels"] = json!([shared])),
        Reason::DuplicateTunnelKey,
    );
}

#[test]
fn a_key_is_free_again_when_its_gateway_moved_on() {
    let mut host = Host::settled();
    let moved = Ad::b_g2().sequence(8);
    let other = moved.tunnel(0x61, 0);
    host.accept(&moved.edit(|payload| payload["tunnels"] = json!([other])));
    let ad = Ad::c_g1().sequence(8);
    let taken = ad.tunnel(Ad::b_g2().key + 1, 0);
    host.accept(&ad.edit(|payload| payload["tunnels"] = json!([taken])));
}

#[test]
fn zero_pair() {
    let mut host = Host::settled();
    let mut high = [0xff; 32];
    high[31] = 0x7f;
    for pair in [[0; 32], high] {
        let ad = Ad::b_g1().sequence(8);
        let proof = ad.proof(ad.key + 1, &pair);
        let ad = ad.edit(|payload| {
            payload["tunnels"][0]["pair"] = json!(b64(pair));
            payload["tunnels"][0]["proof"] = json!(proof);
        });
        host.reject(&ad, Reason::WeakKey);
    }
}

#[test]
fn bad_tunnel() {
    let mut host = Host::settled();
    let ad = Ad::b_g1().sequence(8);
    let three = json!([ad.tunnel(1, 0), ad.tunnel(2, 1), ad.tunnel(3, 2)]);
    let same_slot = json!([ad.tunnel(1, 0), ad.tunnel(2, 0)]);
    let same_key = json!([ad.tunnel(1, 0), ad.tunnel(1, 1)]);
    let entry = |field: &str, value: serde_json::Value| {
        let mut entry = ad.tunnel(1, 0);
        entry[field] = value;
        json!([entry])
    };
    let cases = [
        json!([]),
        three,
        same_slot,
        same_key,
        entry("slot", json!(8)),
        entry("mtu", json!(1279)),
        entry("mtu", json!(65_536)),
        entry("kem", json!(b64([7; 1_183]))),
        entry("proof", json!(b64([7; 63]))),
        entry("key", json!(b64([7; 31]))),
    ];
    for tunnels in cases {
        let ad = ad.clone().edit(|payload| payload["tunnels"] = tunnels);
        host.reject(&ad, Reason::BadTunnel);
    }
}

#[test]
fn two_entries_are_seen_by_slot_while_keys_rotate() {
    let mut host = Host::settled();
    let ad = Ad::b_g1().sequence(8);
    let both = json!([ad.tunnel(1, 3), ad.tunnel(2, 1)]);
    host.accept(&ad.edit(|payload| payload["tunnels"] = both));
    let slots: Vec<u8> = host.remote("b.g1").tunnels.iter().map(|tunnel| tunnel.slot).collect();
    assert_eq!(slots, [1, 3]);
}

#[test]
fn required_post_quantum_keys_are_not_replaced_by_classical_lanes() {
    let mut host = Host::settled();
    host.accept_list(&next_list(|list| {
        list.post_quantum = sealane_api::clusterset::PostQuantum::Require;
    }));
    assert!(host.remotes().is_empty());
    host.reject(&Ad::b_g1().sequence(8), Reason::PqRequired);
}
