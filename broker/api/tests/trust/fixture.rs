//! A valid clusterset {a, b, c, me}, b with gateways g1 and g2, from which each case changes one thing.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use sealane_api::cidr::Cidr;
use sealane_api::clusterset::{ClusterSet, ListPosition, MemberEntry, OnExpiry, PostQuantum};
use sealane_api::keys::{PairSecret, SigningSeed, TunnelSeed};
use sealane_api::kinds::{AdvertisementSpec, ClusterSetSpec, Genesis};
use sealane_api::names::{ClusterId, ClusterSetId, GatewayId};
use sealane_api::reason::{Dropped, Reason, Warning};
use sealane_api::receiver::{Offer, Receiver, Verdict};
use sealane_api::remote::{LocalFacts, RemoteGateway};
use sealane_api::sign;
use sealane_api::signed::{Signed, Statement};
use sealane_api::time::{DAY_SECONDS, UnixTime};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use zeroize::Zeroizing;

pub(crate) const NOW: UnixTime = UnixTime(1_800_000_000);
pub(crate) const ROOT: u8 = 1;
pub(crate) const RECOVERY: u8 = 2;

pub(crate) fn seed(byte: u8) -> SigningSeed {
    SigningSeed::from_bytes(Zeroizing::new([byte; 32]))
}

pub(crate) fn tunnel_seed(byte: u8) -> TunnelSeed {
    TunnelSeed::from_bytes(Zeroizing::new([byte; 32]))
}

pub(crate) fn pair(byte: u8) -> PairSecret {
    PairSecret::from_bytes(Zeroizing::new([byte; 32]))
}

pub(crate) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn genesis() -> Genesis {
    Genesis { root: seed(ROOT).public().to_string(), recovery: seed(RECOVERY).public().to_string() }
}

pub(crate) fn clusterset_id() -> ClusterSetId {
    ClusterSetId::of_genesis(&seed(ROOT).public(), &seed(RECOVERY).public())
}

pub(crate) fn member(name: &str) -> ClusterId {
    ClusterId::parse(name).unwrap()
}

/// The seed of a member's identity key; its join key is one more.
pub(crate) fn identity_of(name: &str) -> u8 {
    match name {
        "a" => 0xa0,
        "b" => 0xb0,
        "c" => 0xc0,
        _ => 0xd0,
    }
}

/// Networks of member number n: 10.n.0.0/16 and fd00:n::/32.
pub(crate) fn grant_of(name: &str) -> Vec<Cidr> {
    let number = match name {
        "a" => 1,
        "b" => 2,
        "c" => 3,
        _ => 4,
    };
    [format!("10.{number}.0.0/16"), format!("fd00:{number}::/32")]
        .map(|text| Cidr::parse(&text).unwrap())
        .to_vec()
}

pub(crate) fn list() -> ClusterSet {
    let entry = |name: &str| {
        let keys = vec![seed(identity_of(name)).public()];
        (member(name), MemberEntry { keys, ..MemberEntry::granting(grant_of(name)) })
    };
    ClusterSet {
        id: clusterset_id(),
        position: ListPosition { link_index: 0, version: 5 },
        issued: NOW,
        expires: NOW.plus_seconds(365 * DAY_SECONDS),
        on_expiry: OnExpiry::Hold,
        post_quantum: PostQuantum::Off,
        brokers: Vec::new(),
        members: BTreeMap::from(["a", "b", "c", "me"].map(entry)),
    }
}

pub(crate) fn signed_list(list: &ClusterSet) -> ClusterSetSpec {
    sign::clusterset(&seed(ROOT), genesis(), Vec::new(), list)
}

pub(crate) fn facts() -> LocalFacts {
    let mut facts = LocalFacts::named(GatewayId::parse("me.host").unwrap());
    facts.gateway_key = Some(seed(0xd2).public());
    facts.identity = Some(seed(0xd0).public());
    facts.tunnel_keys.insert(tunnel_seed(0xd3).public().wireguard());
    facts
}

/// An Advertisement in the making: edit the JSON, then sign it.
#[derive(Clone, Debug)]
pub(crate) struct Ad {
    pub(crate) name: String,
    pub(crate) identity: u8,
    pub(crate) key: u8,
    pub(crate) cert: Value,
    pub(crate) payload: Value,
    pub(crate) enrolment: Option<Signed>,
}

