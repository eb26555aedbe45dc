//! Owns the target of service payloads: what a member says of one service, behind the right signatures.

use sealane_api::advertisement::State;
use sealane_api::kinds::ServiceAdvertisementSpec;
use sealane_api::names::{ClusterId, ServiceId};
use sealane_api::receiver::Verdict;
use sealane_api::receiver::services::ServiceOffer;
use sealane_api::service::{Exported, Protocol, ServicePort, ServiceType};
use sealane_api::sign::services::{self, ServiceDraft, ServicesCertRequest};
use sealane_api::signed::{Signed, Statement};
use serde_json::json;

use crate::fuzz::target::{Outcome, Seed};
use crate::fuzz::trust::{IDENTITY, NOW, host, id, seed, way};

const SERVICES: u8 = 8;
const NAME: &str = "b.shop.cart";

/// What b says of its service.
fn word(sequence: u64) -> Option<ServiceAdvertisementSpec> {
    let (id, key) = (&id(), seed(SERVICES));
    let (member, service) = (&ClusterId::parse("b").ok()?, &ServiceId::parse(NAME).ok()?);
    let (generation, revoked) = (100, Vec::new());
    let request = ServicesCertRequest { id, member, key: key.public(), generation, revoked };
    let cert = services::cert(&seed(IDENTITY), &request, NOW);
    let web = ServicePort {
        name: "web".to_owned(),
        protocol: Protocol::Tcp,
        port: 80,
        app_protocol: None,
    };
    let exported = Exported {
        service_type: ServiceType::ClusterSetIp,
        ports: vec![web],
        addresses: vec!["10.2.0.7".parse().ok()?],
        endpoints: Vec::new(),
        affinity: None,
    };
    let draft = ServiceDraft {
        id,
        service,
        cert: &cert,
        enrolment: None,
        sequence,
        state: State::Active,
        exported,
    };
    services::service(&key, &draft, NOW).ok()
}

/// The payload of a service, signed by b's services key and offered to a host that believes an earlier
/// one. Law: a refusal changes nothing.
pub fn service(bytes: &[u8]) -> Outcome {
    let (Some(first), Some(second)) = (word(1), word(2)) else { return Outcome::refused("scene") };
    let Some((mut receiver, facts)) = host(None) else { return Outcome::refused("scene") };
    receiver.accept_service(NOW, &facts, ServiceOffer { name: NAME, spec: &first });
    let before = (receiver.held().clone(), receiver.services(NOW));
    let signed = Signed::seal(&seed(SERVICES), Statement::Service, bytes);
    let spec = ServiceAdvertisementSpec { signed, view: None, ..second };
    let verdict = receiver.accept_service(NOW, &facts, ServiceOffer { name: NAME, spec: &spec });
    if !matches!(verdict, Verdict::Accepted { .. }) {
        let after = (receiver.held().clone(), receiver.services(NOW));
        assert!(before == after, "a refusal changed what is held: {verdict:?}");
    }
    way(&verdict)
}

/// Payloads: one with everything, a headless one, a withdrawal.
pub fn services() -> Vec<Seed> {
    let newer = word(2).and_then(|spec| spec.signed.decode(usize::MAX / 8).ok());
    let newer = newer.map(|signed| signed.payload).unwrap_or_default();
    let mut full: serde_json::Value = serde_json::from_slice(&newer).unwrap_or_default();
    full["affinity"] = json!(10_800);
    full["ports"] = json!([
        {"name": "dns", "protocol": "UDP", "port": 53, "appProtocol": "dns"},
        {"name": "sig", "protocol": "SCTP", "port": 65535},
    ]);
    full["addresses"] = json!(["10.2.0.7", "fd00:2::7"]);
    full["ext"] = json!({"x": [1]});
    let mut headless = full.clone();
    headless["type"] = json!("Headless");
    headless["addresses"] = json!([]);
    headless["endpoints"] =
        json!([{"addr": "fd00:2::8", "hostname": "cart-0"}, {"addr": "10.2.0.8"}]);
    let mut gone = full.clone();
    gone["state"] = json!("withdrawn");
    (gone["ports"], gone["addresses"]) = (json!([]), json!([]));
    let text = |value: &serde_json::Value| value.to_string().into_bytes();
    vec![
        ("newer", newer),
        ("full", text(&full)),
        ("headless", text(&headless)),
        ("withdrawn", text(&gone)),
        ("empty", Vec::new()),
    ]
}
