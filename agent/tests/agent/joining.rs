//! Becoming a member: tokens, keys, files.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use sealane_agent::admin::{Fault, Question};
use sealane_agent::config::Role;
use sealane_agent::join::{JoinError, join};
use sealane_agent::keys::{Keys, Ring};
use sealane_agent::membership::Membership;
use sealane_agent::session::Session;
use sealane_agent::trust::Trust;
use sealane_api::clusterset::ListPosition;
use sealane_api::names::GatewayId;
use sealane_api::receiver::{Offer, Receiver, Verdict};
use sealane_api::remote::LocalFacts;
use sealane_broker::board::Kind;
use sealane_broker::store::Store;
use sealane_kernel::keyring::Keyring;
use sealane_view::trace::TraceRequest;

use crate::fixture::{
    CREDENTIAL, Gateway, NOW, clusterset_id, facts, files, list, membership, no_broker, own, seed,
    sighting, signed, token,
};
use crate::host::{Host, bare_host, config, now};

const KEY_FILES: [&str; 4] = ["gateway.key", "identity.key", "pair.key", "tunnel.key"];

#[tokio::test]
async fn a_token_makes_a_member_whose_first_word_others_believe() {
    let place = tempfile::tempdir().unwrap();
    let store = Store::open(place.path()).unwrap();
    let config = config(place.path());
    let document = join(&store, &config, &token(vec![no_broker()]).encode()).unwrap();
    assert_eq!((document.member.as_str(), document.node.as_str()), ("me", "host"));
    assert_eq!(document.clusterset, clusterset_id().to_string());
    let (events, _inbox) = tokio::sync::mpsc::channel(16);
    let ring = Ring::default().into();
    let mut session = Session::resume(&store, &config, &ring, &events, NOW).unwrap().unwrap();
    let keys = session.keys.as_ref().unwrap();
    assert_eq!(document.fingerprint, keys.identity.public().fingerprint());

    let seen = bare_host();
    session.trust.written(
        Kind::ClusterSet,
        sighting("sealane", &signed(&list(NOW))),
        NOW,
        &facts(),
    );
    let wish = sealane_agent::word::wish(&session, &config, &seen, 1420);
    let (_, said) = sealane_agent::word::advertise(&mut session, wish, NOW).unwrap().unwrap();
    let spec = serde_json::from_value(said).unwrap();
    let peer = LocalFacts::named(GatewayId::parse("b.g1").unwrap());
    let mut receiver = Receiver::new(clusterset_id(), ListPosition::default());
    receiver.accept_clusterset(NOW, &peer, &signed(&list(NOW)));
    let offer = Offer { name: "me.host", spec: &spec };
    let verdict = receiver.accept_advertisement(NOW, &peer, offer);
    assert!(matches!(verdict, Verdict::Accepted { .. }), "{verdict:?}");
    let remote = &receiver.remotes(NOW, &peer)[0];
    let networks: Vec<String> = remote.networks.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["10.4.0.0/16"], "what root did not grant is left out");
    let candidates = &remote.tunnels[0].candidates;
    let sockets: Vec<String> = candidates.iter().map(|it| it.socket().to_string()).collect();
    assert_eq!(sockets, ["192.0.2.10:51820", "[2001:db8::10]:51820"]);
}

#[test]
fn all_that_is_kept_is_for_its_owner_alone() {
    let place = tempfile::tempdir().unwrap();
    let state = place.path().join("state");
    let store = Store::open(&state).unwrap();
    join(&store, &config(&state), &token(vec![no_broker()]).encode()).unwrap();
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&state), 0o700);
    let names = files(&state);
    assert_eq!(names, ["gateway.key", "identity.key", "membership.json", "pair.key", "tunnel.key"]);
    for name in names {
        assert_eq!(mode(&state.join(&name)), 0o600, "{name}");
    }
}

