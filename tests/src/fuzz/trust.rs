//! Owns the targets of the trust protocol: envelopes, payloads signed by the right keys, gossip frames
//! and tokens. Each payload is fuzzed behind its signature, where only a stolen key would reach.

use std::collections::BTreeMap;
use std::mem::discriminant;

use sealane_api::advertisement::{Networks, State};
use sealane_api::certificate::Role;
use sealane_api::cidr::Cidr;
use sealane_api::clusterset::{ClusterSet, ListPosition, MemberEntry};
use sealane_api::gossip::frame::{Frame, HEADER_BYTES, Header};
use sealane_api::gossip::telling::Telling;
use sealane_api::keys::{PairSecret, SigningSeed, TunnelSeed};
use sealane_api::kinds::{self, AdvertisementSpec, ClusterSetSpec, Genesis};
use sealane_api::names::{ClusterId, ClusterSetId, GatewayId};
use sealane_api::receiver::{Offer, Receiver, Verdict};
use sealane_api::remote::LocalFacts;
use sealane_api::sign::{self, CertRequest, Draft, TunnelOwner, TunnelSettings};
use sealane_api::signed::{Signed, Statement};
use sealane_api::time::UnixTime;
use sealane_api::token::Token;
use serde_json::json;
use zeroize::Zeroizing;

use crate::fuzz::target::{Outcome, Seed};

pub(super) const NOW: UnixTime = UnixTime(1_800_000_000);
const ROOT: u8 = 1;
const RECOVERY: u8 = 2;
pub(super) const IDENTITY: u8 = 3;
const GATEWAY: u8 = 4;

pub(super) fn seed(byte: u8) -> SigningSeed {
    SigningSeed::from_bytes(Zeroizing::new([byte; 32]))
}

pub(super) fn id() -> ClusterSetId {
    ClusterSetId::of_genesis(&seed(ROOT).public(), &seed(RECOVERY).public())
}

fn genesis() -> Genesis {
    Genesis { root: seed(ROOT).public().to_string(), recovery: seed(RECOVERY).public().to_string() }
}

fn gateway() -> Option<GatewayId> {
    GatewayId::parse("b.g1").ok()
}

fn facts() -> Option<LocalFacts> {
    GatewayId::parse("me.host").ok().map(LocalFacts::named)
}

/// The list: b, pinned, with a grant of each family.
fn list() -> Option<ClusterSet> {
    let cidrs = ["10.2.0.0/16", "fd00:2::/32"].iter().filter_map(|text| Cidr::parse(text).ok());
    let keys = vec![seed(IDENTITY).public()];
    let entry = MemberEntry { keys, ..MemberEntry::granting(cidrs.collect()) };
    let members = BTreeMap::from([(ClusterId::parse("b").ok()?, entry)]);
    Some(ClusterSet { members, ..ClusterSet::first(id(), NOW) })
}

fn signed_list() -> Option<ClusterSetSpec> {
    Some(sign::clusterset(&seed(ROOT), genesis(), Vec::new(), &list()?))
}

/// What b.g1 says first.
fn word(sequence: u64) -> Option<AdvertisementSpec> {
    let (id, gateway, key) = (&id(), &gateway()?, seed(GATEWAY));
    let generation = 100;
    let request = CertRequest { id, gateway, key: key.public(), generation, revoked: Vec::new() };
    let cert = sign::gateway_cert(&seed(IDENTITY), &request, NOW);
    let tunnel = sign::tunnel(
        &TunnelSeed::from_bytes(Zeroizing::new([5; 32])),
        &PairSecret::from_bytes(Zeroizing::new([6; 32])),
        TunnelOwner { id, gateway, gateway_key: key.public() },
        TunnelSettings { slot: 0, mtu: 1420, candidates: Vec::new() },
    );
    let draft = Draft {
        id,
        gateway,
        cert: &cert,
        enrolment: None,
        sequence,
        state: State::Active,
        networks: Networks { pods: vec![Cidr::parse("10.2.0.0/16").ok()?], ..Networks::default() },
        probe4: None,
        tunnels: vec![tunnel],
        agent: "0.1.0",
    };
    sign::advertisement(&key, &draft, NOW).ok()
}

/// A host that believes the list and, if it is the second of the pair, b.g1.
pub(super) fn host(believing: Option<&AdvertisementSpec>) -> Option<(Receiver, LocalFacts)> {
    let facts = facts()?;
    let mut receiver = Receiver::new(id(), ListPosition::default());
    receiver.accept_clusterset(NOW, &facts, &signed_list()?);
    if let Some(spec) = believing {
        receiver.accept_advertisement(NOW, &facts, Offer { name: "b.g1", spec });
    }
    Some((receiver, facts))
}

pub(super) fn way(verdict: &Verdict) -> Outcome {
    match verdict {
        Verdict::Rejected(rejected) => Outcome::refused((rejected.reason, &rejected.detail)),
        Verdict::Accepted { warnings, dropped } => {
            Outcome::accepted((warnings.len(), dropped.len()))
        }
        Verdict::Unchanged => Outcome::refused("unchanged"),
        Verdict::Own(_) => Outcome::refused("own"),
    }
}

