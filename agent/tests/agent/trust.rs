//! What is believed of others, and what is told of what is not.

use sealane_agent::held_file::TrustError;
use sealane_agent::trust::{Outcome, Trust};
use sealane_api::names::GatewayId;
use sealane_api::reason::Reason;
use sealane_api::time::UnixTime;
use sealane_broker::board::{Kind, Sighting};
use sealane_broker::store::Store;
use tempfile::TempDir;

use crate::fixture::{
    FullDisk, Gateway, NOW, facts, list, membership, next_list, own, seed, sighting, signed,
};

const LATER: UnixTime = UnixTime(NOW.0 + 60);

fn begin(place: &TempDir) -> Trust {
    let store = Store::open(place.path()).unwrap();
    Trust::load(store, &membership(), NOW, &facts()).unwrap()
}

fn lanes(trust: &Trust) -> Vec<String> {
    trust.remotes(NOW, &facts()).iter().map(|remote| remote.id.to_string()).collect()
}

fn write(trust: &mut Trust, object: Sighting) -> Outcome {
    let outcome = trust.written(Kind::Advertisement, object, NOW, &facts());
    trust.keep(NOW, &facts());
    outcome
}

fn believe_list(trust: &mut Trust) {
    let outcome =
        trust.written(Kind::ClusterSet, sighting("sealane", &signed(&list(NOW))), NOW, &facts());
    assert!(outcome.changed);
    trust.keep(NOW, &facts());
}

fn settled(place: &TempDir) -> Trust {
    let mut trust = begin(place);
    believe_list(&mut trust);
    for gateway in [Gateway::b_g1(), Gateway::c_g1()] {
        assert!(write(&mut trust, gateway.seen(NOW)).changed);
    }
    trust
}

fn reasons(trust: &Trust) -> Vec<(String, Reason)> {
    let standing = trust.refusals().into_iter();
    standing.map(|((_, name), refusal)| (name, refusal.rejected.reason)).collect()
}

#[test]
fn what_was_accepted_is_believed_after_a_restart_without_the_broker() {
    let place = tempfile::tempdir().unwrap();
    drop(settled(&place));
    let again = begin(&place);
    assert_eq!(lanes(&again), ["b.g1", "c.g1"]);
    assert_eq!(again.receiver().clusterset().unwrap().position.version, 5);
}

#[test]
fn a_refusal_names_object_reason_and_since_and_counts_once() {
    let place = tempfile::tempdir().unwrap();
    let mut trust = settled(&place);
    let wide = Gateway::b_g1().sequence(8).pods(&["10.3.0.0/16"]).seen(NOW);
    let outcome = write(&mut trust, wide.clone());
    assert!(!outcome.changed);
    assert_eq!(outcome.refused.len(), 1);
    for now in [LATER, UnixTime(LATER.0 + 1)] {
        let again = trust.written(Kind::Advertisement, wide.clone(), now, &facts());
        assert_eq!(again.refused, []);
        assert_eq!(trust.tick(now, &facts()).refused, []);
        let c = Gateway::c_g1().seen(NOW);
        let list = vec![wide.clone(), c];
        assert_eq!(trust.listed(Kind::Advertisement, list, now, &facts()).refused, []);
    }
    let refusals = trust.refusals();
    let refusal = &refusals[&(Kind::Advertisement, "b.g1".to_owned())];
    assert_eq!(refusal.rejected.reason, Reason::CidrNotGranted);
    assert_eq!((refusal.since, refusal.member.as_str()), (NOW, "b"));
    assert_eq!(lanes(&trust), ["b.g1", "c.g1"], "what was held stays");
}

