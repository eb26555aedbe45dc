//! The largest chain of root links, the largest object and the largest token.

use crate::fixture::*;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sealane_api::clusterset::ListPosition;
use sealane_api::kinds::{AdvertisementSpec, ClusterSetSpec};
use sealane_api::reason::Reason;
use sealane_api::receiver::Verdict;
use sealane_api::sign::{self, Appointed};
use sealane_api::signed::Signed;
use sealane_api::token::Token;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// The fixture's list after so many rotations: link n appoints the root 0x20 + n and recovery 0x50 + n.
fn rotated(times: u8) -> ClusterSetSpec {
    let link = |at: u8| -> Signed {
        let signer = if at == 1 { RECOVERY } else { 0x50 + at - 1 };
        let (root, recovery) = (seed(0x20 + at).public(), seed(0x50 + at).public());
        let appointed = Appointed { root, recovery };
        sign::root_link(&seed(signer), &clusterset_id(), u64::from(at), appointed)
    };
    let list = (0..times).fold(list(), |list, _| list.under_next_root(NOW));
    sign::clusterset(&seed(0x20 + times), genesis(), (1..=times).map(link).collect(), &list)
}

#[test]
fn a_root_is_rotated_sixteen_times() {
    for (times, refused) in
        [(15, None), (16, None), (17, Some(Reason::TooLarge)), (18, Some(Reason::TooLarge))]
    {
        let verdict = Host::settled().offer_list(&rotated(times));
        assert_eq!(reason_of(&verdict), refused, "{times} links: {verdict:?}");
    }
}

fn of_size(bytes: usize) -> AdvertisementSpec {
    let mut spec = Ad::b_g1().spec();
    let shown = json!({
        "state": "active", "networks": [], "addresses": [], "sequence": 7, "expires": "", "agent": "",
    });
    let size = |spec: &AdvertisementSpec| serde_json::to_vec(spec).unwrap().len();
    spec.view = Some(serde_json::from_value(shown).unwrap());
    let missing = bytes - size(&spec);
    if let Some(view) = &mut spec.view {
        view.agent = "x".repeat(missing);
    }
    assert_eq!(size(&spec), bytes);
    spec
}

#[test]
fn an_object_is_judged_up_to_32_kibibytes() {
    let verdict = Host::fresh().offer_spec("b.g1", &of_size(32 * 1024));
    assert!(matches!(verdict, Verdict::Accepted { .. }), "{verdict:?}");
    for size in [32 * 1024 + 1, 64 * 1024] {
        Host::fresh().reject_spec("b.g1", &of_size(size), Reason::TooLarge);
    }
}

fn token(credential: usize) -> Zeroizing<String> {
    let token = Token {
        root: seed(ROOT).public(),
        recovery: seed(RECOVERY).public(),
        minimum: ListPosition { link_index: 0, version: 5 },
        member: member("b"),
        join: Some(seed(9)),
        brokers: Vec::new(),
        credential: Zeroizing::new("c".repeat(credential)),
        credential_expires: None,
    };
    token.encode()
}

#[test]
fn a_token_is_read_up_to_16_kibibytes() {
    let most = 16 * 1024;
    // Four characters of the token carry three of the credential.
    let near = (most - token(1).len()) / 4 * 3 + 1;
    let sizes = (near - 6..near + 12).map(token);
    let (fitting, above): (Vec<_>, Vec<_>) = sizes.partition(|it| it.len() <= most);
    let (largest, above) = (fitting.last().unwrap(), above.first().unwrap());
    assert!(most - largest.len() < 2 && above.len() - most < 3);
    assert!(Token::decode(largest).is_ok());
    assert!(Token::decode(above).err().unwrap().to_string().contains("too long"));
    assert!(Token::decode(&token(most)).is_err());
}

/// A token of other fields under a checksum that fits.
fn forged(edit: impl FnOnce(&mut Value)) -> String {
    let text = token(3);
    let body = text.split('.').nth(1).unwrap();
    let mut fields = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).unwrap()).unwrap();
    edit(&mut fields);
    let body = b64(fields.to_string());
    let sum: String = Sha256::digest(&body)[..4].iter().map(|it| format!("{it:02x}")).collect();
    format!("slj1.{body}.{sum}")
}

#[test]
fn a_token_whose_checksum_fits_is_still_judged() {
    assert!(Token::decode(&forged(|_| {})).is_ok());
    for bytes in [0, 31, 33] {
        let text = forged(|it| it["join"] = json!(b64(vec![7; bytes])));
        assert!(Token::decode(&text).is_err(), "a join key of {bytes} bytes");
    }
    for (field, value) in [
        ("member", json!("-b")),
        ("more", json!(1)),
        ("genesis", json!({"root": b64([0; 32]), "recovery": b64([0; 32])})),
    ] {
        assert!(Token::decode(&forged(|it| it[field] = value)).is_err(), "{field}");
    }
}
