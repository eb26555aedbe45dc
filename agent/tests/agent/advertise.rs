//! What this gateway says of itself, and the numbers that never go back.

use std::net::IpAddr;
use std::path::Path;

use sealane_agent::advertise::{self, Author, Wish};
use sealane_agent::keys::Keys;
use sealane_agent::trust::OwnWord;
use sealane_api::advertisement::{Candidate, CandidateKind, Networks};
use sealane_api::clusterset::ListPosition;
use sealane_api::held::Position;
use sealane_api::keys::VerifyKey;
use sealane_api::kinds::AdvertisementSpec;
use sealane_api::names::{GatewayId, GatewayName};
use sealane_api::reason::Reason;
use sealane_api::receiver::{Offer, Receiver, Verdict};
use sealane_api::remote::LocalFacts;
use sealane_api::time::{DAY_SECONDS, UnixTime};
use sealane_broker::store::Store;

use crate::fixture::{FullDisk, NOW, cidrs, clusterset_id, list, own, payload, signed};

fn author(place: &Path) -> (Author, Keys, Store) {
    let store = Store::open(place).unwrap();
    let keys = Keys::load_or_make(&store).unwrap();
    (Author::load(store.clone(), clusterset_id(), own()).unwrap(), keys, store)
}

fn wish(mtu: u16) -> Wish {
    let addr = IpAddr::from([192, 0, 2, 9]);
    Wish {
        networks: Networks { pods: cidrs(&["10.4.0.0/16"]), ..Networks::default() },
        probe4: None,
        slot: 0,
        second_slot: None,
        mtu,
        candidates: vec![Candidate { kind: CandidateKind::Public, addr, port: 51820 }],
    }
}

fn numbers(spec: &AdvertisementSpec) -> (u64, u64) {
    let generation = payload(&spec.cert)["generation"].as_u64().unwrap();
    (generation, payload(&spec.signed)["sequence"].as_u64().unwrap())
}

/// A host of member b that believes our identity.
struct Peer {
    receiver: Receiver,
    facts: LocalFacts,
}

impl Peer {
    fn knowing(identity: VerifyKey) -> Self {
        let facts = LocalFacts::named(GatewayId::parse("b.g1").unwrap());
        let mut receiver = Receiver::new(clusterset_id(), ListPosition::default());
        let mut list = list(NOW);
        let me = list.members.get_mut(&own().member).unwrap();
        (me.keys, me.join) = (vec![identity], None);
        let verdict = receiver.accept_clusterset(NOW, &facts, &signed(&list));
        assert!(matches!(verdict, Verdict::Accepted { .. }), "{verdict:?}");
        Self { receiver, facts }
    }

    fn hears(&mut self, spec: &AdvertisementSpec, now: UnixTime) -> Verdict {
        let name = format!("{}.{}", spec.member, spec.gateway);
        self.receiver.accept_advertisement(now, &self.facts, Offer { name: &name, spec })
    }

    fn believes(&mut self, spec: &AdvertisementSpec, now: UnixTime) {
        let verdict = self.hears(spec, now);
        assert!(matches!(verdict, Verdict::Accepted { .. }), "{verdict:?}");
    }

    fn lanes(&self) -> usize {
        self.receiver.remotes(NOW, &self.facts).len()
    }
}

#[test]
fn others_believe_what_is_signed_until_it_is_withdrawn() {
    let place = tempfile::tempdir().unwrap();
    let (mut author, keys, _) = author(place.path());
    let mut peer = Peer::knowing(keys.identity.public());
    let said = author.advertise(&keys, None, wish(1420), NOW).unwrap();
    peer.believes(&said, NOW);
    assert_eq!(peer.lanes(), 1);
    let last = author.withdraw(&keys, None, NOW).unwrap();
    peer.believes(&last, NOW);
    assert_eq!(peer.lanes(), 0);
    let verdict = peer.hears(&said, NOW);
    assert!(matches!(&verdict, Verdict::Rejected(it) if it.reason == Reason::SequenceRolledBack));
    peer.believes(&author.advertise(&keys, None, wish(1420), NOW).unwrap(), NOW);
    assert_eq!(peer.lanes(), 1, "who stays after all speaks on");
}

