//! A clusterset {me, b, c}, its tokens and what gateways of b and c say. Owns no claims.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sealane_agent::membership::Membership;
use sealane_api::advertisement::{Candidate, CandidateKind, Networks, State};
use sealane_api::cidr::Cidr;
use sealane_api::clusterset::{
    BrokerAddress, ClusterSet, ListPosition, MemberEntry, OnExpiry, PostQuantum,
};
use sealane_api::keys::{PairSecret, SigningSeed, TunnelSeed};
use sealane_api::kinds::{AdvertisementSpec, ClusterSetSpec, Genesis};
use sealane_api::names::{ClusterId, ClusterSetId, GatewayId};
use sealane_api::remote::LocalFacts;
use sealane_api::sign::{self, CertRequest, Draft, TunnelOwner, TunnelSettings};
use sealane_api::time::{DAY_SECONDS, UnixTime};
use sealane_api::token::Token;
use sealane_broker::board::Sighting;
use sealane_broker::store::Store;
use serde::Serialize;
use serde_json::Value;
use zeroize::Zeroizing;

pub(crate) const NOW: UnixTime = UnixTime(1_800_000_000);
pub(crate) const CREDENTIAL: &str = "credential-of-me-on-the-broker";
const ROOT: u8 = 1;
const RECOVERY: u8 = 2;
/// The seed of the join key in tokens of `me`.
const JOIN: u8 = 0xd9;

pub(crate) fn seed(byte: u8) -> SigningSeed {
    SigningSeed::from_bytes(Zeroizing::new([byte; 32]))
}

pub(crate) fn clusterset_id() -> ClusterSetId {
    ClusterSetId::of_genesis(&seed(ROOT).public(), &seed(RECOVERY).public())
}

pub(crate) fn cidrs(texts: &[&str]) -> Vec<Cidr> {
    texts.iter().map(|text| Cidr::parse(text).unwrap()).collect()
}

/// The list: b and c with pinned identities, `me` with a join key.
pub(crate) fn list(now: UnixTime) -> ClusterSet {
    let pinned = |identity: u8, granted: &[&str]| {
        let keys = vec![seed(identity).public()];
        MemberEntry { keys, ..MemberEntry::granting(cidrs(granted)) }
    };
    let join = sealane_api::clusterset::JoinKey {
        key: seed(JOIN).public(),
        before: now.plus_seconds(7 * DAY_SECONDS),
    };
    let mine = MemberEntry {
        join: Some(join),
        ..MemberEntry::granting(cidrs(&["10.4.0.0/16", "fd00:4::/32"]))
    };
    let member = |name: &str| ClusterId::parse(name).unwrap();
    ClusterSet {
        id: clusterset_id(),
        position: ListPosition { link_index: 0, version: 5 },
        issued: now,
        expires: now.plus_seconds(365 * DAY_SECONDS),
        on_expiry: OnExpiry::Hold,
        post_quantum: PostQuantum::Off,
        brokers: Vec::new(),
        members: BTreeMap::from([
            (member("b"), pinned(0xb0, &["10.2.0.0/16", "fd00:2::/32"])),
            (member("c"), pinned(0xc0, &["10.3.0.0/16", "fd00:3::/32"])),
            (member("me"), mine),
        ]),
    }
}

pub(crate) fn signed(list: &ClusterSet) -> ClusterSetSpec {
    let genesis = Genesis {
        root: seed(ROOT).public().to_string(),
        recovery: seed(RECOVERY).public().to_string(),
    };
    sign::clusterset(&seed(ROOT), genesis, Vec::new(), list)
}

/// The next version of the list, changed.
pub(crate) fn next_list(now: UnixTime, change: impl FnOnce(&mut ClusterSet)) -> ClusterSetSpec {
    let mut list = list(now);
    list.position.version += 1;
    change(&mut list);
    signed(&list)
}

pub(crate) fn sighting(name: &str, spec: &impl Serialize) -> Sighting {
    Sighting { name: name.to_owned(), spec: serde_json::to_value(spec).unwrap(), oversize: None }
}

pub(crate) fn token(brokers: Vec<BrokerAddress>) -> Token {
    Token {
        root: seed(ROOT).public(),
        recovery: seed(RECOVERY).public(),
        minimum: ListPosition::default(),
        member: ClusterId::parse("me").unwrap(),
        join: Some(seed(JOIN)),
        brokers,
        credential: Zeroizing::new(CREDENTIAL.to_owned()),
        credential_expires: None,
    }
}

