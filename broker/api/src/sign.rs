//! Making every signed object. Keys, numbers and `now` are arguments; nothing is stored here: the
//! caller writes generation and sequence to disk before it publishes what was signed with them.

pub mod services;

use crate::advertisement::{self, AdvertisementPayload, Candidate, Networks, State, TunnelPayload};
use crate::certificate::{self, EnrolmentPayload, GatewayCertPayload, Revocation, Role};
use crate::cidr::Cidr;
use crate::clusterset::ClusterSet;
use crate::clusterset_payload::{ClusterSetPayload, RootLinkPayload};
use crate::keys::{PairSecret, SigningSeed, TunnelSeed, VerifyKey};
use crate::kinds::{AdvertisementSpec, AdvertisementView, ClusterSetSpec, ClusterSetView, Genesis};
use crate::names::{ClusterId, ClusterSetId, GatewayId};
use crate::reason::Rejected;
use crate::signed::{Signed, Statement};
use crate::time::UnixTime;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use std::net::Ipv4Addr;

/// Signs a list with the current root key. Verify the result before it is published: a list that
/// breaks a rule of its entries signs as well as any other.
#[must_use]
pub fn clusterset(
    root: &SigningSeed,
    genesis: Genesis,
    links: Vec<Signed>,
    list: &ClusterSet,
) -> ClusterSetSpec {
    let payload = ClusterSetPayload::of(list);
    ClusterSetSpec {
        signed: Signed::seal(root, Statement::ClusterSet, &json(&payload)),
        genesis,
        links,
        view: Some(clusterset_view(&payload)),
    }
}

/// Keys that a root link appoints.
#[derive(Clone, Copy, Debug)]
pub struct Appointed {
    /// The next root key.
    pub root: VerifyKey,
    /// The next recovery key.
    pub recovery: VerifyKey,
}

/// Appoints the next root and recovery keys, signed by the recovery key in force. The first link has
/// index 1.
#[must_use]
pub fn root_link(
    recovery: &SigningSeed,
    id: &ClusterSetId,
    index: u64,
    appointed: Appointed,
) -> Signed {
    let payload = RootLinkPayload {
        v: 1,
        clusterset: id.to_string(),
        index,
        root: *appointed.root.as_bytes(),
        recovery: *appointed.recovery.as_bytes(),
    };
    Signed::seal(recovery, Statement::RootLink, &json(&payload))
}

/// Signs a member's identity key with the join key of its token.
#[must_use]
pub fn enrolment(
    join: &SigningSeed,
    id: &ClusterSetId,
    member: &ClusterId,
    identity: &VerifyKey,
) -> Signed {
    let payload = EnrolmentPayload {
        v: 1,
        clusterset: id.to_string(),
        member: member.to_string(),
        identity: *identity.as_bytes(),
    };
    Signed::seal(join, Statement::Enrolment, &json(&payload))
}

/// Returns the generation of the next certificate. The keeper writes it to its Secret or file before
/// it signs; `last` is what stands there.
#[must_use]
pub fn next_generation(last: Option<u64>, now: UnixTime) -> u64 {
    last.map_or(now.0, |last| now.0.max(last.saturating_add(1)))
}

/// What a keeper certifies.
#[derive(Clone, Debug)]
pub struct CertRequest<'a> {
    /// The clusterset.
    pub id: &'a ClusterSetId,
    /// The gateway.
    pub gateway: &'a GatewayId,
    /// Its public key.
    pub key: VerifyKey,
    /// From [`next_generation`].
    pub generation: u64,
    /// Revocations that still matter, at most 16.
    pub revoked: Vec<Revocation>,
}

/// Certifies a gateway's key for the usual 90 days.
#[must_use]
pub fn gateway_cert(identity: &SigningSeed, request: &CertRequest<'_>, now: UnixTime) -> Signed {
    let payload = GatewayCertPayload {
        v: 1,
        clusterset: request.id.to_string(),
        member: request.gateway.member.to_string(),
        role: Role::Gateway,
        gateway: request.gateway.gateway.to_string(),
        key: *request.key.as_bytes(),
        generation: request.generation,
        revoked: request.revoked.clone(),
        issued: now,
        expires: now.plus_seconds(certificate::LIFE_SECONDS),
    };
    Signed::seal(identity, Statement::GatewayCert, &json(&payload))
}

/// Whose tunnel entry is made.
#[derive(Clone, Copy, Debug)]
pub struct TunnelOwner<'a> {
    /// The clusterset.
    pub id: &'a ClusterSetId,
    /// The gateway.
    pub gateway: &'a GatewayId,
    /// The gateway's public key.
    pub gateway_key: VerifyKey,
}

/// Settings of a tunnel entry that need no secret.
#[derive(Clone, Debug)]
pub struct TunnelSettings {
    /// Index of the interface for kernel WireGuard, 0 to 7; distinct within a gateway.
    pub slot: u8,
    /// Largest inner packet, at least 1280. Unit: bytes.
    pub mtu: u16,
    /// Outer addresses, at most 16.
    pub candidates: Vec<Candidate>,
}

