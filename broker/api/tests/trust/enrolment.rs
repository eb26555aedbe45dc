//! Hostile inputs about joining: enrolments, pins, rekeys and the token.

use crate::fixture::*;
use sealane_api::clusterset::{BrokerAddress, JoinKey, ListPosition};
use sealane_api::kinds::{AdvertisementSpec, ClusterSetSpec};
use sealane_api::reason::Reason;
use sealane_api::receiver::{Offer, Verdict};
use sealane_api::time::UnixTime;
use sealane_api::token::Token;
use zeroize::Zeroizing;

const JOIN: u8 = 0xb1;
const BEFORE: UnixTime = UnixTime(NOW.0 + 1_000);

/// The fixture's list with b unpinned: it may enrol until [`BEFORE`].
fn unpinned() -> ClusterSetSpec {
    next_list(|list| {
        let b = list.members.get_mut(&member("b")).unwrap();
        b.keys.clear();
        b.join = Some(JoinKey { key: seed(JOIN).public(), before: BEFORE });
    })
}

fn pinned(identity: u8) -> ClusterSetSpec {
    next_list(|list| {
        list.position.version += 1;
        list.members.get_mut(&member("b")).unwrap().keys = vec![seed(identity).public()];
    })
}

fn enrolled(ad: Ad, identity: u8) -> Ad {
    Ad { identity, enrolment: Some(enrolment(JOIN, "b", identity)), ..ad }
}

fn host() -> Host {
    let mut host = Host::fresh();
    host.accept_list(&unpinned());
    host
}

fn offer_all(host: &mut Host, ads: &[Ad]) -> Vec<Option<Reason>> {
    let specs: Vec<(&str, AdvertisementSpec)> =
        ads.iter().map(|ad| (&*ad.name, ad.spec())).collect();
    let offers: Vec<Offer<'_>> = specs.iter().map(|(name, spec)| Offer { name, spec }).collect();
    let verdicts = host.receiver.accept_batch(host.now, &host.facts, &offers);
    verdicts.iter().map(reason_of).collect()
}

#[test]
fn a_token_holder_enrols_and_root_pins_the_identity_later() {
    let mut host = host();
    host.accept(&enrolled(Ad::b_g1(), 0xe0));
    let dropped = host.accept_list(&pinned(0xe0));
    assert!(dropped.is_empty());
    assert_eq!(host.names(), ["b.g1"]);
    host.accept(&Ad { identity: 0xe0, ..Ad::b_g1().sequence(8) });
}

#[test]
fn enrol_twice() {
    let mut host = host();
    host.accept(&enrolled(Ad::b_g1(), 0xe0));
    host.reject(&enrolled(Ad::b_g2(), 0xe1), Reason::EnrolmentConflict);
    host.accept(&enrolled(Ad::b_g2(), 0xe0));
}

#[test]
fn enrol_twice_in_one_list_believes_neither() {
    let mut host = host();
    let before = host.receiver.held().clone();
    let ads = [enrolled(Ad::b_g1(), 0xe0), enrolled(Ad::b_g2(), 0xe1), Ad::c_g1()];
    let conflict = Some(Reason::EnrolmentConflict);
    assert_eq!(offer_all(&mut host, &ads), [conflict, conflict, None]);
    assert_eq!(host.receiver.held().enrolled, before.enrolled);
    assert_eq!(host.names(), ["c.g1"]);
}

#[test]
fn one_identity_in_one_list_is_believed_and_a_second_one_later_shakes_nothing() {
    let mut host = host();
    let both = [enrolled(Ad::b_g1(), 0xe0), enrolled(Ad::b_g2(), 0xe0)];
    assert_eq!(offer_all(&mut host, &both), [None, None]);
    let conflict = Some(Reason::EnrolmentConflict);
    let another = [enrolled(Ad::b_g1().sequence(8), 0xe0), enrolled(Ad::b_g2(), 0xe1)];
    assert_eq!(offer_all(&mut host, &another), [None, conflict]);
    assert_eq!((host.remote("b.g1").sequence, host.names().len()), (8, 2));
}

#[test]
fn another_join_key_ends_who_enrolled_under_the_old_one_and_a_later_day_does_not() {
    let joining = |version: u64, join: u8, before: UnixTime| {
        next_list(|list| {
            list.position.version = version;
            let b = list.members.get_mut(&member("b")).unwrap();
            (b.keys, b.join) = (Vec::new(), Some(JoinKey { key: seed(join).public(), before }));
        })
    };
    let mut host = host();
    host.accept(&enrolled(Ad::b_g1(), 0xe0));
    assert!(host.accept_list(&joining(8, JOIN, BEFORE.plus_seconds(9))).is_empty());
    let dropped = host.accept_list(&joining(9, 0x7b, BEFORE));
    assert_eq!(dropped[0].rejected.reason, Reason::EnrolmentBadSignature);
    assert!(host.names().is_empty());
}

#[test]
fn enrol_late() {
    let mut host = host();
    host.now = UnixTime(BEFORE.0 + 1);
    host.reject(&enrolled(Ad::b_g1(), 0xe0), Reason::EnrolmentExpired);
    host.now = BEFORE;
    host.accept(&enrolled(Ad::b_g1(), 0xe0));
    host.now = UnixTime(BEFORE.0 + 1);
    host.accept(&enrolled(Ad::b_g1().sequence(8), 0xe0));
}