impl Ad {
    /// The valid advertisement of a gateway; `number` makes its keys differ from the others'.
    pub(crate) fn of(name: &str, gateway: &str, number: u8) -> Self {
        let identity = identity_of(name);
        let key = identity + 2 * number;
        let mut ad = Self {
            name: format!("{name}.{gateway}"),
            identity,
            key,
            cert: json!({
                "v": 1, "clusterset": clusterset_id().as_str(), "member": name, "role": "gateway",
                "gateway": gateway, "key": seed(key).public().to_string(), "generation": 100,
                "issued": NOW.0, "expires": NOW.0 + 90 * DAY_SECONDS,
            }),
            payload: json!({
                "v": 1, "clusterset": clusterset_id().as_str(), "member": name, "gateway": gateway,
                "sequence": 7, "issued": NOW.0, "expires": NOW.0 + 30 * DAY_SECONDS,
                "state": "active", "agent": "0.1.0",
                "networks": {
                    "pods": grant_of(name).iter().map(ToString::to_string).collect::<Vec<_>>(),
                    "services": [], "external": [],
                },
            }),
            enrolment: None,
        };
        ad.payload["tunnels"] = json!([ad.tunnel(key + 1, 0)]);
        ad
    }

    pub(crate) fn b_g1() -> Self {
        Self::of("b", "g1", 1)
    }

    pub(crate) fn b_g2() -> Self {
        Self::of("b", "g2", 2)
    }

    pub(crate) fn c_g1() -> Self {
        Self::of("c", "g1", 1)
    }

    /// A tunnel entry of this gateway, proved by the tunnel key of that seed.
    pub(crate) fn tunnel(&self, tunnel: u8, slot: u64) -> Value {
        let pair = pair(tunnel).public();
        let proof = self.proof(tunnel, pair.as_bytes());
        json!({
            "key": tunnel_seed(tunnel).public().to_string(), "proof": proof,
            "pair": pair.to_string(), "slot": slot, "mtu": 1420,
            "candidates": [{"kind": "public", "addr": "192.0.2.7", "port": 51820}],
        })
    }

    pub(crate) fn proof(&self, tunnel: u8, pair: &[u8; 32]) -> String {
        let owner = GatewayId::parse(&self.name).unwrap();
        let message = sealane_api::advertisement::proof_message(
            &clusterset_id(),
            &owner,
            &seed(self.key).public(),
            pair,
        );
        b64(tunnel_seed(tunnel).sign(&message))
    }

    pub(crate) fn generation(mut self, generation: u64) -> Self {
        self.cert["generation"] = json!(generation);
        self
    }

    pub(crate) fn sequence(mut self, sequence: u64) -> Self {
        self.payload["sequence"] = json!(sequence);
        self
    }

    pub(crate) fn pods(mut self, pods: &[&str]) -> Self {
        self.payload["networks"]["pods"] = json!(pods);
        self
    }

    pub(crate) fn edit(mut self, edit: impl FnOnce(&mut Value)) -> Self {
        edit(&mut self.payload);
        self
    }

    pub(crate) fn edit_cert(mut self, edit: impl FnOnce(&mut Value)) -> Self {
        edit(&mut self.cert);
        self
    }

    pub(crate) fn cert_bytes(&self) -> Vec<u8> {
        self.cert.to_string().into_bytes()
    }

    pub(crate) fn payload_bytes(&self) -> Vec<u8> {
        let mut payload = self.payload.clone();
        if payload.get("cert").is_none() {
            payload["cert"] = json!(b64(Sha256::digest(self.cert_bytes())));
        }
        payload.to_string().into_bytes()
    }

    pub(crate) fn spec(&self) -> AdvertisementSpec {
        self.spec_of(&self.payload_bytes())
    }

    /// The envelope around any bytes, signed as an advertisement of this gateway.
    pub(crate) fn spec_of(&self, payload: &[u8]) -> AdvertisementSpec {
        let (member, gateway) = self.name.split_once('.').unwrap();
        AdvertisementSpec {
            member: member.to_owned(),
            gateway: gateway.to_owned(),
            cert: Signed::seal(&seed(self.identity), Statement::GatewayCert, &self.cert_bytes()),
            enrolment: self.enrolment.clone(),
            signed: Signed::seal(&seed(self.key), Statement::Advertisement, payload),
            view: None,
        }
    }
}

pub(crate) fn enrolment(join: u8, name: &str, identity: u8) -> Signed {
    sign::enrolment(&seed(join), &clusterset_id(), &member(name), &seed(identity).public())
}

/// A host of member `me` at a moment.
pub(crate) struct Host {
    pub(crate) receiver: Receiver,
    pub(crate) facts: LocalFacts,
    pub(crate) now: UnixTime,
}

impl Host {
    /// Believes the fixture's list and nothing else.
    pub(crate) fn fresh() -> Self {
        Self::with(&list())
    }