/// Makes a tunnel entry: the tunnel key signs whose it is.
#[must_use]
pub fn tunnel(
    seed: &TunnelSeed,
    pair: &PairSecret,
    owner: TunnelOwner<'_>,
    settings: TunnelSettings,
) -> TunnelPayload {
    let pair = pair.public();
    let message =
        advertisement::proof_message(owner.id, owner.gateway, &owner.gateway_key, pair.as_bytes());
    TunnelPayload {
        key: seed.public().to_string(),
        proof: URL_SAFE_NO_PAD.encode(seed.sign(&message)),
        pair: pair.to_string(),
        slot: settings.slot.into(),
        mtu: settings.mtu.into(),
        kem: None,
        candidates: settings.candidates,
    }
}

/// What a gateway says of itself.
#[derive(Clone, Debug)]
pub struct Draft<'a> {
    /// The clusterset.
    pub id: &'a ClusterSetId,
    /// The gateway.
    pub gateway: &'a GatewayId,
    /// Its certificate.
    pub cert: &'a Signed,
    /// The member's enrolment, while its identity is not pinned.
    pub enrolment: Option<&'a Signed>,
    /// One more than the last one under this certificate.
    pub sequence: u64,
    /// What the gateway means to do; see [`Draft::withdrawn`] for leaving.
    pub state: State,
    /// Networks to advertise: [`crate::cidr::clip`] them to the own grant first.
    pub networks: Networks<Cidr>,
    /// IPv4 address that answers probes, inside the grant.
    pub probe4: Option<Ipv4Addr>,
    /// One or two entries from [`tunnel`].
    pub tunnels: Vec<TunnelPayload>,
    /// Version of the agent, at most 32 bytes.
    pub agent: &'a str,
}

impl Draft<'_> {
    /// Turns the draft into a withdrawal: no networks, no tunnels, the last word of the gateway.
    #[must_use]
    pub fn withdrawn(self) -> Self {
        Self {
            state: State::Withdrawn,
            networks: Networks::default(),
            probe4: None,
            tunnels: Vec::new(),
            ..self
        }
    }
}

/// Signs an advertisement for the usual 30 days.
///
/// # Errors
/// `BadEncoding` or `TooLarge` when the certificate is not one that was ever issued.
pub fn advertisement(
    gateway: &SigningSeed,
    draft: &Draft<'_>,
    now: UnixTime,
) -> Result<AdvertisementSpec, Rejected> {
    let texts = |networks: &[Cidr]| networks.iter().map(ToString::to_string).collect();
    let payload = AdvertisementPayload {
        v: 1,
        clusterset: draft.id.to_string(),
        member: draft.gateway.member.to_string(),
        gateway: draft.gateway.gateway.to_string(),
        cert: draft.cert.decode(certificate::MAX_BYTES)?.digest(),
        sequence: draft.sequence,
        issued: now,
        expires: now.plus_seconds(advertisement::LIFE_SECONDS),
        state: draft.state,
        networks: Networks {
            pods: texts(&draft.networks.pods),
            services: texts(&draft.networks.services),
            external: texts(&draft.networks.external),
        },
        probe4: draft.probe4,
        tunnels: draft.tunnels.clone(),
        agent: draft.agent.to_owned(),
    };
    Ok(AdvertisementSpec {
        member: payload.member.clone(),
        gateway: payload.gateway.clone(),
        cert: draft.cert.clone(),
        enrolment: draft.enrolment.cloned(),
        signed: Signed::seal(gateway, Statement::Advertisement, &json(&payload)),
        view: Some(advertisement_view(&payload)),
    })
}

/// Returns what people are shown of a list.
#[must_use]
pub fn clusterset_view(payload: &ClusterSetPayload) -> ClusterSetView {
    ClusterSetView {
        version: payload.version.cast_signed(),
        members: i64::try_from(payload.members.len()).unwrap_or(i64::MAX),
        expires: rfc3339(payload.expires),
    }
}

/// Returns what people are shown of an advertisement.
#[must_use]
pub fn advertisement_view(payload: &AdvertisementPayload) -> AdvertisementView {
    let candidates = payload.tunnels.iter().flat_map(|tunnel| &tunnel.candidates);
    AdvertisementView {
        state: payload.state.as_str().to_owned(),
        networks: payload.networks.iter().cloned().collect(),
        addresses: candidates.map(|candidate| candidate.socket().to_string()).collect(),
        sequence: payload.sequence.cast_signed(),
        expires: rfc3339(payload.expires),
        agent: payload.agent.clone(),
    }
}

/// Returns a time as people read it; one beyond the calendar as plain seconds.
fn rfc3339(time: UnixTime) -> String {
    k8s_openapi::jiff::Timestamp::from_second(time.0.cast_signed())
        .map_or_else(|_| time.to_string(), |timestamp| timestamp.to_string())
}

/// Payloads are structs of strings, integers and lists: these always serialise.
fn json<T: Serialize>(payload: &T) -> Vec<u8> {
    serde_json::to_vec(payload).unwrap_or_default()
}