#[test]
fn a_refused_object_that_is_mended_or_taken_away_is_not_shown_any_more() {
    let place = tempfile::tempdir().unwrap();
    let mut trust = settled(&place);
    let wide = Gateway::b_g1().sequence(8).pods(&["10.3.0.0/16"]).seen(NOW);
    write(&mut trust, wide.clone());
    assert_eq!(reasons(&trust), [("b.g1".to_owned(), Reason::CidrNotGranted)]);
    write(&mut trust, Gateway::b_g1().sequence(9).seen(NOW));
    assert_eq!(reasons(&trust), []);

    write(&mut trust, Gateway::b_g1().sequence(10).pods(&["10.3.0.0/16"]).seen(NOW));
    trust.gone(Kind::Advertisement, "b.g1");
    assert_eq!(reasons(&trust), []);

    write(&mut trust, Gateway::b_g1().sequence(11).pods(&["10.3.0.0/16"]).seen(NOW));
    trust.listed(Kind::Advertisement, vec![Gateway::c_g1().seen(NOW)], NOW, &facts());
    assert_eq!(reasons(&trust), []);
}

#[test]
fn absence_is_not_a_statement() {
    let place = tempfile::tempdir().unwrap();
    let mut trust = settled(&place);
    trust.gone(Kind::Advertisement, "b.g1");
    trust.gone(Kind::ClusterSet, "sealane");
    let outcome = trust.listed(Kind::Advertisement, Vec::new(), NOW, &facts());
    assert!(!outcome.changed);
    trust.listed(Kind::ClusterSet, Vec::new(), NOW, &facts());
    trust.tick(LATER, &facts());
    assert_eq!(lanes(&trust), ["b.g1", "c.g1"]);
    assert_eq!(lanes(&begin(&place)), ["b.g1", "c.g1"]);
}

#[test]
fn gateways_that_were_offered_before_a_first_list_wait_for_it_and_are_not_called_strangers() {
    let place = tempfile::tempdir().unwrap();
    let mut trust = begin(&place);
    let stranger = Gateway::of("z.g1", 0x77, "10.9.0.0/16");
    let early = vec![Gateway::b_g1().seen(NOW), stranger.seen(NOW)];
    let outcome = trust.listed(Kind::Advertisement, early, NOW, &facts());
    assert_eq!(outcome, Outcome::default());
    assert_eq!(write(&mut trust, Gateway::c_g1().seen(NOW)), Outcome::default());
    assert_eq!(trust.tick(LATER, &facts()), Outcome::default());
    assert_eq!(reasons(&trust), []);
    believe_list(&mut trust);
    assert_eq!(lanes(&trust), ["b.g1", "c.g1"]);
    assert_eq!(reasons(&trust), [("z.g1".to_owned(), Reason::UnknownMember)]);
    let late = Gateway::of("y.g1", 0x77, "10.9.0.0/16").seen(NOW);
    assert_eq!(write(&mut trust, late).refused[0].1.reason, Reason::UnknownMember);
}

#[test]
fn a_burst_of_words_is_written_once_and_none_of_them_counts_before() {
    let place = tempfile::tempdir().unwrap();
    let mut trust = begin(&place);
    believe_list(&mut trust);
    let on_disk = || std::fs::read(place.path().join("held.json")).unwrap();
    let before = on_disk();
    for gateway in [Gateway::b_g1(), Gateway::c_g1()] {
        assert!(trust.written(Kind::Advertisement, gateway.seen(NOW), NOW, &facts()).changed);
    }
    assert_eq!(on_disk(), before);
    assert!(!trust.is_saved());
    assert_eq!(lanes(&trust), Vec::<String>::new());
    assert!(trust.keep(NOW, &facts()));
    assert_eq!(lanes(&trust), ["b.g1", "c.g1"]);
    assert_eq!(lanes(&begin(&place)), ["b.g1", "c.g1"]);
    std::fs::remove_file(place.path().join("held.json")).unwrap();
    assert!(!trust.keep(NOW, &facts()), "nothing new, nothing written");
    assert!(!place.path().join("held.json").exists());
}

#[test]
fn a_list_that_is_not_offered_any_more_is_not_refused_any_more() {
    let place = tempfile::tempdir().unwrap();
    let mut trust = settled(&place);
    let mut old = list(NOW);
    old.position.version = 1;
    let old = sighting("sealane", &signed(&old));
    trust.listed(Kind::ClusterSet, vec![old], NOW, &facts());
    assert_eq!(reasons(&trust).len(), 1);
    let outcome = trust.listed(Kind::ClusterSet, Vec::new(), NOW, &facts());
    assert_eq!((reasons(&trust), outcome), (Vec::new(), Outcome::default()));
}