/// A broker that nobody listens at.
pub(crate) fn no_broker() -> BrokerAddress {
    serde_json::from_value(serde_json::json!({ "url": "https://127.0.0.1:1" })).unwrap()
}

pub(crate) fn membership() -> Membership {
    Membership::of_token(&token(vec![no_broker()]), None)
}

pub(crate) fn own() -> GatewayId {
    GatewayId::parse("me.host").unwrap()
}

pub(crate) fn facts() -> LocalFacts {
    LocalFacts::named(own())
}

/// A gateway of another member; its keys come from `number`.
#[derive(Clone)]
pub(crate) struct Gateway {
    pub(crate) id: GatewayId,
    pub(crate) identity: u8,
    pub(crate) number: u8,
    pub(crate) generation: u64,
    pub(crate) sequence: u64,
    pub(crate) pods: Vec<Cidr>,
    pub(crate) candidate: &'static str,
}

impl Gateway {
    pub(crate) fn b_g1() -> Self {
        Self::of("b.g1", 0xb0, "10.2.0.0/16")
    }

    pub(crate) fn c_g1() -> Self {
        Self::of("c.g1", 0xc0, "10.3.0.0/16")
    }

    pub(crate) fn of(name: &str, identity: u8, pods: &str) -> Self {
        Self {
            id: GatewayId::parse(name).unwrap(),
            identity,
            number: identity + 1,
            generation: 100,
            sequence: 7,
            pods: cidrs(&[pods]),
            candidate: "192.0.2.7:51820",
        }
    }

    pub(crate) fn sequence(self, sequence: u64) -> Self {
        Self { sequence, ..self }
    }

    pub(crate) fn pods(self, pods: &[&str]) -> Self {
        Self { pods: cidrs(pods), ..self }
    }

    pub(crate) fn spec(&self, now: UnixTime) -> AdvertisementSpec {
        let id = &clusterset_id();
        let key = seed(self.number);
        let request = CertRequest {
            id,
            gateway: &self.id,
            key: key.public(),
            generation: self.generation,
            revoked: Vec::new(),
        };
        let cert = sign::gateway_cert(&seed(self.identity), &request, now);
        let socket: std::net::SocketAddr = self.candidate.parse().unwrap();
        let kind = CandidateKind::Public;
        let candidates = vec![Candidate { kind, addr: socket.ip(), port: socket.port() }];
        let tunnel = sign::tunnel(
            &TunnelSeed::from_bytes(Zeroizing::new([self.number + 1; 32])),
            &PairSecret::from_bytes(Zeroizing::new([self.number + 2; 32])),
            TunnelOwner { id, gateway: &self.id, gateway_key: key.public() },
            TunnelSettings { slot: 0, mtu: 1420, candidates },
        );
        let draft = Draft {
            id,
            gateway: &self.id,
            cert: &cert,
            enrolment: None,
            sequence: self.sequence,
            state: State::Active,
            networks: Networks { pods: self.pods.clone(), ..Networks::default() },
            probe4: None,
            tunnels: vec![tunnel],
            agent: "0.1.0",
        };
        sign::advertisement(&key, &draft, now).unwrap()
    }

    pub(crate) fn seen(&self, now: UnixTime) -> Sighting {
        sighting(&self.id.to_string(), &self.spec(now))
    }
}

/// What this host said in an earlier membership, under an identity that is gone and the same token.
pub(crate) fn enrolled_before(now: UnixTime) -> Sighting {
    let gone = Gateway { id: own(), ..Gateway::of("me.host", 0x77, "10.4.0.0/16") };
    let identity = seed(gone.identity).public();
    let enrolment = sign::enrolment(&seed(JOIN), &clusterset_id(), &own().member, &identity);
    let spec = AdvertisementSpec { enrolment: Some(enrolment), ..gone.spec(now) };
    sighting(&own().to_string(), &spec)
}

/// The payload of anything signed.
pub(crate) fn payload(signed: &sealane_api::signed::Signed) -> Value {
    serde_json::from_slice(&STANDARD.decode(&signed.payload).unwrap()).unwrap()
}

/// Makes one file of a store impossible to write, also for root, until the guard is dropped.
pub(crate) struct FullDisk(std::path::PathBuf);

impl FullDisk {
    pub(crate) fn for_file(store: &Store, file: &str) -> Self {
        let aside = store.path(&format!(".{file}.new"));
        std::fs::create_dir(&aside).unwrap();
        Self(aside)
    }
}

impl Drop for FullDisk {
    fn drop(&mut self) {
        std::fs::remove_dir(&self.0).unwrap();
    }
}

/// Names of the files in a folder, sorted.
pub(crate) fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