#[test]
fn a_host_whose_clock_was_set_back_can_leave_all_the_same() {
    for clock in [UnixTime(0), UnixTime(NOW.0 - 40 * DAY_SECONDS), NOW] {
        let place = tempfile::tempdir().unwrap();
        let (mut first, keys, _) = author(place.path());
        let mut peer = Peer::knowing(keys.identity.public());
        peer.believes(&first.advertise(&keys, None, wish(1420), NOW).unwrap(), NOW);
        // A new process says something that is expired on arrival, and then leaves.
        let (mut author, ..) = author(place.path());
        let said = author.advertise(&keys, None, wish(1400), clock).unwrap();
        let verdict = peer.hears(&said, NOW);
        assert_eq!(matches!(verdict, Verdict::Accepted { .. }), clock == NOW, "{verdict:?}");
        peer.believes(&author.withdraw(&keys, None, clock).unwrap(), NOW);
        assert_eq!(peer.lanes(), 0);
    }
}

#[test]
fn a_host_that_took_another_name_under_a_clock_set_back_withdraws_the_old_one_all_the_same() {
    let place = tempfile::tempdir().unwrap();
    let (mut first, keys, store) = author(place.path());
    let mut peer = Peer::knowing(keys.identity.public());
    peer.believes(&first.advertise(&keys, None, wish(1420), NOW).unwrap(), NOW);
    let clock = UnixTime(NOW.0 - 40 * DAY_SECONDS);
    let other = GatewayId { gateway: GatewayName::parse("renamed").unwrap(), ..own() };
    let mut author = Author::load(store, clusterset_id(), other).unwrap();
    author.advertise(&keys, None, wish(1420), clock).unwrap();
    let farewells = author.farewells(&keys, None, clock).unwrap();
    assert_eq!(farewells.len(), 1);
    peer.believes(&farewells[0].1, NOW);
    assert_eq!(peer.lanes(), 0);
}

#[test]
fn numbers_never_go_back_whatever_the_clock_does_and_whenever_the_agent_dies() {
    let place = tempfile::tempdir().unwrap();
    let mut peer: Option<Peer> = None;
    let mut highest = (0, 0);
    let day = |days: u64| UnixTime(NOW.0 + days * DAY_SECONDS);
    let clocks = [day(0), day(0), day(400), UnixTime(0), day(1), day(61), day(61), UnixTime(5)];
    for (turn, now) in (0u16..).zip(clocks) {
        // Each turn is a new process: it knows what is on disk.
        let (mut author, keys, store) = author(place.path());
        let peer = peer.get_or_insert_with(|| Peer::knowing(keys.identity.public()));
        for mtu in [1400, 1401] {
            let full = FullDisk::for_file(&store, "gateway.json");
            author.advertise(&keys, None, wish(mtu + 2 * turn), now).unwrap_err();
            drop(full);
            let spec = author.advertise(&keys, None, wish(mtu + 2 * turn), now).unwrap();
            assert!(numbers(&spec) > highest, "{:?} after {highest:?}", numbers(&spec));
            highest = numbers(&spec);
            let on_disk = store.load("gateway.json").unwrap().unwrap();
            let on_disk: serde_json::Value = serde_json::from_slice(&on_disk).unwrap();
            let kept = (&on_disk["generation"], &on_disk["sequence"]);
            assert_eq!((kept.0.as_u64().unwrap(), kept.1.as_u64().unwrap()), highest);
            // A receiver judges by its own clock, which is right.
            if now == day(0) {
                peer.believes(&spec, now);
            }
        }
    }
}

#[test]
fn the_same_words_are_signed_once_in_ten_days() {
    let place = tempfile::tempdir().unwrap();
    let (mut author, keys, _) = author(place.path());
    let mut say = |mtu, seconds| {
        let spec = author.advertise(&keys, None, wish(mtu), NOW.plus_seconds(seconds)).unwrap();
        numbers(&spec).1
    };
    assert_eq!(say(1420, 0), 1);
    assert_eq!(say(1420, 10 * DAY_SECONDS - 1), 1);
    assert_eq!(say(1420, 10 * DAY_SECONDS), 2);
    assert_eq!(say(1400, 10 * DAY_SECONDS + 1), 3);
}

