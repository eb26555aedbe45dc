//! A valid service `shop/cart` of b, from which each case changes one thing, and a host that is offered it.

use crate::fixture::*;
use sealane_api::kinds::ServiceAdvertisementSpec;
use sealane_api::reason::Reason;
use sealane_api::receiver::Verdict;
use sealane_api::receiver::services::ServiceOffer;
use sealane_api::service::RemoteService;
use sealane_api::signed::{Signed, Statement};
use sealane_api::time::DAY_SECONDS;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The services key of a member.
pub(crate) const KEY: u8 = 9;

/// A ServiceAdvertisement in the making: edit the JSON, then sign it.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) identity: u8,
    pub(crate) key: u8,
    pub(crate) cert: Value,
    pub(crate) payload: Value,
    pub(crate) enrolment: Option<Signed>,
}

impl Service {
    /// The valid advertisement of `shop/cart` of b.
    pub(crate) fn of_b() -> Self {
        Self::of("b", "shop", "cart")
    }

    pub(crate) fn of(member: &str, namespace: &str, name: &str) -> Self {
        let identity = identity_of(member);
        let address = grant_of(member)[0].address().to_string().replace(".0.0", ".0.7");
        Self {
            name: format!("{member}.{namespace}.{name}"),
            identity,
            key: identity + KEY,
            cert: json!({
                "v": 1, "clusterset": clusterset_id().as_str(), "member": member,
                "role": "services", "gateway": "", "key": seed(identity + KEY).public().to_string(),
                "generation": 100, "issued": NOW.0, "expires": NOW.0 + 30 * DAY_SECONDS,
            }),
            payload: json!({
                "v": 1, "clusterset": clusterset_id().as_str(), "member": member,
                "namespace": namespace, "name": name, "sequence": 7, "issued": NOW.0,
                "expires": NOW.0 + 30 * DAY_SECONDS, "state": "active", "type": "ClusterSetIP",
                "ports": [{"name": "web", "protocol": "TCP", "port": 80, "appProtocol": "http"}],
                "addresses": [address], "affinity": 10_800,
            }),
            enrolment: None,
        }
    }

    pub(crate) fn headless(self) -> Self {
        let address = self.payload["addresses"][0].clone();
        let endpoints = json!([{"addr": address, "hostname": "cart-0"}, {"addr": "fd00:2::9"}]);
        self.with("type", json!("Headless"))
            .with("endpoints", endpoints)
            .with("addresses", json!([]))
    }

    pub(crate) fn withdrawn(self) -> Self {
        self.with("state", json!("withdrawn")).with("ports", json!([])).with("addresses", json!([]))
    }

    pub(crate) fn with(mut self, field: &str, value: Value) -> Self {
        self.payload[field] = value;
        self
    }

    pub(crate) fn cert_with(mut self, field: &str, value: Value) -> Self {
        self.cert[field] = value;
        self
    }

    pub(crate) fn sequence(self, sequence: u64) -> Self {
        self.with("sequence", json!(sequence))
    }

    pub(crate) fn payload_bytes(&self) -> Vec<u8> {
        let mut payload = self.payload.clone();
        if payload.get("cert").is_none() {
            payload["cert"] = json!(b64(Sha256::digest(self.cert.to_string())));
        }
        payload.to_string().into_bytes()
    }

    pub(crate) fn spec(&self) -> ServiceAdvertisementSpec {
        self.spec_signed_as(Statement::Service)
    }

    pub(crate) fn spec_signed_as(&self, statement: Statement) -> ServiceAdvertisementSpec {
        let mut parts = self.name.splitn(3, '.').map(str::to_owned);
        let mut part = || parts.next().unwrap();
        let cert = self.cert.to_string();
        ServiceAdvertisementSpec {
            member: part(),
            namespace: part(),
            name: part(),
            cert: Signed::seal(&seed(self.identity), Statement::GatewayCert, cert.as_bytes()),
            enrolment: self.enrolment.clone(),
            signed: Signed::seal(&seed(self.key), statement, &self.payload_bytes()),
            view: None,
        }
    }
}

impl Host {
    /// Offers a service; asserts that what is not accepted left no trace.
    pub(crate) fn offer_service_spec(
        &mut self,
        name: &str,
        spec: &ServiceAdvertisementSpec,
    ) -> Verdict {
        let before = (self.receiver.held().clone(), self.services(), self.remotes());
        let offer = ServiceOffer { name, spec };
        let verdict = self.receiver.accept_service(self.now, &self.facts, offer);
        if !matches!(verdict, Verdict::Accepted { .. }) {
            let after = (self.receiver.held().clone(), self.services(), self.remotes());
            assert!(before == after, "{verdict:?}");
        }
        verdict
    }

    pub(crate) fn offer_service(&mut self, service: &Service) -> Verdict {
        self.offer_service_spec(&service.name, &service.spec())
    }

    #[track_caller]
    pub(crate) fn accept_service(&mut self, service: &Service) {
        let verdict = self.offer_service(service);
        assert!(matches!(verdict, Verdict::Accepted { .. }), "{}: {verdict:?}", service.name);
    }

    #[track_caller]
    pub(crate) fn reject_service(&mut self, service: &Service, reason: Reason) {
        let verdict = self.offer_service(service);
        assert_eq!(reason_of(&verdict), Some(reason), "{}: {verdict:?}", service.name);
    }

    pub(crate) fn services(&self) -> Vec<RemoteService> {
        self.receiver.services(self.now)
    }

    pub(crate) fn service_names(&self) -> Vec<String> {
        self.services().iter().map(|service| service.id.to_string()).collect()
    }
}