/// Offers a word to a host that believes an earlier one. Law: a refusal changes nothing.
fn offered(name: &str, spec: &AdvertisementSpec) -> Outcome {
    let first = word(1);
    let Some((mut receiver, facts)) = host(first.as_ref()) else {
        return Outcome::refused("scene");
    };
    let before = (receiver.held().clone(), receiver.remotes(NOW, &facts));
    let verdict = receiver.accept_advertisement(NOW, &facts, Offer { name, spec });
    if !matches!(verdict, Verdict::Accepted { .. }) {
        let after = (receiver.held().clone(), receiver.remotes(NOW, &facts));
        assert!(before == after, "a refusal changed what is held: {verdict:?}");
    }
    way(&verdict)
}

/// An object as a broker shows it: `{"name": …, "spec": …}`.
pub fn envelope(bytes: &[u8]) -> Outcome {
    let Ok(object) = serde_json::from_slice::<serde_json::Value>(bytes) else {
        return Outcome::refused("json");
    };
    let name = object.get("name").and_then(serde_json::Value::as_str).unwrap_or("b.g1");
    match kinds::spec::<AdvertisementSpec>(&object) {
        Ok(spec) => offered(name, &spec),
        Err(rejected) => Outcome::refused(rejected.reason),
    }
}

/// Objects: a newer word of b.g1, the same word, and one of somebody else.
pub fn envelopes() -> Vec<Seed> {
    let object = |name: &str, spec: Option<AdvertisementSpec>| {
        json!({"name": name, "spec": spec}).to_string().into_bytes()
    };
    let renamed = word(2).map(|spec| AdvertisementSpec { gateway: "g2".to_owned(), ..spec });
    vec![
        ("newer", object("b.g1", word(2))),
        ("same", object("b.g1", word(1))),
        ("renamed", object("b.g2", renamed)),
        ("empty", b"{}".to_vec()),
    ]
}

/// The payload of an advertisement, signed by b.g1.
pub fn advertisement(bytes: &[u8]) -> Outcome {
    let Some(spec) = word(2) else { return Outcome::refused("scene") };
    let signed = Signed::seal(&seed(GATEWAY), Statement::Advertisement, bytes);
    offered("b.g1", &AdvertisementSpec { signed, view: None, ..spec })
}

/// Payloads: one with everything, a withdrawal, and what the fields of others may look like.
pub fn advertisements() -> Vec<Seed> {
    let payload = |spec: Option<AdvertisementSpec>| {
        let bytes = spec.and_then(|spec| spec.signed.decode(usize::MAX / 8).ok());
        bytes.map(|signed| signed.payload).unwrap_or_default()
    };
    let newer = payload(word(2));
    let mut full: serde_json::Value = serde_json::from_slice(&newer).unwrap_or_default();
    full["probe4"] = json!("10.2.0.9");
    full["ext"] = json!({"x": [1, {"y": null}], "z": true});
    full["crit"] = json!([]);
    full["tunnels"][0]["candidates"] = json!([
        {"kind": "private", "addr": "192.168.1.1", "port": 51820},
        {"kind": "public", "addr": "2001:db8::1", "port": 1},
        {"kind": "observed", "addr": "203.0.113.9", "port": 65535},
    ]);
    let mut gone = full.clone();
    gone["state"] = json!("withdrawn");
    gone["tunnels"] = json!([]);
    let text = |value: &serde_json::Value| value.to_string().into_bytes();
    vec![("newer", newer), ("full", text(&full)), ("withdrawn", text(&gone)), ("empty", Vec::new())]
}

/// The payload of a certificate, signed by b's identity, around a word that it certifies or not.
pub fn certificate(bytes: &[u8]) -> Outcome {
    let Some(spec) = word(2) else { return Outcome::refused("scene") };
    let cert = Signed::seal(&seed(IDENTITY), Statement::GatewayCert, bytes);
    let Ok(decoded) = cert.decode(usize::MAX / 8) else { return Outcome::refused("size") };
    // The word is signed anew for this certificate, so that whatever it says is judged.
    let mut payload: serde_json::Value = match spec.signed.decode(usize::MAX / 8) {
        Ok(signed) => serde_json::from_slice(&signed.payload).unwrap_or_default(),
        Err(_) => return Outcome::refused("scene"),
    };
    use base64::Engine as _;
    let digest = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(decoded.digest());
    payload["cert"] = json!(digest);
    let payload = payload.to_string().into_bytes();
    let signed = Signed::seal(&seed(GATEWAY), Statement::Advertisement, &payload);
    offered("b.g1", &AdvertisementSpec { cert, signed, view: None, ..spec })
}

