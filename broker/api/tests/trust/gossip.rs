//! What peers tell one another inside lanes while the broker is away, and what hostile ones cannot.

use crate::fixture::*;
use proptest::prelude::*;
use sealane_api::gossip::frame::{Frame, FrameError, HEADER_BYTES, Header, Kind, MAX_BYTES};
use sealane_api::gossip::standing::{Digest, ListStanding, NameHash, Standing, WordStanding};
use sealane_api::gossip::telling::Telling;
use sealane_api::kinds::ClusterSetSpec;
use sealane_api::names::GatewayId;
use sealane_api::reason::Reason;
use sealane_api::receiver::{Offer, Verdict};
use serde_json::json;

/// The gateway g1 of a member, which knows the words of all others and its own.
pub(crate) fn gateway(name: &str) -> Host {
    let own = Ad::of(name, "g1", 1);
    let mut host = Host::fresh();
    host.facts.own = GatewayId::parse(&own.name).unwrap();
    host.facts.identity = Some(seed(own.identity).public());
    host.facts.gateway_key = Some(seed(own.key).public());
    host.facts.tunnel_keys = [tunnel_seed(own.key + 1).public().wireguard()].into();
    for ad in all() {
        let verdict = host.offer(&ad);
        assert_eq!(matches!(verdict, Verdict::Own(_)), ad.name == own.name, "{verdict:?}");
    }
    host
}

fn all() -> Vec<Ad> {
    ["a", "b", "c"].map(|name| Ad::of(name, "g1", 1)).to_vec()
}

pub(crate) fn telling(host: &Host) -> Telling {
    Telling::of(&host.receiver, host.now, &Telling::default())
}

fn digest(host: &Host) -> Digest {
    telling(host).digest()
}

/// Reads a whole frame as the other end does.
pub(crate) fn read(bytes: &[u8]) -> Result<Frame, FrameError> {
    let (head, payload) = bytes.split_first_chunk::<HEADER_BYTES>().unwrap();
    let header = Header::parse(*head)?;
    assert_eq!(header.length, payload.len());
    Frame::parse(header.kind, payload)
}

/// One pull over the wire format: `asker` asks, `teller` of that member answers. Shape: the verdicts.
fn pull(asker: &mut Host, teller: &Host, member_of_teller: &str) -> Vec<Verdict> {
    let asked = read(&Frame::Ask(telling(asker).standing().clone()).encode()).unwrap();
    let Frame::Ask(standing) = asked else { panic!("{asked:?}") };
    let answer = telling(teller).answer(&standing);
    let frames = answer.iter().map(|frame| read(frame).unwrap());
    frames.map(|frame| take(asker, frame, member_of_teller)).collect()
}