#[test]
fn a_bent_token_leaves_nothing_and_shows_nothing_of_itself() {
    let place = tempfile::tempdir().unwrap();
    let store = Store::open(place.path()).unwrap();
    let good = token(vec![no_broker()]).encode();
    for text in [&good[..good.len() - 1], &good.replacen("slj1", "slj2", 1), "", &good[5..]] {
        let error = join(&store, &config(place.path()), text).unwrap_err();
        assert!(matches!(error, JoinError::Token(_)), "{error}");
        assert!(error.to_string().starts_with("TokenDamaged: "), "{error}");
        assert!(text.len() < 20 || !error.to_string().contains(&text[8..20]), "{error}");
    }
    let error = join(&store, &config(place.path()), &token(Vec::new()).encode()).unwrap_err();
    assert!(matches!(error, JoinError::NoBroker), "{error}");
    assert_eq!(files(place.path()), Vec::<String>::new());
}

#[test]
fn a_node_joins_with_an_identity_that_it_may_need_later_and_no_other_key() {
    let place = tempfile::tempdir().unwrap();
    let store = Store::open(place.path()).unwrap();
    let mut config = config(place.path());
    config.role = Role::Node;
    let document = join(&store, &config, &token(vec![no_broker()]).encode()).unwrap();
    assert_eq!(document.fingerprint, "");
    assert_eq!(files(place.path()), ["identity.key", "membership.json"]);
    assert!(Membership::load(&store).unwrap().unwrap().enrolment.is_some());
}

#[test]
fn what_an_interrupted_leave_left_of_another_clusterset_is_not_believed() {
    let place = tempfile::tempdir().unwrap();
    let store = Store::open(place.path()).unwrap();
    let mut old = Trust::load(store.clone(), &membership(), NOW, &facts()).unwrap();
    old.written(Kind::ClusterSet, sighting("sealane", &signed(&list(NOW))), NOW, &facts());
    old.keep(NOW, &facts());
    let mut other = token(vec![no_broker()]);
    other.root = seed(0x51).public();
    join(&store, &config(place.path()), &other.encode()).unwrap();
    let joined = Membership::load(&store).unwrap().unwrap();
    let trust = Trust::load(store, &joined, NOW, &facts()).unwrap();
    assert!(trust.receiver().clusterset().is_none());
}

#[test]
fn forgetting_removes_every_file_also_after_one_failed() {
    let place = tempfile::tempdir().unwrap();
    let store = Store::open(place.path()).unwrap();
    join(&store, &config(place.path()), &token(vec![no_broker()]).encode()).unwrap();
    store.save("held.json", b"{}").unwrap();
    store.save("gateway.json", b"{}").unwrap();
    std::fs::remove_file(store.path("identity.key")).unwrap();
    std::fs::create_dir(store.path("identity.key")).unwrap();
    let error = Session::forget(&store, &Ring::default()).unwrap_err().to_string();
    assert!(error.contains("identity.key"), "{error}");
    assert_eq!(files(place.path()), ["identity.key"]);
    std::fs::remove_dir(store.path("identity.key")).unwrap();
    Session::forget(&store, &Ring::default()).unwrap();
    assert_eq!(files(place.path()), Vec::<String>::new());
}

#[test]
fn a_membership_that_cannot_be_read_is_named_and_left_alone() {
    let place = tempfile::tempdir().unwrap();
    let store = Store::open(place.path()).unwrap();
    store.save("membership.json", b"{").unwrap();
    let error = Membership::load(&store).err().unwrap().to_string();
    assert!(error.contains("membership.json"), "{error}");
    let error =
        join(&store, &config(place.path()), &token(vec![no_broker()]).encode()).unwrap_err();
    assert!(matches!(error, JoinError::Membership(_)), "{error}");
    assert_eq!(store.load("membership.json").unwrap().unwrap().as_slice(), b"{");
}