/// Certificates: the usual one, one with revocations, one for services.
pub fn certificates() -> Vec<Seed> {
    let cert = |role: Role, revoked: serde_json::Value| {
        json!({
            "v": 1, "clusterset": id().as_str(), "member": "b", "role": role, "gateway": "g1",
            "key": seed(GATEWAY).public().to_string(), "generation": 200, "revoked": revoked,
            "issued": NOW.0, "expires": NOW.0 + 1_000,
        })
        .to_string()
        .into_bytes()
    };
    let revoked = json!([{"gateway": "g2", "below": 7}, {"gateway": "g3.example", "below": 0}]);
    vec![
        ("usual", cert(Role::Gateway, json!([]))),
        ("revoking", cert(Role::Gateway, revoked)),
        ("services", cert(Role::Services, json!([]))),
    ]
}

/// The payload of a list, signed by root.
pub fn clusterset(bytes: &[u8]) -> Outcome {
    let Some((mut receiver, facts)) = host(None) else { return Outcome::refused("scene") };
    let signed = Signed::seal(&seed(ROOT), Statement::ClusterSet, bytes);
    let spec = ClusterSetSpec { signed, genesis: genesis(), links: Vec::new(), view: None };
    let before = receiver.held().clone();
    let verdict = receiver.accept_clusterset(NOW, &facts, &spec);
    if !matches!(verdict, Verdict::Accepted { .. }) {
        assert!(before == *receiver.held(), "a refusal changed what is held: {verdict:?}");
    }
    way(&verdict)
}

/// Lists: the next one, and one with everything in it.
pub fn clustersets() -> Vec<Seed> {
    let next = list().map(|list| list.next(NOW));
    let payload = next.map(|list| sealane_api::clusterset_payload::ClusterSetPayload::of(&list));
    let mut full = serde_json::to_value(payload).unwrap_or_default();
    let next = full.to_string().into_bytes();
    full["brokers"] = json!([{"url": "https://broker.example:6464", "namespace": "a", "spki": []}]);
    full["onExpiry"] = json!("drop");
    full["members"][0]["join"] = json!({"key": seed(9).public().to_string(), "before": 9});
    full["members"][0]["namespaces"] = json!(["a", "b"]);
    vec![("next", next), ("full", full.to_string().into_bytes()), ("empty", b"{}".to_vec())]
}

/// A whole frame. Law: what is accepted is written again as it was.
pub fn gossip(bytes: &[u8]) -> Outcome {
    let Some((head, payload)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Outcome::refused("short");
    };
    let read = Header::parse(*head).and_then(|header| {
        let payload = payload.get(..header.length).unwrap_or(payload);
        Ok((header.length, Frame::parse(header.kind, payload)?))
    });
    match read {
        Err(error) => Outcome::refused((discriminant(&error), head[0])),
        Ok((length, frame)) => {
            let written = frame.encode();
            let read = bytes.get(..HEADER_BYTES + length).unwrap_or(bytes);
            assert!(written[HEADER_BYTES..] == read[HEADER_BYTES..], "a frame with two forms");
            Outcome::accepted(discriminant(&frame))
        }
    }
}

/// A frame of each kind.
pub fn gossips() -> Vec<Seed> {
    let first = word(1);
    let told = host(first.as_ref()).map(|(receiver, _)| {
        let telling = Telling::of(&receiver, NOW, &Telling::default());
        let frames = telling.answer(&sealane_api::gossip::standing::Standing::default());
        (Frame::Ask(telling.standing().clone()).encode(), frames)
    });
    let mut seeds = vec![
        ("end", Frame::End.encode()),
        ("later", Frame::Later(50).encode()),
        ("empty", Vec::new()),
    ];
    if let Some((ask, frames)) = told {
        seeds.push(("ask", ask));
        let names = ["list", "word"];
        seeds.extend(names.into_iter().zip(frames.iter().map(|frame| frame.to_vec())));
    }
    seeds
}

/// The text of a token. Law: what is accepted names its clusterset.
pub fn token(bytes: &[u8]) -> Outcome {
    let Ok(text) = std::str::from_utf8(bytes) else { return Outcome::refused("utf-8") };
    match Token::decode(text) {
        Ok(token) => {
            let again = Token::decode(&token.encode());
            assert!(again.is_ok_and(|again| again.clusterset() == token.clusterset()));
            Outcome::accepted(token.join.is_some())
        }
        Err(damaged) => Outcome::refused(damaged.to_string()),
    }
}

/// Tokens with and without a join key.
pub fn tokens() -> Vec<Seed> {
    let token = |join: Option<SigningSeed>| {
        let token = ClusterId::parse("b").ok().map(|member| Token {
            root: seed(ROOT).public(),
            recovery: seed(RECOVERY).public(),
            minimum: ListPosition { link_index: 0, version: 1 },
            member,
            join,
            brokers: Vec::new(),
            credential: Zeroizing::new("opaque".to_owned()),
            credential_expires: None,
        });
        token.map(|token| token.encode().as_bytes().to_vec()).unwrap_or_default()
    };
    vec![("joining", token(Some(seed(7)))), ("pinned", token(None)), ("cut", b"slj1.e30.".to_vec())]
}