fn take(host: &mut Host, frame: Frame, teller: &str) -> Verdict {
    match frame {
        Frame::List(spec) => host.offer_list(&spec),
        Frame::Word(spec) => {
            let name = format!("{}.{}", spec.member, spec.gateway);
            let offer = Offer { name: &name, spec: &spec };
            host.receiver.accept_told(host.now, &host.facts, &member(teller), offer)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn hosts_that_know_the_same_have_nothing_to_tell_each_other() {
    let hosts = ["a", "b", "c"].map(gateway);
    for host in &hosts {
        assert_eq!(digest(host), digest(&hosts[0]));
        assert!(telling(host).answer(telling(&hosts[0]).standing()).is_empty());
    }
}

#[test]
fn the_removal_of_a_member_known_to_one_reaches_all_without_a_broker() {
    let [mut a, mut b, mut c] = ["a", "b", "c"].map(gateway);
    let without_c = next_list(|list| drop(list.members.remove(&member("c"))));
    a.accept_list(&without_c);
    assert_ne!(digest(&a), digest(&b));

    let verdicts = pull(&mut b, &a, "a");
    assert!(matches!(&verdicts[..], [Verdict::Accepted { dropped, .. }]
        if dropped[0].rejected.reason == Reason::MemberRevoked));
    assert_eq!(b.names(), ["a.g1"]);
    assert_eq!(digest(&a), digest(&b));
    // The removed one hears it from whoever still talks to it, and can tell nothing in return.
    pull(&mut c, &b, "b");
    assert!(telling(&c).answer(telling(&a).standing()).is_empty());
    let verdicts = pull(&mut a, &gateway("c"), "c");
    assert!(verdicts.is_empty() || verdicts.iter().all(|verdict| reason_of(verdict).is_some()));
}

#[test]
fn an_older_list_is_never_told_to_those_who_know_better() {
    let [mut a, b] = ["a", "b"].map(gateway);
    a.accept_list(&next_list(|_| {}));
    assert!(pull(&mut a, &b, "b").is_empty());
}

#[test]
fn a_withdrawal_is_told_on_by_who_heard_it() {
    let [mut a, mut b] = ["a", "b"].map(gateway);
    a.accept(&Ad::of("c", "g1", 1).sequence(8).edit(|payload| {
        payload["state"] = json!("withdrawn");
        payload["tunnels"] = json!([]);
    }));
    pull(&mut b, &a, "a");
    assert_eq!(b.names(), ["a.g1"]);
    assert_eq!(digest(&a), digest(&b));
}

#[test]
fn a_withdrawal_of_many_bytes_is_believed_and_not_told_on() {
    let [mut a, mut b] = ["a", "b"].map(gateway);
    a.accept(&Ad::of("c", "g1", 1).sequence(8).edit(|payload| {
        payload["state"] = json!("withdrawn");
        payload["tunnels"] = json!([]);
        payload["ext"] = json!({"x": "y".repeat(4_000)});
    }));
    assert_eq!(a.names(), ["b.g1"]);
    assert!(pull(&mut b, &a, "a").is_empty());
}

#[test]
fn a_withdrawal_and_what_it_ended_survive_a_restart_and_are_still_told_on() {
    let mut a = gateway("a");
    a.accept(&Ad::of("c", "g1", 1).sequence(8).edit(|payload| {
        payload["state"] = json!("withdrawn");
        payload["tunnels"] = json!([]);
    }));
    let disk = serde_json::to_vec(a.receiver.held()).unwrap();
    let held = serde_json::from_slice(&disk).unwrap();
    let (receiver, sweep) = sealane_api::receiver::Receiver::at_cold_start(held, a.now, &a.facts);
    assert!(sweep.dropped.is_empty());
    let restarted = Host { receiver, ..a };
    assert_eq!(restarted.names(), ["b.g1"]);
    let mut b = gateway("b");
    pull(&mut b, &restarted, "a");
    assert_eq!(b.names(), ["a.g1"]);
}

#[test]
fn the_revocation_of_a_gateway_is_told_on() {
    let [mut a, mut c] = ["a", "c"].map(gateway);
    for host in [&mut a, &mut c] {
        host.accept(&Ad::b_g2());
    }
    a.accept(&Ad::b_g2().generation(300).edit_cert(|cert| {
        cert["revoked"] = json!([{"gateway": "g1", "below": 250}]);
    }));
    pull(&mut c, &a, "a");
    assert_eq!(c.names(), ["a.g1", "b.g2"]);
    assert_eq!(digest(&a), digest(&c));
}

#[test]
fn the_own_word_and_those_of_siblings_are_told_to_who_never_saw_the_broker() {
    let mut b = gateway("b");
    assert!(matches!(b.offer(&Ad::b_g2()), Verdict::Own(_)));
    // What the own member said before does not count any more.
    assert!(matches!(b.offer(&Ad::b_g2().sequence(3)), Verdict::Own(_)));
    let mut fresh = Host::fresh();
    pull(&mut fresh, &b, "b");
    assert_eq!(fresh.names(), ["a.g1", "b.g1", "b.g2", "c.g1"]);
    assert_eq!(fresh.remote("b.g2").sequence, 7);
}

#[test]
fn evidence_that_a_gateway_said_two_things_is_told() {
    let [mut a, mut b] = ["a", "b"].map(gateway);
    for (host, pods) in [(&mut a, "10.3.1.0/24"), (&mut b, "10.3.2.0/24")] {
        host.accept(&Ad::c_g1().sequence(8).pods(&[pods]));
    }
    let verdicts = pull(&mut b, &a, "a");
    assert_eq!(verdicts.iter().map(reason_of).collect::<Vec<_>>(), [Some(Reason::Equivocation)]);
    assert_eq!(b.remote("c.g1").networks.pods[0].to_string(), "10.3.2.0/24");
}

#[test]
fn evidence_that_root_signed_two_lists_is_told() {
    let [mut a, mut b] = ["a", "b"].map(gateway);
    a.accept_list(&next_list(|_| {}));
    b.accept_list(&next_list(|list| drop(list.members.remove(&member("c")))));
    let verdicts = pull(&mut b, &a, "a");
    assert_eq!(reason_of(&verdicts[0]), Some(Reason::ClusterSetFork));
}

#[test]
fn the_digest_is_that_of_the_standing_and_hashed_when_it_is_made() {
    let a = gateway("a");
    for told in [Telling::default(), telling(&a)] {
        assert_eq!(told.digest(), told.standing().digest());
    }
    assert_ne!(telling(&a).digest(), Telling::default().digest());
}

#[test]
fn a_list_that_is_held_costs_nothing_and_others_cost_who_tells_them() {
    let mut a = gateway("a");
    let held = signed_list(&list());
    let mut forged = next_list(|_| {});
    forged.signed.signature = held.signed.signature.clone();
    let mut told = |teller: &str, spec: &ClusterSetSpec| {
        let (now, facts) = (a.now, a.facts.clone());
        let verdict = a.receiver.accept_told_clusterset(now, &facts, &member(teller), spec);
        if verdict == Verdict::Unchanged { None } else { reason_of(&verdict) }
    };
    assert!((0..20).all(|_| told("b", &held).is_none()));
    let bad = Some(Reason::ClusterSetBadSignature);
    let answers: Vec<_> = (0..4).map(|_| told("b", &forged)).collect();
    assert_eq!(answers, [bad, bad, Some(Reason::RateLimited), Some(Reason::RateLimited)]);
    assert_eq!(told("b", &held), None);
    assert_eq!(told("c", &forged), bad);
    // Whatever all others spend, the first list of each counts.
    for member in (0..20).map(|number| format!("m{number}")) {
        for _ in 0..4 {
            let _ = told(&member, &forged);
        }
    }
    let answers: Vec<_> = (0..2).map(|_| told("d", &forged)).collect();
    assert_eq!(answers, [bad, Some(Reason::RateLimited)]);
}

#[test]
fn what_expired_is_not_told() {
    let mut a = gateway("a");
    a.now = a.now.plus_seconds(31 * 86_400);
    assert_eq!(a.names(), ["b.g1", "c.g1"]);
    assert!(telling(&a).standing().words.is_empty());
}

#[test]
fn forgeries_that_a_peer_tells_cost_the_peer_and_nobody_else() {
    let mut a = gateway("a");
    a.now.0 += 1;
    let held = a.receiver.held().clone();
    let mut spec = Ad::b_g1().sequence(8).spec();
    let mut verdicts = std::collections::BTreeMap::new();
    for forgery in 0..2_000 {
        use base64::Engine as _;
        let payload = format!("{{\"v\":1,\"forgery\":{forgery}}}");
        spec.signed.payload = base64::engine::general_purpose::STANDARD.encode(payload);
        let verdict = take(&mut a, Frame::Word(Box::new(spec.clone())), "c");
        *verdicts.entry(reason_of(&verdict)).or_insert(0) += 1;
    }
    let expected = [(Some(Reason::RateLimited), 1_500), (Some(Reason::BadSignature), 500)];
    assert_eq!(verdicts, expected.into());
    assert!(*a.receiver.held() == held);
    // In the same second: b over the broker, and another peer about b.
    a.accept(&Ad::b_g1().sequence(8));
    let word = Frame::Word(Box::new(Ad::b_g1().sequence(9).spec()));
    assert!(matches!(take(&mut a, word, "b"), Verdict::Accepted { .. }));
}

#[test]
fn a_word_under_another_name_than_its_own_cannot_be_told() {
    let mut a = gateway("a");
    let mut spec = Ad::c_g1().sequence(8).spec();
    spec.member = "b".to_owned();
    let verdict = take(&mut a, Frame::Word(Box::new(spec)), "c");
    assert_eq!(reason_of(&verdict), Some(Reason::CertBadSignature));
}

#[test]
fn frames_of_forbidden_kinds_and_lengths_are_refused_before_they_are_read() {
    let head = |kind: u8, length: usize| {
        let [a, b, c, d] = u32::try_from(length).unwrap().to_be_bytes();
        Header::parse([kind, a, b, c, d])
    };
    for kind in [0, 1, 7, 255] {
        assert_eq!(head(kind, 0), Err(FrameError::Kind(kind)));
    }
    let too_long = [
        (2, MAX_BYTES + 1),
        (2, 23),
        (3, MAX_BYTES + 1),
        (4, 32 * 1024 + 1),
        (5, 1),
        (6, 1),
        (6, 3),
        (3, u32::MAX as usize),
    ];
    for (kind, length) in too_long {
        assert!(matches!(head(kind, length), Err(FrameError::Length { .. })), "{kind} {length}");
    }
    let largest = [(2, 24), (3, MAX_BYTES), (4, 32 * 1024), (5, 0), (6, 2)];
    for (kind, length) in largest {
        assert_eq!(head(kind, length).map(|header| header.length), Ok(length), "{kind}");
    }
}

#[test]
fn a_frame_has_one_form() {
    let good = Frame::Word(Box::new(Ad::b_g1().spec())).encode()[HEADER_BYTES..].to_vec();
    assert!(Frame::parse(Kind::Word, &good).is_ok());
    let text = String::from_utf8(good).unwrap();
    let bent = [
        format!(" {text}"),
        format!("{text} "),
        text.replacen('{', "{\"view\":null,", 1),
        text.replacen('{', "{\"other\":1,", 1),
        text.replacen("\"member\":\"b\"", "\"member\":\"\\u0062\"", 1),
        text[1..].to_owned(),
        String::new(),
    ];
    for text in bent {
        let read = Frame::parse(Kind::Word, text.as_bytes());
        assert_eq!(read, Err(FrameError::Form(Kind::Word)), "{text}");
    }
    let standing = telling(&gateway("a")).standing().clone();
    let ask = Frame::Ask(standing).encode()[HEADER_BYTES..].to_vec();
    let (list, words) = ask.split_at(24);
    let (first, rest) = words.split_at(48);
    let unsorted = [list, rest, first].concat();
    assert_eq!(Frame::parse(Kind::Ask, &unsorted), Err(FrameError::Order));
    let doubled = [list, first, first].concat();
    assert_eq!(Frame::parse(Kind::Ask, &doubled), Err(FrameError::Order));
    let cut = &ask[..ask.len() - 1];
    assert!(matches!(Frame::parse(Kind::Ask, cut), Err(FrameError::Length { .. })));
}

#[test]
fn the_largest_list_with_all_its_links_fits_a_frame() {
    let mut spec = signed_list_bytes(&vec![b' '; 1_000_000]);
    let link = sealane_api::signed::Signed::seal(
        &seed(RECOVERY),
        sealane_api::signed::Statement::RootLink,
        &[b' '; 1_024],
    );
    spec.links = vec![link; 16];
    let frame = Frame::List(Box::new(spec)).encode();
    assert!(frame.len() - HEADER_BYTES <= MAX_BYTES, "{}", frame.len());
    assert!(read(&frame).is_ok());
}

fn standing() -> impl Strategy<Value = Standing> {
    let word = (any::<[u8; 16]>(), any::<[u8; 8]>(), any::<u64>(), any::<u64>(), any::<[u8; 8]>());
    let word = word.prop_map(|(name, identity, generation, sequence, digest)| {
        (NameHash(name), WordStanding { identity, generation, sequence, digest })
    });
    let list = (any::<u64>(), any::<u64>(), any::<[u8; 8]>());
    (list, prop::collection::btree_map(any::<u8>(), word, 0..20)).prop_map(|(list, words)| {
        let (link_index, version, hash) = list;
        let position = sealane_api::clusterset::ListPosition { link_index, version };
        Standing { list: ListStanding { position, hash }, words: words.into_values().collect() }
    })
}

proptest! {
    #[test]
    fn an_ask_reads_back_as_written(standing in standing()) {
        let frame = Frame::Ask(standing);
        prop_assert_eq!(read(&frame.encode()), Ok(frame));
    }

    #[test]
    fn any_bytes_are_read_as_a_frame_that_writes_the_same_bytes_or_refused(
        kind in prop::sample::select(vec![Kind::Ask, Kind::List, Kind::Word, Kind::End, Kind::Later]),
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        if let Ok(frame) = Frame::parse(kind, &bytes) {
            prop_assert_eq!(&frame.encode()[HEADER_BYTES..], &bytes[..]);
        }
    }

    #[test]
    fn of_two_standings_of_a_word_both_are_news_only_as_evidence(
        one in standing(), other in standing()
    ) {
        for (ours, theirs) in one.words.values().zip(other.words.values()) {
            let number = |of: &WordStanding| (of.identity, of.generation, of.sequence);
            if ours.is_news_to(theirs) && theirs.is_news_to(ours) {
                prop_assert!(ours.identity != theirs.identity || number(ours) == number(theirs));
            }
            prop_assert!(!ours.is_news_to(ours));
        }
    }
}