#[tokio::test]
async fn a_join_that_cannot_be_taken_up_can_be_tried_again() {
    let place = tempfile::tempdir().unwrap();
    let store = Store::open(place.path()).unwrap();
    let host = Host::start(place.path());
    store.save("tunnel.key", b"short").unwrap();
    let text = token(vec![no_broker()]).encode();
    let refusal = host.join(&text).await.unwrap_err();
    assert!(refusal.document.cause.contains("tunnel.key"), "{:?}", refusal.document);
    store.remove("tunnel.key").unwrap();
    store.save("gateway.json", b"bent").unwrap();
    let refusal = host.join(&text).await.unwrap_err();
    assert_eq!(refusal.fault, Fault::State);
    assert!(refusal.document.cause.contains("gateway.json"), "{:?}", refusal.document);
    store.remove("gateway.json").unwrap();
    host.join(&text).await.unwrap();
    assert_eq!(host.status().await.member.as_deref(), Some("me"));
    host.stop().await;
}

#[tokio::test]
async fn no_document_shows_a_secret() {
    let place = tempfile::tempdir().unwrap();
    let host = Host::start(place.path());
    let joined = host.join(&token(vec![no_broker()]).encode()).await.unwrap();
    let mut list = list(now());
    list.issued = now();
    let event = sealane_broker::board::BoardEvent::Written(
        Kind::ClusterSet,
        sighting("sealane", &signed(&list)),
    );
    assert!(host.events.send(sealane_agent::event::Event::Board(event)).await.is_ok());
    let mut texts = vec![joined.to_string(), host.metrics.page()];
    for question in
        [Question::Status, Question::Peers, Question::Routes, Question::World, Question::Plan]
    {
        texts.push(host.ask(question).await.unwrap().to_string());
    }
    let store = Store::open(place.path()).unwrap();
    let mut secrets = vec![CREDENTIAL.to_owned()];
    for name in KEY_FILES {
        let key = store.load(name).unwrap().unwrap();
        secrets.push(data(&key, "base64"));
        secrets.push(data(&key, "base64url"));
        secrets.push(data(&key, "hex"));
        secrets.push(format!("{:?}", key.as_slice()).replace(' ', ""));
    }
    let private = *Keys::load_or_make(&store).unwrap().tunnel.wireguard_private().expose();
    secrets.push(data(&private, "base64"));
    for (text, secret) in texts.iter().flat_map(|text| secrets.iter().map(move |it| (text, it))) {
        assert!(!text.contains(secret.as_str()), "{text}");
    }
    let status = &texts[2];
    assert!(status.contains(&own().member.to_string()), "the documents are those of a member");
    host.stop().await;
}