#[test]
fn a_revoked_member_is_cut_and_shown_and_stays_cut_after_a_restart() {
    let place = tempfile::tempdir().unwrap();
    let mut trust = settled(&place);
    let b = Gateway::b_g1().id.member;
    let without_b = next_list(NOW, |list| drop(list.members.remove(&b)));
    let outcome = trust.written(Kind::ClusterSet, sighting("sealane", &without_b), NOW, &facts());
    assert!(outcome.changed);
    trust.keep(NOW, &facts());
    assert_eq!(lanes(&trust), ["c.g1"]);
    assert_eq!(reasons(&trust), [("b.g1".to_owned(), Reason::MemberRevoked)]);
    let mut again = begin(&place);
    write(&mut again, Gateway::b_g1().seen(NOW));
    assert_eq!(lanes(&again), ["c.g1"]);
}

#[test]
fn a_state_file_that_cannot_be_read_is_named_and_left_alone() {
    let place = tempfile::tempdir().unwrap();
    drop(settled(&place));
    let file = place.path().join("held.json");
    std::fs::write(&file, b"{ half a file").unwrap();
    let store = Store::open(place.path()).unwrap();
    let error = Trust::load(store, &membership(), NOW, &facts()).err().unwrap();
    assert!(matches!(error, TrustError::Damaged { .. }), "{error}");
    assert!(error.to_string().starts_with(file.to_str().unwrap()), "{error}");
    assert_eq!(std::fs::read(&file).unwrap(), b"{ half a file");
}

#[test]
fn a_state_file_of_another_clusterset_is_never_believed() {
    let place = tempfile::tempdir().unwrap();
    drop(settled(&place));
    let mut token = crate::fixture::token(Vec::new());
    token.root = seed(0x51).public();
    let other = sealane_agent::membership::Membership::of_token(&token, None);
    let store = Store::open(place.path()).unwrap();
    let error = Trust::load(store, &other, NOW, &facts()).err().unwrap();
    assert!(matches!(error, TrustError::Foreign { .. }), "{error}");
}

#[test]
fn on_a_full_disk_lanes_stay_nothing_new_counts_and_all_is_well_afterwards() {
    let place = tempfile::tempdir().unwrap();
    let mut trust = begin(&place);
    believe_list(&mut trust);
    write(&mut trust, Gateway::b_g1().seen(NOW));
    let full = FullDisk::for_file(&Store::open(place.path()).unwrap(), "held.json");

    write(&mut trust, Gateway::c_g1().seen(NOW));
    write(&mut trust, Gateway::b_g1().sequence(8).pods(&["10.2.0.0/17"]).seen(NOW));
    assert!(!trust.is_saved());
    assert!(trust.unsaved().is_some_and(|cause| cause.contains("held.json")));
    assert_eq!(lanes(&trust), ["b.g1"]);
    assert_eq!(trust.remotes(NOW, &facts())[0].sequence, 7, "as the disk has it");
    trust.tick(LATER, &facts());
    assert!(!trust.keep(LATER, &facts()));
    assert_eq!(lanes(&begin(&place)), ["b.g1"]);

    drop(full);
    trust.tick(LATER, &facts());
    assert!(trust.keep(LATER, &facts()), "what waited is news now");
    assert!(trust.is_saved());
    assert_eq!(trust.unsaved(), None);
    assert_eq!(lanes(&trust), ["b.g1", "c.g1"]);
    assert_eq!(trust.remotes(NOW, &facts())[0].sequence, 8);
    assert_eq!(lanes(&begin(&place)), ["b.g1", "c.g1"]);
}

