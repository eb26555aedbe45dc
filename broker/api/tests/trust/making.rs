//! What is signed here says what it was asked to say, lives as long as documented, and is believed.

use crate::fixture::*;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use sealane_api::advertisement::{Candidate, CandidateKind, Networks, State};
use sealane_api::clusterset::{BrokerAddress, ClusterSet, ListPosition};
use sealane_api::names::GatewayId;
use sealane_api::service::{Exported, ServiceType};
use sealane_api::sign::services::{self, ServiceDraft, ServicesCertRequest};
use sealane_api::sign::{self, CertRequest, Draft, TunnelOwner, TunnelSettings};
use sealane_api::signed::Signed;
use sealane_api::time::UnixTime;
use sealane_api::token::Token;
use serde_json::{Value, json};
use zeroize::Zeroizing;

const DAY: u64 = 86_400;

fn said(signed: &Signed) -> Value {
    serde_json::from_slice(&STANDARD.decode(&signed.payload).unwrap()).unwrap()
}

/// For how long a payload is good. Unit: days.
fn days(payload: &Value) -> u64 {
    (payload["expires"].as_u64().unwrap() - payload["issued"].as_u64().unwrap()) / DAY
}

#[test]
fn the_next_list_says_the_same_for_a_year_from_now() {
    let later = NOW.plus_seconds(200 * DAY);
    let year = later.plus_seconds(365 * DAY);
    let at = |link_index: u64, version: u64| ListPosition { link_index, version };
    let expected = |position| ClusterSet { position, issued: later, expires: year, ..list() };
    assert_eq!(list().next(later), expected(at(0, 6)));
    assert_eq!(list().under_next_root(later), expected(at(1, 1)));
    assert_eq!(ClusterSet::first(clusterset_id(), later).expires, year);
}

#[test]
fn a_generation_is_the_time_or_one_above_the_last() {
    let last_and_next = [
        (None, NOW.0),
        (Some(7), NOW.0),
        (Some(NOW.0 - 1), NOW.0),
        (Some(NOW.0), NOW.0 + 1),
        (Some(NOW.0 + 9), NOW.0 + 10),
        (Some(u64::MAX), u64::MAX),
    ];
    for (last, next) in last_and_next {
        assert_eq!(sign::next_generation(last, NOW), next, "after {last:?}");
    }
}

#[test]
fn a_gateway_is_believed_as_drafted_and_its_withdrawal_says_nothing_else() {
    let (id, gateway) = (clusterset_id(), GatewayId::parse("b.node-1").unwrap());
    let key = seed(0x42);
    let request = CertRequest {
        id: &id,
        gateway: &gateway,
        key: key.public(),
        generation: sign::next_generation(None, NOW),
        revoked: Vec::new(),
    };
    let cert = sign::gateway_cert(&seed(identity_of("b")), &request, NOW);
    let owner = TunnelOwner { id: &id, gateway: &gateway, gateway_key: key.public() };
    let candidate =
        Candidate { kind: CandidateKind::Public, addr: "192.0.2.7".parse().unwrap(), port: 51_820 };
    let settings = TunnelSettings { slot: 3, mtu: 1_400, candidates: vec![candidate] };
    let [v4, v6] = grant_of("b").try_into().unwrap();
    let draft = Draft {
        id: &id,
        gateway: &gateway,
        cert: &cert,
        enrolment: None,
        sequence: 1,
        state: State::Draining,
        networks: Networks { pods: vec![v4], services: vec![v6], external: Vec::new() },
        probe4: Some([10, 2, 0, 9].into()),
        tunnels: vec![sign::tunnel(&tunnel_seed(0x43), &pair(0x44), owner, settings)],
        agent: "0.1.0",
    };
    let spec = sign::advertisement(&key, &draft, NOW).unwrap();
    assert_eq!((days(&said(&cert)), days(&said(&spec.signed))), (90, 30));
    let view = spec.view.as_ref().unwrap();
    assert_eq!(view.expires, "2027-02-14T08:00:00Z");
    assert_eq!(
        (&view.networks[..], &view.addresses[..]),
        (
            &["10.2.0.0/16".to_owned(), "fd00:2::/32".to_owned()][..],
            &["192.0.2.7:51820".to_owned()][..]
        )
    );

    let mut host = Host::fresh();
    host.offer_spec("b.node-1", &spec);
    let remote = host.remote("b.node-1");
    assert_eq!((remote.generation, remote.state), (NOW.0, State::Draining));
    assert_eq!((&remote.networks, remote.probe4), (&draft.networks, draft.probe4));
    assert_eq!((remote.tunnels[0].slot, remote.tunnels[0].mtu), (3, 1_400));
    assert_eq!(remote.tunnels[0].candidates, [candidate]);
    assert!(remote.warnings.is_empty(), "{:?}", remote.warnings);

    let last = Draft { sequence: 2, ..draft }.withdrawn();
    let last = sign::advertisement(&key, &last, NOW).unwrap();
    let payload = said(&last.signed);
    assert_eq!(payload["state"], "withdrawn");
    assert_eq!(payload["networks"], json!({"pods": [], "services": [], "external": []}));
    assert_eq!((&payload["tunnels"], &payload["probe4"]), (&json!([]), &json!(null)));
    assert_eq!((&payload["sequence"], &payload["agent"]), (&json!(2), &json!("0.1.0")));
    host.offer_spec("b.node-1", &last);
    assert!(host.names().is_empty());
}

#[test]
fn services_are_certified_for_as_long_as_they_are_signed() {
    let (id, owner, key) = (clusterset_id(), member("b"), seed(0x42));
    let revoked = Vec::new();
    let request =
        ServicesCertRequest { id: &id, member: &owner, key: key.public(), generation: 5, revoked };
    let cert = services::cert(&seed(identity_of("b")), &request, NOW);
    let draft = ServiceDraft {
        id: &id,
        service: &sealane_api::names::ServiceId::parse("b.shop.cart").unwrap(),
        cert: &cert,
        enrolment: None,
        sequence: 1,
        state: State::Active,
        exported: Exported::nothing(ServiceType::Headless),
    };
    let spec = services::service(&key, &draft, NOW).unwrap();
    assert_eq!((days(&said(&cert)), days(&said(&spec.signed))), (30, 30));
    assert_eq!(spec.view.unwrap().expires, "2027-02-14T08:00:00Z");
}

#[test]
fn a_broker_in_the_usual_namespace_is_written_and_read_without_it() {
    let in_namespace = |namespace: &str| BrokerAddress {
        url: "https://broker.example:6443".to_owned(),
        namespace: namespace.to_owned(),
        spki: Vec::new(),
    };
    let brokers = vec![in_namespace("sealane-system"), in_namespace("team-a")];
    let written = json!([
        {"url": "https://broker.example:6443"},
        {"url": "https://broker.example:6443", "namespace": "team-a"},
    ]);
    let mut list = list();
    list.brokers.clone_from(&brokers);
    assert_eq!(list_json(&list)["brokers"], written);

    let token = Token {
        root: seed(ROOT).public(),
        recovery: seed(RECOVERY).public(),
        minimum: ListPosition::default(),
        member: member("b"),
        join: None,
        brokers: brokers.clone(),
        credential: Zeroizing::default(),
        credential_expires: Some(UnixTime(9)),
    };
    let text = token.encode();
    let body = text.split('.').nth(1).unwrap();
    let fields: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).unwrap()).unwrap();
    assert_eq!(fields["brokers"], written);
    assert_eq!(Token::decode(&text).unwrap().brokers, brokers);
}
