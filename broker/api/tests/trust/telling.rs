//! What a host tells on: bare bytes, framed once, no more than its own share, and questions of any length.

use crate::fixture::*;
use crate::gossip::{gateway, read, telling};
use sealane_api::gossip::frame::{Frame, FrameError, HEADER_BYTES, Header, Kind};
use sealane_api::gossip::standing::{NameHash, Standing, WordStanding};
use sealane_api::gossip::telling::{FrameBytes, Telling};
use sealane_api::kinds::AdvertisementSpec;
use sealane_api::receiver::Verdict;
use serde_json::json;
use std::sync::Arc;

/// An object with a view that shows what nobody signed.
fn shown(ad: &Ad) -> AdvertisementSpec {
    let view = json!({
        "state": "active", "networks": ["10.4.0.0/16"], "addresses": [], "sequence": 1,
        "expires": "", "agent": "",
    });
    AdvertisementSpec { view: Some(serde_json::from_value(view).unwrap()), ..ad.spec() }
}

fn withdrawn(ad: Ad) -> Ad {
    ad.sequence(8).edit(|payload| {
        payload["state"] = json!("withdrawn");
        payload["tunnels"] = json!([]);
    })
}

#[test]
fn what_nobody_signed_is_not_told() {
    let bare = Ad::b_g1().spec();
    let word = Frame::Word(Box::new(shown(&Ad::b_g1())));
    assert_eq!(read(&word.encode()), Ok(Frame::Word(Box::new(bare))));
    let list = signed_list(&list());
    assert!(list.view.is_some());
    let bare = sealane_api::kinds::ClusterSetSpec { view: None, ..list.clone() };
    assert_eq!(read(&Frame::List(Box::new(list)).encode()), Ok(Frame::List(Box::new(bare))));
}

#[test]
fn a_withdrawal_is_kept_without_what_nobody_signed() {
    let mut a = gateway("a");
    let last = withdrawn(Ad::of("c", "g1", 1));
    let verdict = a.offer_spec(&last.name, &shown(&last));
    assert!(matches!(verdict, Verdict::Accepted { .. }), "{verdict:?}");
    let kept = a
        .receiver
        .held()
        .gateways
        .values()
        .find_map(|held| held.withdrawn.then_some(held.spec.as_ref()));
    assert_eq!(kept, Some(Some(&last.spec())));
}

#[test]
fn a_withdrawal_is_told_on_up_to_4_kibibytes() {
    let filled = |fill: usize| {
        let fill = json!({"fill": "x".repeat(fill)});
        withdrawn(Ad::of("c", "g1", 1)).edit(|payload| payload["ext"] = fill)
    };
    let size = |ad: &Ad| serde_json::to_vec(&ad.spec()).unwrap().len();
    // Four characters of an object carry three bytes of what was signed.
    let near = (4_096 - size(&filled(0))) / 4 * 3;
    let (fitting, above): (Vec<Ad>, Vec<Ad>) =
        (near - 9..near + 9).map(filled).partition(|ad| size(ad) <= 4_096);
    for (ad, is_told) in [(fitting.last().unwrap(), true), (&above[0], false)] {
        assert!(size(ad).abs_diff(4_096) <= 4, "{} bytes", size(ad));
        let mut a = gateway("a");
        a.accept(ad);
        assert_eq!(a.names(), ["b.g1"]);
        assert_eq!(telling(&a).standing().words.len(), 2 + usize::from(is_told));
    }
}

/// Everything that is told to a host which knows nothing: the list, then the words.
fn frames(told: &Telling) -> Vec<FrameBytes> {
    told.answer(&Standing::default())
}

/// Which frames are those that were there before.
fn shared(before: &Telling, now: &Telling) -> Vec<bool> {
    let known = frames(before);
    frames(now).iter().map(|frame| known.iter().any(|it| Arc::ptr_eq(it, frame))).collect()
}

