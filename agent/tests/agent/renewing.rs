//! A later token of the member that a host is: another access to the broker, and nothing else.

use sealane_agent::admin::Fault;
use sealane_agent::config::Role;
use sealane_agent::join::{JoinError, join, renew};
use sealane_agent::keys::Keys;
use sealane_agent::membership::Membership;
use sealane_api::names::ClusterId;
use sealane_api::sign;
use sealane_api::time::{DAY_SECONDS, UnixTime};
use sealane_api::token::Token;
use sealane_broker::access::Broker as Client;
use sealane_broker::board::Kind;
use sealane_broker::publish;
use sealane_broker::store::Store;
use sealane_view::membership::JoinDocument;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::fixture::{CREDENTIAL, NOW, clusterset_id, list, no_broker, seed, signed, token};
use crate::host::{Broker, Host, config, eventually, now};

const KEY_FILES: [&str; 4] = ["gateway.key", "identity.key", "pair.key", "tunnel.key"];

/// A token of `me` with another credential and no join key, as `sealane token renew` makes it.
fn renewal() -> Token {
    let credential = Zeroizing::new("another-credential".to_owned());
    let credential_expires = Some(NOW.plus_seconds(DAY_SECONDS));
    Token { join: None, credential, credential_expires, ..token(vec![no_broker()]) }
}

fn keys(store: &Store) -> Vec<Zeroizing<Vec<u8>>> {
    KEY_FILES.iter().map(|name| store.load(name).unwrap().unwrap()).collect()
}

/// What is on disk of the membership.
fn kept(store: &Store) -> Value {
    serde_json::from_slice(&store.load("membership.json").unwrap().unwrap()).unwrap()
}

fn member_at(place: &std::path::Path, role: Role) -> (Store, Membership) {
    let store = Store::open(place).unwrap();
    let mut config = config(place);
    config.role = role;
    join(&store, &config, &token(vec![no_broker()]).encode()).unwrap();
    let membership = Membership::load(&store).unwrap().unwrap();
    (store, membership)
}

#[test]
fn a_later_token_replaces_credential_and_brokers_and_no_key() {
    let place = tempfile::tempdir().unwrap();
    let (store, held) = member_at(place.path(), Role::Gateway);
    let (keys_before, before) = (keys(&store), kept(&store));
    let mut later = renewal();
    later.brokers[0].url = "https://other.example:6464".to_owned();
    later.brokers[0].spki = vec!["p".repeat(43)];
    later.minimum.version = 9;
    let renewed = renew(&store, &held, &later.encode(), NOW).unwrap();
    assert_eq!(renewed.credential_expires, later.credential_expires);
    assert_eq!(renewed.brokers, later.brokers);
    let after = kept(&store);
    assert_eq!(after["credential"], "another-credential");
    assert_eq!(after["minimum"]["version"], 9);
    assert_eq!(after["enrolment"], before["enrolment"], "what enrolled this host goes on to");
    assert!(!before["enrolment"].is_null());
    assert_eq!(keys(&store), keys_before);
}

#[test]
fn a_token_with_a_join_key_enrols_the_identity_that_is_there() {
    let place = tempfile::tempdir().unwrap();
    let (store, held) = member_at(place.path(), Role::Gateway);
    let keys_before = keys(&store);
    let join = seed(0x77);
    let rekeyed = Token { join: Some(seed(0x77)), ..renewal() };
    let renewed = renew(&store, &held, &rekeyed.encode(), NOW).unwrap();
    let identity = Keys::load(&store).unwrap().unwrap().identity.public();
    let expected = sign::enrolment(&join, &clusterset_id(), &held.member, &identity);
    assert_eq!(renewed.enrolment, Some(expected));
    assert_eq!(keys(&store), keys_before);
}

#[test]
fn a_node_renews_as_well() {
    let place = tempfile::tempdir().unwrap();
    let (store, held) = member_at(place.path(), Role::Node);
    renew(&store, &held, &renewal().encode(), NOW).unwrap();
    assert_eq!(kept(&store)["credential"], "another-credential");
    assert!(Keys::load(&store).unwrap().is_none(), "a node has no keys of its own");
}

#[test]
fn a_token_without_a_credential_leaves_the_one_that_is_there() {
    let place = tempfile::tempdir().unwrap();
    let (store, held) = member_at(place.path(), Role::Gateway);
    let bare = Token { credential: Zeroizing::default(), credential_expires: None, ..renewal() };
    renew(&store, &held, &bare.encode(), NOW).unwrap();
    assert_eq!(kept(&store)["credential"], CREDENTIAL);
}