#[test]
fn a_certificate_is_renewed_with_thirty_days_left() {
    let place = tempfile::tempdir().unwrap();
    let (mut author, keys, _) = author(place.path());
    let mut generation = |days: u64, seconds: u64| {
        let now = NOW.plus_seconds(days * DAY_SECONDS + seconds);
        numbers(&author.advertise(&keys, None, wish(1420), now).unwrap()).0
    };
    let first = generation(0, 0);
    assert_eq!(generation(59, 0), first);
    assert_eq!(generation(60, 0), NOW.0 + 60 * DAY_SECONDS);
    assert_eq!(generation(60, 1), NOW.0 + 60 * DAY_SECONDS);
}

#[test]
fn state_from_an_old_snapshot_is_outranked_by_a_new_generation() {
    let place = tempfile::tempdir().unwrap();
    let (mut before, keys, store) = author(place.path());
    let mut peer = Peer::knowing(keys.identity.public());
    peer.believes(&before.advertise(&keys, None, wish(1400), NOW).unwrap(), NOW);
    let snapshot = store.load("gateway.json").unwrap().unwrap();
    let newer = before.advertise(&keys, None, wish(1401), NOW).unwrap();
    let newest = before.advertise(&keys, None, wish(1402), NOW).unwrap();
    peer.believes(&newer, NOW);
    peer.believes(&newest, NOW);
    drop(before);

    store.save("gateway.json", &snapshot).unwrap();
    let (mut restored, keys, _) = author(place.path());
    let said = restored.advertise(&keys, None, wish(1403), NOW).unwrap();
    assert!(matches!(peer.hears(&said, NOW), Verdict::Rejected(_)));
    restored.met(&word(&keys, &newest));
    let said = restored.advertise(&keys, None, wish(1403), NOW).unwrap();
    assert!(numbers(&said).0 > numbers(&newest).0);
    peer.believes(&said, NOW);

    restored.met(&word(&keys, &said));
    restored.met(&word(&keys, &newer));
    let again = restored.advertise(&keys, None, wish(1403), NOW).unwrap();
    assert_eq!(again, said, "our own word and older ones change nothing");
}

#[test]
fn a_copy_of_a_host_is_answered_once_a_minute() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mut original, keys, _) = author(one.path());
    original.advertise(&keys, None, wish(1400), NOW).unwrap();
    for file in ["gateway.json", "identity.key", "gateway.key", "tunnel.key", "pair.key"] {
        std::fs::copy(one.path().join(file), other.path().join(file)).unwrap();
    }
    let (mut copy, _, _) = author(other.path());
    let ours = original.advertise(&keys, None, wish(1401), NOW).unwrap();
    let theirs = copy.advertise(&keys, None, wish(1402), NOW).unwrap();
    assert_eq!(numbers(&ours), numbers(&theirs), "the same number for two texts");
    original.met(&word(&keys, &theirs));
    let first = original.advertise(&keys, None, wish(1401), NOW).unwrap();
    assert!(numbers(&first).0 > numbers(&theirs).0);

    copy.met(&word(&keys, &first));
    let answer = copy.advertise(&keys, None, wish(1402), NOW).unwrap();
    original.met(&word(&keys, &answer));
    let still = original.advertise(&keys, None, wish(1401), NOW.plus_seconds(59)).unwrap();
    assert_eq!(still, first);
    let later = original.advertise(&keys, None, wish(1401), NOW.plus_seconds(60)).unwrap();
    assert!(numbers(&later).0 > numbers(&answer).0);
}

fn word(keys: &Keys, spec: &AdvertisementSpec) -> OwnWord {
    let (generation, sequence) = numbers(spec);
    let position = Position { identity: keys.identity.public(), generation, sequence };
    OwnWord { position, spec: spec.clone() }
}