#[test]
fn a_full_disk_does_not_keep_a_revoked_member() {
    let place = tempfile::tempdir().unwrap();
    let mut trust = settled(&place);
    let _full = FullDisk::for_file(&Store::open(place.path()).unwrap(), "held.json");
    let b = Gateway::b_g1().id.member;
    let without_b = next_list(NOW, |list| drop(list.members.remove(&b)));
    trust.written(Kind::ClusterSet, sighting("sealane", &without_b), NOW, &facts());
    trust.keep(NOW, &facts());
    assert!(!trust.is_saved());
    assert_eq!(lanes(&trust), ["c.g1"]);
}

#[test]
fn a_list_that_is_none_is_shown_as_long_as_it_is_offered() {
    let place = tempfile::tempdir().unwrap();
    let mut trust = settled(&place);
    let bent = Sighting { spec: serde_json::json!({"x": 1}), ..sighting("sealane", &1) };
    for _ in 0..2 {
        trust.listed(Kind::ClusterSet, vec![bent.clone()], NOW, &facts());
        trust.tick(LATER, &facts());
        assert_eq!(reasons(&trust).len(), 1, "{:?}", reasons(&trust));
    }
    assert_eq!(lanes(&trust), ["b.g1", "c.g1"]);
    trust.listed(Kind::ClusterSet, Vec::new(), NOW, &facts());
    assert_eq!(reasons(&trust), []);
}

#[test]
fn an_object_too_large_to_keep_is_refused_by_its_size() {
    let place = tempfile::tempdir().unwrap();
    let mut trust = settled(&place);
    let huge = Sighting {
        name: "b.g1".to_owned(),
        spec: serde_json::Value::Null,
        oversize: Some(5 << 20),
    };
    let outcome = write(&mut trust, huge);
    assert_eq!(outcome.refused[0].1.reason, Reason::TooLarge);
    assert!(outcome.refused[0].1.detail.contains("5242880"));
    assert_eq!(lanes(&trust), ["b.g1", "c.g1"]);
}

#[test]
fn what_is_odd_about_a_believed_gateway_is_told_also_after_a_restart() {
    let place = tempfile::tempdir().unwrap();
    let mut trust = begin(&place);
    believe_list(&mut trust);
    let odd = Gateway { candidate: "127.0.0.1:51820", ..Gateway::b_g1() };
    write(&mut trust, odd.seen(NOW));
    let told = |trust: &Trust| trust.warnings().join("\n");
    assert!(
        told(&trust).starts_with("b.g1: CandidateIgnored: 127.0.0.1:51820"),
        "{}",
        told(&trust)
    );
    let mut again = begin(&place);
    assert_eq!(told(&again), told(&trust));
    write(&mut again, Gateway::b_g1().sequence(8).seen(NOW));
    assert_eq!(told(&again), "");
}

#[test]
fn a_word_under_our_own_name_is_reported_and_a_strangers_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let mut trust = begin(&place);
    let pinned = next_list(NOW, |list| {
        let me = list.members.get_mut(&own().member).unwrap();
        me.keys = vec![seed(0xd0).public()];
        me.join = None;
    });
    let mut facts = facts();
    facts.identity = Some(seed(0xd0).public());
    facts.gateway_key = Some(seed(0xd1).public());
    trust.written(Kind::ClusterSet, sighting("sealane", &pinned), NOW, &facts);
    let ours = Gateway { id: own(), ..Gateway::of("me.host", 0xd0, "10.4.0.0/16") };
    let outcome = trust.written(Kind::Advertisement, ours.seen(NOW), NOW, &facts);
    let word = outcome.own.unwrap();
    assert_eq!((word.position.generation, word.position.sequence), (100, 7));
    assert_eq!(lanes(&trust), Vec::<String>::new());

    let sister =
        Gateway { id: GatewayId::parse("me.other").unwrap(), number: 0xe0, ..ours.clone() };
    assert_eq!(trust.written(Kind::Advertisement, sister.seen(NOW), NOW, &facts).own, None);

    let stranger = Gateway { number: 0xe0, ..ours };
    let outcome = trust.written(Kind::Advertisement, stranger.seen(NOW), NOW, &facts);
    assert_eq!(outcome.own, None);
    assert_eq!(outcome.refused[0].1.reason, Reason::OwnNameTaken);
}
