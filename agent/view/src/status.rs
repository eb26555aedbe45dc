//! Owns the answer to "is it working": [`StatusDocument`] and what it is made of.

use std::collections::BTreeMap;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use crate::gateway::{RevokedView, TunnelKeyView};

/// One agent's view of itself and of all other members.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StatusDocument {
    /// Own member; absent when this host is in no clusterset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// Own node.
    pub node: String,
    /// What this agent does, in the order of [`Role`].
    pub roles: Vec<Role>,
    /// The member's identity key; absent on hosts without the keeper's role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<IdentityView>,
    /// Own networks as advertised.
    pub networks: NetworksView,
    /// The accepted ClusterSet; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clusterset: Option<ClusterSetView>,
    /// The broker; absent when none is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker: Option<BrokerView>,
    /// When a broker last took this gateway's advertisement, Unix seconds; absent before, and on hosts
    /// without lanes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advertised_unix_seconds: Option<u64>,
    /// The tunnel key of this gateway; absent on hosts without lanes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tunnel_key: Option<TunnelKeyView>,
    /// Gateways of the own member that nobody is to believe any more, sorted by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub revoked_gateways: Vec<RevokedView>,
    /// Other members, sorted by name.
    pub members: Vec<MemberView>,
    /// Objects that were refused and are still offered, sorted by object.
    pub rejections: Vec<RejectionView>,
    /// What deserves attention but breaks nothing, in plain sentences.
    pub warnings: Vec<String>,
    /// What keeps something from working, most severe first.
    pub problems: Vec<ProblemView>,
    /// WireGuard backend in use (`kernel` or `userspace`); absent on hosts without lanes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// Versions by program or kernel part, such as `sealane-agent` or `linux`.
    pub versions: BTreeMap<String, String>,
}

/// What an agent does on its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// Carries lanes to other members.
    Gateway,
    /// Sends its traffic for other members to its gateways.
    Node,
    /// Holds the member's identity key and certifies its gateways.
    Keeper,
}

/// The identity key that a keeper holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IdentityView {
    /// Fingerprint of its public half, to compare before it is pinned.
    pub fingerprint: String,
    /// Whether the accepted ClusterSet names it.
    pub pinned: bool,
}

/// Networks of a member, by kind; each list sorted, host bits zero.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworksView {
    /// Pod addresses.
    pub pods: Vec<IpNetwork>,
    /// Service addresses.
    pub services: Vec<IpNetwork>,
    /// Other addresses, such as a LAN.
    pub external: Vec<IpNetwork>,
}

/// The ClusterSet that this host goes by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterSetView {
    /// Self-certifying identifier, 32 base32 characters.
    pub id: String,
    /// Index of the root that signed it; 0 is the first root.
    pub link_index: u64,
    /// Version of the list.
    pub version: u64,
    /// When it expires, Unix seconds.
    pub expires_unix_seconds: u64,
    /// What its expiry means now.
    pub state: ClusterSetState,
}

/// Whether a ClusterSet still admits new members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ClusterSetState {
    /// Not expired.
    Current,
    /// Expired and held: known members go on, new ones are refused.
    Held,
    /// Expired, and its owner chose that lanes end then.
    Dropped,
}

/// The connection to the broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BrokerView {
    /// Where it is.
    pub url: String,
    /// Whether its watch is running.
    pub connected: bool,
    /// Since when `connected` has its present value, Unix seconds.
    pub since_unix_seconds: u64,
    /// Why it is not connected, or the last reason.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_error: Option<String>,
    /// Whether it answers and does not take this host's credential.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub refused: bool,
    /// When the broker stops to take this host's credential, Unix seconds; absent when nobody said.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub credential_expires_unix_seconds: Option<u64>,
}

/// Another member, as reached from this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberView {
    /// Its name.
    pub member: String,
    /// Whether packets reach it.
    pub state: MemberState,
    /// Gateways that lead there: its own where this host has lanes, else those of our member.
    pub gateways: u32,
    /// Those of them that answer.
    pub live_gateways: u32,
    /// Its gateway that carries traffic to it; absent on hosts without lanes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub via: Option<String>,
    /// What it may be reached by; prefixes refused on this host are left out.
    pub networks: NetworksView,
    /// What the list grants to a member that is absent; empty for others.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub granted: Vec<IpNetwork>,
    /// Round trip to `via`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rtt_microseconds: Option<u64>,
    /// Probes lost towards `via`, of 1000.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub loss_permille: Option<u16>,
    /// Largest packet that crosses to `via` whole, IP header included.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub path_mtu_bytes: Option<u32>,
    /// Since when `state` holds, Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub since_unix_seconds: Option<u64>,
    /// One sentence: why the state is what it is.
    pub reason: String,
}

/// Whether packets reach a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MemberState {
    /// All known gateways answer.
    Up,
    /// Some gateways answer, others do not.
    Degraded,
    /// No gateway has answered or failed yet.
    Connecting,
    /// No gateway answers.
    Down,
    /// On the list, but no gateway of it is known.
    Absent,
    /// This host is a node: its gateways answer, and only they know whether packets arrive.
    Unknown,
}

/// An object that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RejectionView {
    /// Name of the object on the broker.
    pub object: String,
    /// Kind of the object.
    pub kind: String,
    /// Member that the object claims to come from.
    pub member: String,
    /// Typed reason, such as `BadSignature`.
    pub reason: String,
    /// One sentence with the next step.
    pub explanation: String,
    /// First seen, Unix seconds.
    pub since_unix_seconds: u64,
}

/// Something that keeps a part from working.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProblemView {
    /// How much of the host it touches.
    pub severity: Severity,
    /// Typed reason, such as `OverlapsHost`.
    pub reason: String,
    /// What is affected: a prefix, a lane, a link, a setting.
    pub thing: String,
    /// Why.
    pub cause: String,
    /// What to do about it.
    pub next: String,
}

/// How much of the host a problem touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// Nothing works on this host.
    Host,
    /// One member, lane, prefix or family does not work.
    Part,
    /// Works, but less well than it could.
    Notice,
}