#[test]
fn a_gateway_with_a_new_name_takes_a_new_certificate() {
    let place = tempfile::tempdir().unwrap();
    let (mut before, keys, store) = author(place.path());
    let first = before.advertise(&keys, None, wish(1420), NOW).unwrap();
    let name = GatewayId::parse("me.renamed").unwrap();
    let mut after = Author::load(store, clusterset_id(), name).unwrap();
    let spec = after.advertise(&keys, None, wish(1420), NOW).unwrap();
    assert_eq!(payload(&spec.cert)["gateway"], "renamed");
    assert!(numbers(&spec) > numbers(&first));
}

/// A gateway that spoke as `host` and then took the name `renamed`, and what it said before.
fn renamed(place: &Path, peer: &mut Option<Peer>) -> (Author, Keys, AdvertisementSpec) {
    let (mut before, keys, store) = author(place);
    let peer = peer.insert(Peer::knowing(keys.identity.public()));
    let said = before.advertise(&keys, None, wish(1420), NOW).unwrap();
    peer.believes(&said, NOW);
    let name = GatewayId::parse("me.renamed").unwrap();
    (Author::load(store, clusterset_id(), name).unwrap(), keys, said)
}

fn name(text: &str) -> GatewayName {
    GatewayName::parse(text).unwrap()
}

fn reason(verdict: &Verdict) -> Option<Reason> {
    match verdict {
        Verdict::Rejected(rejected) => Some(rejected.reason),
        _ => None,
    }
}

#[test]
fn a_renamed_gateway_takes_its_old_name_back_until_a_broker_has_heard_it() {
    let place = tempfile::tempdir().unwrap();
    let mut peer = None;
    let (mut author, keys, _) = renamed(place.path(), &mut peer);
    let peer = peer.as_mut().unwrap();
    let said = author.advertise(&keys, None, wish(1420), NOW).unwrap();
    let taken = reason(&peer.hears(&said, NOW));
    assert_eq!(taken, Some(Reason::DuplicateTunnelKey), "one key, two names");
    let farewells = author.farewells(&keys, None, NOW).unwrap();
    assert_eq!(farewells.len(), 1);
    assert_eq!(farewells[0].0.to_string(), "me.host");
    assert_eq!(author.farewells(&keys, None, NOW).unwrap(), farewells, "signed once");
    assert_eq!(author.words().count(), 2, "peers are told both");
    peer.believes(&farewells[0].1, NOW);
    assert_eq!(peer.lanes(), 0);
    peer.believes(&said, NOW);
    assert_eq!(peer.lanes(), 1);

    // A restart before a broker took it says it once more, and one after it does not.
    let again = || {
        let store = Store::open(place.path()).unwrap();
        Author::load(store, clusterset_id(), GatewayId::parse("me.renamed").unwrap()).unwrap()
    };
    let mut author = again();
    assert_eq!(author.farewells(&keys, None, NOW).unwrap().len(), 1);
    assert!(author.note_farewell("me.host").unwrap());
    assert!(!author.note_farewell("me.renamed").unwrap());
    assert_eq!(again().farewells(&keys, None, NOW).unwrap(), []);
}

#[test]
fn a_revoked_name_is_dead_wherever_one_certificate_of_ours_is_believed() {
    let place = tempfile::tempdir().unwrap();
    let mut peer = None;
    let (mut author, keys, stolen) = renamed(place.path(), &mut peer);
    let peer = peer.as_mut().unwrap();
    let said = author.advertise(&keys, None, wish(1420), NOW).unwrap();
    let revoked = author.revoke(&name("host"), NOW).unwrap();
    assert!(revoked.below > numbers(&said).0);
    let told = author.advertise(&keys, None, wish(1420), NOW).unwrap();
    assert!(numbers(&told).0 > numbers(&said).0, "a new certificate at once");
    assert_eq!(payload(&told.cert)["revoked"][0]["gateway"], "host");
    for (_, farewell) in author.farewells(&keys, None, NOW).unwrap() {
        peer.believes(&farewell, NOW);
    }
    peer.believes(&told, NOW);
    assert_eq!(reason(&peer.hears(&stolen, NOW)), Some(Reason::GatewayRevoked));
    // One who never heard of that name hears that it is dead.
    let mut stranger = Peer::knowing(keys.identity.public());
    stranger.believes(&told, NOW);
    assert_eq!(reason(&stranger.hears(&stolen, NOW)), Some(Reason::GatewayRevoked));
}