#[test]
fn what_did_not_change_is_framed_once() {
    let mut a = gateway("a");
    let first = telling(&a);
    let again = Telling::of(&a.receiver, a.now, &first);
    assert_eq!(shared(&first, &again), [true; 4], "the list and three words");
    a.accept(&Ad::of("c", "g1", 1).sequence(8));
    let changed = Telling::of(&a.receiver, a.now, &again);
    let kept = shared(&again, &changed);
    assert_eq!(kept.iter().filter(|is_kept| **is_kept).count(), 3, "{kept:?}");
    let next = next_list(|_| {});
    a.accept_list(&next);
    let listed = Telling::of(&a.receiver, a.now, &changed);
    assert_eq!(shared(&changed, &listed), [false, true, true, true]);
    // What is told is what is held, not what was framed before.
    let mut fresh = Host::fresh();
    for frame in frames(&listed) {
        match read(&frame).unwrap() {
            Frame::List(spec) => drop(fresh.accept_list(&spec)),
            Frame::Word(spec) => {
                drop(fresh.offer_spec(&format!("{}.{}", spec.member, spec.gateway), &spec));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(fresh.remote("c.g1").sequence, 8);
    assert_eq!(telling(&fresh).digest(), listed.digest());
}

#[test]
fn the_own_withdrawal_is_told_as_what_it_is() {
    let mut a = gateway("a");
    let own = |host: &Host| {
        let own = host.receiver.words(host.now).find(|(id, _)| **id == host.facts.own).unwrap().1;
        (own.position.sequence, own.withdrawn)
    };
    assert_eq!(own(&a), (7, false));
    assert!(matches!(a.offer(&withdrawn(Ad::of("a", "g1", 1))), Verdict::Own(_)));
    assert_eq!(own(&a), (8, true));
}

#[test]
fn of_the_own_member_256_gateways_are_told_and_those_as_they_are_now() {
    let mut host = Host::fresh();
    let own = |number: usize| Ad::of("me", &format!("s{number}"), 3);
    for number in 0..257 {
        host.now.0 += 1;
        assert!(matches!(host.offer(&own(number)), Verdict::Own(_)));
    }
    host.now.0 += 1;
    assert!(matches!(host.offer(&own(0).sequence(8)), Verdict::Own(_)));
    let told: Vec<u64> =
        host.receiver.words(host.now).map(|(_, held)| held.position.sequence).collect();
    assert_eq!((told.len(), told.iter().filter(|it| **it == 8).count()), (256, 1));
}

/// Words that fit a question: a payload of 1,400,000 bytes, 24 for the list, 48 for each word.
const MOST: u32 = 29_166;

fn question(words: u32) -> Standing {
    let word = WordStanding { identity: [1; 8], generation: 2, sequence: 3, digest: [4; 8] };
    let name = |number: u32| {
        let mut name = [0; 16];
        name[..4].copy_from_slice(&number.to_be_bytes());
        NameHash(name)
    };
    Standing {
        words: (0..words).map(|number| (name(number), word)).collect(),
        ..Standing::default()
    }
}

#[test]
fn a_question_names_as_many_gateways_as_a_frame_holds() {
    let largest = Frame::Ask(question(MOST));
    // Said without their megabytes when they differ.
    assert!(read(&largest.encode()).is_ok_and(|it| it == largest), "it reads back as written");
    let surplus = Frame::Ask(question(MOST + 1)).encode();
    assert!(surplus == largest.encode(), "what does not fit is left out");

    let mut payload = largest.encode().split_off(HEADER_BYTES);
    payload.extend([0xff; 48]);
    let length = payload.len();
    let refused = FrameError::Length { kind: Kind::Ask, length };
    assert_eq!(Frame::parse(Kind::Ask, &payload), Err(refused));
    let [a, b, c, d] = u32::try_from(length).unwrap().to_be_bytes();
    assert_eq!(Header::parse([2, a, b, c, d]), Err(refused));
}