#[test]
fn tokens_that_cannot_serve_are_refused_with_the_reason_and_change_nothing() {
    let place = tempfile::tempdir().unwrap();
    let (store, held) = member_at(place.path(), Role::Gateway);
    let (keys_before, before) = (keys(&store), kept(&store));
    let of_member = Token { member: ClusterId::parse("b").unwrap(), ..renewal() };
    let of_set = Token { root: seed(0x51).public(), ..renewal() };
    let late = Token { credential_expires: Some(UnixTime(NOW.0 - 1)), ..renewal() };
    let homeless = Token { brokers: Vec::new(), ..renewal() };
    let id = clusterset_id().to_string();
    let cases = [
        (of_member.encode(), vec!["is me of clusterset", &id, "is for b;", "`sealane leave`"]),
        (
            of_set.encode(),
            vec!["is me of clusterset", "is for me of clusterset", "`sealane leave`"],
        ),
        (late.encode(), vec!["has expired", "`sealane token renew --cluster me`"]),
        (homeless.encode(), vec!["names no broker"]),
        (Zeroizing::new("slj1.x.y".to_owned()), vec!["TokenDamaged"]),
    ];
    for (text, parts) in cases {
        let told = renew(&store, &held, &text, NOW).err().unwrap().to_string();
        assert!(parts.iter().all(|part| told.contains(part)), "{parts:?} is not in: {told}");
        assert!(!told.contains("another-credential"), "{told}");
    }
    assert_eq!((keys(&store), kept(&store)), (keys_before, before));
}

#[test]
fn a_host_that_is_a_member_does_not_join_anew() {
    let place = tempfile::tempdir().unwrap();
    let (store, _) = member_at(place.path(), Role::Gateway);
    let before = keys(&store);
    let text = token(vec![no_broker()]).encode();
    let error = join(&store, &config(place.path()), &text).unwrap_err();
    assert!(matches!(error, JoinError::Joined { .. }), "{error}");
    assert_eq!(keys(&store), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_whose_credential_died_is_back_with_another_one_and_never_left() {
    let broker = Broker::holding(&signed(&list(now()))).await;
    let place = tempfile::tempdir().unwrap();
    let host = Host::start(place.path());
    host.join(&broker.token().await).await.unwrap();
    eventually("our word is on the broker, with what root granted", || async {
        let word = broker.word_of_me().await;
        word.is_some_and(|word| word["networks"]["pods"] == serde_json::json!(["10.4.0.0/16"]))
    })
    .await;
    let store = Store::open(place.path()).unwrap();
    let (keys_before, wish_before) = (keys(&store), host.wish.borrow().host.clone());
    let said = broker.word_of_me().await.unwrap();

    let Client { client, namespace, .. } = &broker.admin;
    let account = format!("/api/v1/namespaces/{namespace}/serviceaccounts/member-me");
    let request = axum::http::Request::delete(account).body(Vec::new()).unwrap();
    client.request_text(request).await.unwrap();
    let away = || async { !host.status().await.broker.unwrap().connected };
    eventually("the dead credential is refused", away).await;

    let other = Token { member: ClusterId::parse("b").unwrap(), ..renewal() };
    let refusal = host.join(&other.encode()).await.unwrap_err();
    assert_eq!(refusal.fault, Fault::State);
    assert!(refusal.document.cause.contains("is for b;"), "{:?}", refusal.document);

    let later = Token { join: None, ..broker.token_of_me().await };
    let answer = host.join(&later.encode()).await.unwrap();
    let document: JoinDocument = serde_json::from_value(answer).unwrap();
    let identity = Keys::load(&store).unwrap().unwrap().identity.public();
    assert!(document.renewed);
    assert_eq!(document.fingerprint, identity.fingerprint());
    let back = || async { host.status().await.broker.unwrap().connected };
    eventually("the broker takes the new one", back).await;
    broker.remove("me.host").await;
    let word = || async {
        publish::read(&broker.admin, Kind::Advertisement, "me.host").await.ok().flatten().is_some()
    };
    eventually("our word is written with it", word).await;
    assert_eq!(broker.word_of_me().await.unwrap(), said, "nothing was signed anew");
    assert_eq!(keys(&store), keys_before);
    assert_eq!(host.wish.borrow().host, wish_before, "the host is as it was");
    host.stop().await;
    broker.server.stop().await;
}
