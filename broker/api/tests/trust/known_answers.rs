//! The known answers of `PROTOCOL.md` section 10, which another implementation must reach too.

use crate::fixture::{clusterset_id, pair, seed, tunnel_seed};
use sealane_api::names::GatewayId;
use sealane_api::probe_address;
use sealane_api::psk::{LaneEnd, derive};
use sealane_api::signed::Statement;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_id_is_the_hash_of_the_first_keys() {
    assert_eq!(clusterset_id().as_str(), "vag7au7f2nab36ps3l5tlnu3melurpqp");
}

#[test]
fn a_signature_covers_prefix_and_payload() {
    let signature = seed(3).sign(&Statement::Advertisement.message(b"{\"v\":1}"));
    let expected = "34afc54b48049c274bdce52919094b6ada4a494471db11d2f6ed8800a1bd225b\
                    f74a627a7785291b31ef33baf84e8f684415509c76582b0de7832b292e96b505";
    assert_eq!(hex(&signature), expected);
}

#[test]
fn both_ends_of_a_lane_derive_the_same_key() {
    let (one, other) =
        (GatewayId::parse("cluster-a.node-1").unwrap(), GatewayId::parse("edge-b.host").unwrap());
    let end = |tunnel: u8, secret: u8, owner| LaneEnd {
        wireguard: tunnel_seed(tunnel).public().wireguard(),
        pair: pair(secret).public(),
        owner,
    };
    let (a, b) = (end(0x11, 0x33, &one), end(0x22, 0x44, &other));
    let from_a = derive(&clusterset_id(), &pair(0x33), a, b).unwrap();
    let from_b = derive(&clusterset_id(), &pair(0x44), b, a).unwrap();

    let a_key = hex(a.wireguard.as_bytes());
    let b_key = hex(b.wireguard.as_bytes());
    assert_eq!(a_key, "7a46e129fd805047448437e4744f1f1576be8c449fdf57e0c580d36c5cfc6668");
    assert_eq!(b_key, "9d8d78b9c9e6661e552f2f1af02095ee2f8743fa2e6183f41bb7077ef51b5379");
    let expected = "a019b1ad7e846e043ef12ea1d37ff54b3f04e4251f5fa3f673d1e07d55358304";
    assert_eq!(hex(from_a.expose()), expected);
    assert_eq!(hex(from_b.expose()), expected);
    assert_eq!(hex(&from_a.fingerprint()), "534d693362536c9b");
    assert_eq!(hex(&from_b.fingerprint()), "534d693362536c9b");
}

#[test]
fn wireguard_computes_the_same_public_key_as_we_advertise() {
    let seed = tunnel_seed(0x11);
    assert_eq!(seed.wireguard_private().public(), seed.public().wireguard());
}

#[test]
fn probe_addresses_lie_in_the_clustersets_own_network_and_differ() {
    let id = clusterset_id();
    let network = probe_address::network(&id);
    for (gateway, address) in [
        ("cluster-a.node-1", "fd41:1b57:fc32:20c2:96fd:a777:c54b:38ba"),
        ("edge-b.host", "fd41:1b57:fc32:6478:64af:1d78:f361:e0ff"),
    ] {
        let computed = probe_address::of(&id, &GatewayId::parse(gateway).unwrap());
        assert_eq!(computed.to_string(), address);
        assert!(network.contains_address(computed.into()));
    }
}