    pub(crate) fn with(list: &ClusterSet) -> Self {
        let receiver = Receiver::new(clusterset_id(), ListPosition::default());
        let mut host = Self { receiver, facts: facts(), now: NOW };
        host.accept_list(&signed_list(list));
        host
    }

    /// Believes the list, b.g1, b.g2 and c.g1.
    pub(crate) fn settled() -> Self {
        let mut host = Self::fresh();
        for ad in [Ad::b_g1(), Ad::b_g2(), Ad::c_g1()] {
            host.accept(&ad);
        }
        host
    }

    pub(crate) fn offer_spec(&mut self, name: &str, spec: &AdvertisementSpec) -> Verdict {
        let before = serde_json::to_vec(self.receiver.held()).unwrap();
        let seen = self.remotes();
        let verdict =
            self.receiver.accept_advertisement(self.now, &self.facts, Offer { name, spec });
        self.assert_untouched(&verdict, &before, &seen);
        verdict
    }

    pub(crate) fn offer(&mut self, ad: &Ad) -> Verdict {
        self.offer_spec(&ad.name, &ad.spec())
    }

    pub(crate) fn offer_list(&mut self, spec: &ClusterSetSpec) -> Verdict {
        let before = serde_json::to_vec(self.receiver.held()).unwrap();
        let seen = self.remotes();
        let verdict = self.receiver.accept_clusterset(self.now, &self.facts, spec);
        self.assert_untouched(&verdict, &before, &seen);
        verdict
    }

    /// Law L2: what is not accepted changes neither what is held nor what is seen.
    fn assert_untouched(&self, verdict: &Verdict, before: &[u8], seen: &[RemoteGateway]) {
        if !matches!(verdict, Verdict::Accepted { .. }) {
            assert_eq!(serde_json::to_vec(self.receiver.held()).unwrap(), before, "{verdict:?}");
            assert_eq!(self.remotes(), seen, "{verdict:?}");
        }
    }

    pub(crate) fn accept(&mut self, ad: &Ad) -> (Vec<Warning>, Vec<Dropped>) {
        match self.offer(ad) {
            Verdict::Accepted { warnings, dropped } => (warnings, dropped),
            other => panic!("{} was not accepted: {other:?}", ad.name),
        }
    }

    pub(crate) fn accept_list(&mut self, spec: &ClusterSetSpec) -> Vec<Dropped> {
        match self.offer_list(spec) {
            Verdict::Accepted { dropped, .. } => dropped,
            other => panic!("the list was not accepted: {other:?}"),
        }
    }

    pub(crate) fn reject(&mut self, ad: &Ad, reason: Reason) {
        self.reject_spec(&ad.name, &ad.spec(), reason);
    }

    pub(crate) fn reject_spec(&mut self, name: &str, spec: &AdvertisementSpec, reason: Reason) {
        let verdict = self.offer_spec(name, spec);
        assert_eq!(reason_of(&verdict), Some(reason), "{name}: {verdict:?}");
    }

    pub(crate) fn reject_list(&mut self, spec: &ClusterSetSpec, reason: Reason) {
        let verdict = self.offer_list(spec);
        assert_eq!(reason_of(&verdict), Some(reason), "{verdict:?}");
    }

    pub(crate) fn remotes(&self) -> Vec<RemoteGateway> {
        self.receiver.remotes(self.now, &self.facts)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.remotes().iter().map(|remote| remote.id.to_string()).collect()
    }

    pub(crate) fn remote(&self, name: &str) -> RemoteGateway {
        let found = self.remotes().into_iter().find(|remote| remote.id.to_string() == name);
        found.unwrap_or_else(|| panic!("no {name} among {:?}", self.names()))
    }
}

pub(crate) fn reason_of(verdict: &Verdict) -> Option<Reason> {
    match verdict {
        Verdict::Rejected(rejected) => Some(rejected.reason),
        _ => None,
    }
}

/// The payload of a list as JSON, for changes that no typed list can express.
pub(crate) fn list_json(list: &ClusterSet) -> Value {
    let bytes = STANDARD.decode(signed_list(list).signed.payload).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

pub(crate) fn signed_json(payload: &Value) -> ClusterSetSpec {
    signed_list_bytes(payload.to_string().as_bytes())
}

pub(crate) fn signed_list_bytes(payload: &[u8]) -> ClusterSetSpec {
    let signed = Signed::seal(&seed(ROOT), Statement::ClusterSet, payload);
    ClusterSetSpec { signed, genesis: genesis(), links: Vec::new(), view: None }
}

/// The next version of the fixture's list, changed.
pub(crate) fn next_list(change: impl FnOnce(&mut ClusterSet)) -> ClusterSetSpec {
    let mut list = list();
    list.position.version += 1;
    change(&mut list);
    signed_list(&list)
}
