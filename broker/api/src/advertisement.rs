//! What one gateway says of itself, as carried. It is judged in `verify`; as believed it is a
//! `remote::RemoteGateway`.

use crate::certificate::key_text;
use crate::keys::{PairKey, VerifyKey};
use crate::names::{ClusterSetId, GatewayId};
use crate::reason::{Reason, Rejected};
use crate::signed::Statement;
use crate::strict_json::{self, Object};
use crate::time::{DAY_SECONDS, UnixTime};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Largest `spec` of an Advertisement, as JSON. Unit: bytes.
pub const MAX_SPEC_BYTES: usize = 32 * 1024;
/// Largest payload of an Advertisement. Unit: bytes.
pub const MAX_BYTES: usize = 16 * 1024;
/// Longest life of an Advertisement. Unit: seconds.
pub const MAX_LIFE_SECONDS: u64 = 31 * DAY_SECONDS;
/// Usual life of an Advertisement. Unit: seconds.
pub const LIFE_SECONDS: u64 = 30 * DAY_SECONDS;
/// Length of a post-quantum key. Unit: bytes.
pub const KEM_BYTES: usize = 1_184;
const MAX_CIDRS: usize = 64;
const MAX_CANDIDATES: usize = 16;
const MAX_AGENT: usize = 32;

/// What the gateway means to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Carries traffic.
    Active,
    /// Carries what it has; send nothing new.
    Draining,
    /// Is gone. The last word of its key's sequence.
    Withdrawn,
}

impl State {
    /// Reads the text of a payload.
    ///
    /// # Errors
    /// `Malformed` when it is none of the three.
    pub fn parse(text: &str) -> Result<Self, Rejected> {
        match text {
            "active" => Ok(Self::Active),
            "draining" => Ok(Self::Draining),
            "withdrawn" => Ok(Self::Withdrawn),
            _ => Err(Reason::Malformed.about("state is not active, draining or withdrawn")),
        }
    }

    /// Returns the text that payloads and views carry.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Withdrawn => "withdrawn",
        }
    }
}

/// Where a candidate address comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CandidateKind {
    /// An address of one of the gateway's links.
    Private,
    /// An address that its administrator or cloud says is reachable.
    Public,
    /// An address that members saw it send from.
    Observed,
}

/// An outer address at which a tunnel may answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Candidate {
    /// Where it comes from.
    pub kind: CandidateKind,
    /// The address.
    pub addr: IpAddr,
    /// UDP port.
    pub port: u16,
}

impl Candidate {
    /// Returns the address with its port.
    #[must_use]
    pub fn socket(&self) -> SocketAddr {
        SocketAddr::new(self.addr, self.port)
    }
}

/// Networks of the member that this gateway reaches, kept apart by what lives in them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Networks<T> {
    /// Pods, or an edge host's containers.
    pub pods: Vec<T>,
    /// Services.
    pub services: Vec<T>,
    /// Anything else: hosts, LANs.
    pub external: Vec<T>,
}

impl<T> Default for Networks<T> {
    fn default() -> Self {
        Self { pods: Vec::new(), services: Vec::new(), external: Vec::new() }
    }
}

impl<T> Networks<T> {
    /// Returns all networks: pods, services, external.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.pods.iter().chain(&self.services).chain(&self.external)
    }
}

/// One WireGuard identity of the gateway, as carried. Lengths and numbers are not yet judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TunnelPayload {
    /// Ed25519 tunnel key, base64url.
    pub key: String,
    /// Its signature over [`proof_message`], base64url of 64 bytes.
    pub proof: String,
    /// X25519 pair key, base64url.
    pub pair: String,
    /// Index of the interface for kernel WireGuard, 0 to 7.
    pub slot: u64,
    /// Largest inner packet. Unit: bytes.
    pub mtu: u64,
    /// ML-KEM-768 key, base64url. Reserved (PROTOCOL.md 9).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kem: Option<String>,
    /// Outer addresses.
    pub candidates: Vec<Candidate>,
}

/// What a gateway key signs, as carried: well-formed, not yet judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AdvertisementPayload {
    /// Format version, 1.
    pub v: u64,
    /// The clusterset's id.
    pub clusterset: String,
    /// The member.
    pub member: String,
    /// The gateway.
    pub gateway: String,
    /// SHA-256 of the certificate's payload, base64url.
    #[serde(serialize_with = "key_text")]
    pub cert: [u8; 32],
    /// Rises with every change under one certificate.
    pub sequence: u64,
    /// When it was signed.
    pub issued: UnixTime,
    /// When it ends.
    pub expires: UnixTime,
    /// What the gateway means to do.
    pub state: State,
    /// Networks of the member.
    pub networks: Networks<String>,
    /// IPv4 address that answers probes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe4: Option<Ipv4Addr>,
    /// WireGuard identities.
    pub tunnels: Vec<TunnelPayload>,
    /// Version of the agent, at most 32 characters.
    pub agent: String,
}