#[test]
fn the_own_enrolment_is_no_alarm_after_its_last_day() {
    let mut host = Host::fresh();
    host.facts.own = sealane_api::names::GatewayId::parse("b.g1").unwrap();
    host.facts.identity = Some(seed(0xe0).public());
    host.facts.gateway_key = Some(seed(Ad::b_g1().key).public());
    host.accept_list(&unpinned());
    host.now = UnixTime(BEFORE.0 + 1);
    assert!(matches!(host.offer(&enrolled(Ad::b_g1(), 0xe0)), Verdict::Own(_)));
    host.reject(&enrolled(Ad::b_g1(), 0xe1), Reason::OwnNameTaken);
}

#[test]
fn enrol_after_pin() {
    let mut host = host();
    host.accept_list(&pinned_without_join(0xe0));
    host.reject(&enrolled(Ad::b_g1(), 0xe1), Reason::EnrolmentNotAllowed);
}

fn pinned_without_join(identity: u8) -> ClusterSetSpec {
    next_list(|list| {
        list.position.version += 1;
        let b = list.members.get_mut(&member("b")).unwrap();
        b.keys = vec![seed(identity).public()];
        b.join = None;
    })
}

#[test]
fn a_stranger_who_enrolled_first_is_dropped_by_the_pin() {
    let mut host = host();
    host.accept(&enrolled(Ad::b_g1(), 0xe1));
    let dropped = host.accept_list(&pinned_without_join(0xe0));
    assert_eq!(dropped[0].rejected.reason, Reason::EnrolmentNotAllowed);
    host.accept(&Ad { identity: 0xe0, ..Ad::b_g1() });
}

#[test]
fn enrol_for_other() {
    let mut host = Host::fresh();
    host.accept_list(&next_list(|list| {
        for (name, join) in [("b", JOIN), ("c", 0xc1)] {
            let entry = list.members.get_mut(&member(name)).unwrap();
            entry.keys.clear();
            entry.join = Some(JoinKey { key: seed(join).public(), before: BEFORE });
        }
    }));
    let ad = Ad { identity: 0xe0, enrolment: Some(enrolment(JOIN, "c", 0xe0)), ..Ad::c_g1() };
    host.reject(&ad, Reason::EnrolmentBadSignature);
    let ad = Ad { identity: 0xe0, enrolment: Some(enrolment(0xc1, "b", 0xe0)), ..Ad::c_g1() };
    host.reject(&ad, Reason::EnvelopeMismatch);
}

#[test]
fn a_rekey_ends_the_old_identity_and_believes_the_new_one() {
    let mut host = Host::settled();
    let dropped = host.accept_list(&unpinned());
    assert!(dropped.iter().all(|dropped| dropped.rejected.reason == Reason::CertBadSignature));
    assert_eq!(host.names(), ["c.g1"]);
    host.reject(&Ad::b_g1(), Reason::CertBadSignature);
    host.accept(&enrolled(Ad::b_g1().generation(1).sequence(1), 0xe0));
}

fn token() -> Token {
    Token {
        root: seed(ROOT).public(),
        recovery: seed(RECOVERY).public(),
        minimum: ListPosition { link_index: 0, version: 5 },
        member: member("b"),
        join: Some(seed(JOIN)),
        brokers: vec![BrokerAddress {
            url: "https://broker.example:6443".to_owned(),
            namespace: "team-a".to_owned(),
            spki: vec![b64([5; 32])],
        }],
        credential: Zeroizing::new("opaque".to_owned()),
        credential_expires: Some(UnixTime(1_900_000_000)),
    }
}

#[test]
fn a_token_says_what_was_put_in() {
    let text = token().encode();
    let read = Token::decode(&format!("{}\n", text.as_str())).unwrap();
    assert!(text.starts_with("slj1."));
    assert_eq!(read.clusterset(), clusterset_id());
    assert_eq!(read.member, member("b"));
    assert_eq!(read.minimum, ListPosition { link_index: 0, version: 5 });
    assert_eq!(read.brokers, token().brokers);
    assert_eq!(read.credential.as_str(), "opaque");
    assert_eq!(read.credential_expires, Some(UnixTime(1_900_000_000)));
    assert_eq!(read.join.unwrap().public(), seed(JOIN).public());
}

#[test]
fn a_token_for_a_pinned_identity_holds_no_join_key() {
    let text = Token { join: None, ..token() }.encode();
    assert!(Token::decode(&text).unwrap().join.is_none());
}

#[test]
fn token_bent() {
    let text = token().encode();
    let (body, _) = text.rsplit_once('.').unwrap();
    let cut = &text[..text.len() - 1];
    let bent = [
        cut.to_owned(),
        format!("{body}.00000000"),
        text.replacen("slj1", "slj2", 1),
        text.replacen(".ey", ".eyJ", 1),
        format!("{}.x", text.as_str()),
        String::new(),
        "slj1..".to_owned(),
    ];
    for text in bent {
        let damaged = Token::decode(&text).err().expect("it is damaged");
        assert!(damaged.to_string().starts_with("TokenDamaged"), "{damaged}");
    }
}

#[test]
fn every_cut_and_every_changed_character_of_a_token_is_seen() {
    let text = token().encode();
    for at in 0..text.len() {
        assert!(Token::decode(&text[..at]).is_err(), "cut at {at}");
        let mut bent = text.as_bytes().to_vec();
        bent[at] ^= 1;
        let bent = String::from_utf8(bent).unwrap();
        assert!(Token::decode(&bent).is_err(), "changed at {at}");
    }
}