fn data(bytes: &[u8], how: &str) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
    match how {
        "base64" => STANDARD_NO_PAD.encode(bytes),
        "base64url" => URL_SAFE_NO_PAD.encode(bytes),
        _ => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

#[tokio::test]
async fn a_host_that_is_no_member_says_so_and_answers() {
    let place = tempfile::tempdir().unwrap();
    let host = Host::start(place.path());
    let status = host.status().await;
    assert_eq!((status.member, status.roles.len(), status.problems.len()), (None, 0, 0));
    let leave = host.ask(Question::Leave(Default::default())).await.unwrap_err();
    assert_eq!(leave.fault, Fault::State);
    assert!(leave.document.cause.contains("in no clusterset"));
    let unseen = Host::unseen(config(place.path()));
    let destination = std::net::IpAddr::from([10, 2, 0, 1]);
    let request = TraceRequest { source: None, destination, size_bytes: None };
    let refusal = unseen.ask(Question::Trace(request)).await.unwrap_err();
    assert!(refusal.document.cause.contains("not looked at yet"), "{:?}", refusal.document);
    unseen.stop().await;
    host.stop().await;
}

fn session_at(place: &std::path::Path, ring: &Arc<Ring>) -> Session {
    let store = Store::open(place).unwrap();
    let config = config(place);
    join(&store, &config, &token(vec![no_broker()]).encode()).unwrap();
    let (events, _inbox) = tokio::sync::mpsc::channel(16);
    let mut session = Session::resume(&store, &config, ring, &events, NOW).unwrap().unwrap();
    let list = sighting("sealane", &signed(&list(NOW)));
    session.trust.written(Kind::ClusterSet, list, NOW, &facts());
    session.trust.keep(NOW, &facts());
    session
}

#[tokio::test]
async fn a_lane_never_swallows_a_name_server() {
    let place = tempfile::tempdir().unwrap();
    let mut session = session_at(place.path(), &Arc::default());
    let seen = bare_host();
    session.resolves_by(["10.2.0.53".parse().unwrap()].into());
    assert!(!session.resolves_by(["10.2.0.53".parse().unwrap()].into()), "nothing new");
    let local = sealane_agent::facts::local(&session, &config(place.path()), &seen);
    let gateway = Gateway::b_g1().pods(&["10.2.0.0/17", "10.2.128.0/17"]);
    session.trust.written(Kind::Advertisement, gateway.seen(NOW), NOW, &local);
    session.trust.keep(NOW, &local);
    let remotes = session.trust.remotes(NOW, &local);
    assert_eq!(remotes[0].networks.pods, crate::fixture::cidrs(&["10.2.128.0/17"]));
    assert!(session.trust.warnings()[0].contains("OverlapsHost: 10.2.0.0/17"));
}

#[tokio::test]
async fn secrets_of_lanes_that_are_gone_are_forgotten_once_no_plan_needs_them() {
    let place = tempfile::tempdir().unwrap();
    let ring: Arc<Ring> = Arc::default();
    let mut session = session_at(place.path(), &ring);
    let mut lent = Vec::new();
    for number in [0xb1, 0xb5, 0xba] {
        let gateway = Gateway { number, generation: number.into(), ..Gateway::b_g1() };
        session.trust.written(Kind::Advertisement, gateway.seen(NOW), NOW, &facts());
        session.trust.keep(NOW, &facts());
        let remotes = session.trust.remotes(NOW, &facts());
        let fingerprints = session.lend_psks(&remotes);
        assert_eq!(fingerprints.len(), 1);
        lent.extend(fingerprints.into_values());
        assert_eq!(session.lend_psks(&remotes).into_values().next(), lent.last().copied());
    }
    let is_lent: Vec<bool> = lent.iter().map(|it| ring.psk(it).is_some()).collect();
    assert_eq!(is_lent, [false, false, true]);
    Session::forget(&Store::open(place.path()).unwrap(), &ring).unwrap();
    assert!(ring.psk(&lent[2]).is_none());
}

#[tokio::test]
async fn a_configured_probe_address_is_told_and_believed_as_far_as_root_granted_it() {
    for (probe, told) in [("10.4.0.255", true), ("10.9.0.255", false)] {
        let place = tempfile::tempdir().unwrap();
        let mut session = session_at(place.path(), &Arc::default());
        let mut config = config(place.path());
        config.networks.probe = Some(probe.parse().unwrap());
        let wish = sealane_agent::word::wish(&session, &config, &bare_host(), 1420);
        let said = sealane_agent::word::advertise(&mut session, wish, NOW).unwrap().unwrap();
        let spec = serde_json::from_value(said.1).unwrap();
        let peer = LocalFacts::named(GatewayId::parse("b.g1").unwrap());
        let mut receiver = Receiver::new(clusterset_id(), ListPosition::default());
        receiver.accept_clusterset(NOW, &peer, &signed(&list(NOW)));
        receiver.accept_advertisement(NOW, &peer, Offer { name: "me.host", spec: &spec });
        let remotes = receiver.remotes(NOW, &peer);
        let expected = told.then(|| probe.parse().unwrap());
        assert_eq!(remotes[0].probe4, expected, "{probe}");
        let (events, _inbox) = tokio::sync::mpsc::channel(16);
        let paths = sealane_agent::paths::Paths::new(events);
        let now = sealane_plan::name::UnixSeconds(NOW.0);
        let world = sealane_agent::facts::world(&mut session, &config, &bare_host(), &paths, now);
        let Some(sealane_plan::world::Role::Gateway(own)) = world.me.map(|me| me.role) else {
            panic!("a gateway")
        };
        assert_eq!(own.probe4, expected, "what is told and what is planned for are one");
    }
}