#[test]
fn a_revocation_is_told_for_131_days_and_kept_until_it_is_allowed() {
    let place = tempfile::tempdir().unwrap();
    let (mut author, keys, store) = author(place.path());
    author.revoke(&name("lost"), NOW).unwrap();
    let told = |days: u64| {
        let now = NOW.plus_seconds(days * DAY_SECONDS);
        let spec = author.advertise(&keys, None, wish(1420), now).unwrap();
        payload(&spec.cert)["revoked"].as_array().map_or(0, Vec::len)
    };
    assert_eq!([0, 60, 130, 131].map(told), [1, 1, 1, 0]);
    let lost = GatewayId::parse("me.lost").unwrap();
    let mut author = Author::load(store.clone(), clusterset_id(), lost.clone()).unwrap();
    let error = author.advertise(&keys, None, wish(1420), NOW).unwrap_err().to_string();
    assert!(error.contains("sealane gateway allow lost"), "{error}");
    assert!(author.allow(&name("lost")).unwrap());
    assert!(!author.allow(&name("lost")).unwrap());
    let mut author = Author::load(store, clusterset_id(), lost).unwrap();
    author.advertise(&keys, None, wish(1420), NOW).unwrap();
}

#[test]
fn the_own_name_a_seventeenth_one_and_what_no_disk_takes_are_not_revoked() {
    let place = tempfile::tempdir().unwrap();
    let (mut author, _, store) = author(place.path());
    let error = author.revoke(&name("host"), NOW).unwrap_err().to_string();
    assert!(error.contains("me.host is the name that this host speaks under"), "{error}");
    for number in 0..16 {
        author.revoke(&name(&format!("lost-{number}")), NOW).unwrap();
    }
    let error = author.revoke(&name("lost-16"), NOW).unwrap_err().to_string();
    assert!(error.contains("16 names are revoked already"), "{error}");
    author.revoke(&name("lost-3"), NOW).unwrap();
    let full = FullDisk::for_file(&store, "gateway.json");
    author.revoke(&name("lost-3"), NOW.plus_seconds(9)).unwrap_err();
    drop(full);
    assert_eq!(author.revoked().len(), 16);
    assert_eq!(author.revoked()[&name("lost-3")].at, NOW);
}

#[test]
fn numbers_that_cannot_be_read_are_named_and_left_alone() {
    let place = tempfile::tempdir().unwrap();
    let (_, _, store) = author(place.path());
    for text in ["", "[]", "{}", r#"{"sequence":-1}"#, r#"{"sequence":1,"more":2}"#] {
        store.save("gateway.json", text.as_bytes()).unwrap();
        let error = Author::load(store.clone(), clusterset_id(), own()).err().unwrap().to_string();
        assert!(error.contains("gateway.json"), "{error}");
        assert_eq!(store.load("gateway.json").unwrap().unwrap().as_slice(), text.as_bytes());
    }
}

#[test]
fn only_what_root_granted_is_announced() {
    let wanted = Networks {
        pods: cidrs(&["10.4.1.0/24", "10.9.0.0/16"]),
        services: cidrs(&["fd00:4:1::/48"]),
        external: cidrs(&["10.4.0.0/15"]),
    };
    let (granted, refused) = advertise::granted(&wanted, &own(), Some(&list(NOW)));
    assert_eq!(granted.pods, cidrs(&["10.4.1.0/24"]));
    assert_eq!(granted.services, cidrs(&["fd00:4:1::/48"]));
    assert!(granted.external.iter().all(|net| cidrs(&["10.4.0.0/16"])[0].contains(net)));
    assert_eq!(refused, cidrs(&["10.9.0.0/16", "10.4.0.0/15"]));
    let (nothing, all) = advertise::granted(&wanted, &own(), None);
    assert_eq!((nothing.iter().count(), all.len()), (0, 4), "before a first list");
}