impl AdvertisementPayload {
    /// Parses verified bytes.
    ///
    /// # Errors
    /// `Malformed`, `UnsupportedVersion`, `UnknownCritical`, or `TooMany` for a list over its limit.
    pub fn parse(bytes: &[u8]) -> Result<Self, Rejected> {
        let mut object = strict_json::payload(bytes)?;
        let state = State::parse(&object.text("state")?)?;
        let tunnels = object.objects("tunnels")?.into_iter().map(tunnel);
        let payload = Self {
            v: 1,
            clusterset: object.text("clusterset")?,
            member: object.text("member")?,
            gateway: object.text("gateway")?,
            cert: object.key("cert")?,
            sequence: object.integer("sequence")?,
            issued: UnixTime(object.integer("issued")?),
            expires: UnixTime(object.integer("expires")?),
            state,
            networks: networks(object.optional_object("networks")?.unwrap_or_default())?,
            probe4: object.optional_text("probe4")?.map(|text| address(&text)).transpose()?,
            tunnels: tunnels.collect::<Result<_, _>>()?,
            agent: object.text("agent")?,
        };
        object.close()?;
        if payload.agent.len() > MAX_AGENT || payload.agent.chars().any(char::is_control) {
            return Err(Reason::Malformed.about("agent is not a version of at most 32 bytes"));
        }
        Ok(payload)
    }
}

fn address<A: std::str::FromStr>(text: &str) -> Result<A, Rejected> {
    text.parse().map_err(|_| Reason::Malformed.about("an address is not plain IPv4 or IPv6"))
}

fn networks(mut object: Object) -> Result<Networks<String>, Rejected> {
    let networks = Networks {
        pods: object.texts("pods")?,
        services: object.texts("services")?,
        external: object.texts("external")?,
    };
    object.close()?;
    if networks.iter().count() > MAX_CIDRS {
        return Err(Reason::TooMany.about("more than 64 networks"));
    }
    Ok(networks)
}

fn tunnel(mut object: Object) -> Result<TunnelPayload, Rejected> {
    let candidates = object.objects("candidates")?;
    if candidates.len() > MAX_CANDIDATES {
        return Err(Reason::TooMany.about("more than 16 candidates"));
    }
    let payload = TunnelPayload {
        key: object.text("key")?,
        proof: object.text("proof")?,
        pair: object.text("pair")?,
        slot: object.integer("slot")?,
        mtu: object.integer("mtu")?,
        kem: object.optional_text("kem")?,
        candidates: candidates.into_iter().map(candidate).collect::<Result<_, _>>()?,
    };
    object.close()?;
    Ok(payload)
}

fn candidate(mut object: Object) -> Result<Candidate, Rejected> {
    let kind = match object.text("kind")?.as_str() {
        "private" => CandidateKind::Private,
        "public" => CandidateKind::Public,
        "observed" => CandidateKind::Observed,
        _ => return Err(Reason::Malformed.about("a candidate's kind is unknown")),
    };
    let addr = address(&object.text("addr")?)?;
    let port = u16::try_from(object.integer("port")?)
        .map_err(|_| Reason::Malformed.about("a candidate's port is above 65535"))?;
    object.close()?;
    Ok(Candidate { kind, addr, port })
}

/// Returns the bytes that a tunnel key signs to prove whose it is (PROTOCOL.md 3.5).
#[must_use]
pub fn proof_message(
    id: &ClusterSetId,
    owner: &GatewayId,
    gateway_key: &VerifyKey,
    pair: &[u8; 32],
) -> Vec<u8> {
    let names = [id.as_str(), owner.member.as_str(), owner.gateway.as_str()];
    let mut message = Statement::Tunnel.prefix().to_vec();
    for name in names {
        message.extend_from_slice(name.as_bytes());
        message.push(0);
    }
    message.extend_from_slice(gateway_key.as_bytes());
    message.extend_from_slice(pair);
    message
}

/// One WireGuard identity of a gateway as believed: keys sound, proof checked, numbers in range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// Ed25519 tunnel key; [`VerifyKey::wireguard`] is the WireGuard public key.
    pub key: VerifyKey,
    /// Pair key.
    pub pair: PairKey,
    /// Index of the interface for kernel WireGuard, 0 to 7.
    pub slot: u8,
    /// Largest inner packet. Unit: bytes.
    pub mtu: u16,
    /// Outer addresses as advertised, not yet filtered for this host.
    pub candidates: Vec<Candidate>,
}
