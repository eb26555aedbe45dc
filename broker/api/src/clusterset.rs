//! The list of members as believed, and what root grants to each. How it is carried and judged is in
//! `clusterset_payload`.

use crate::cidr::{Cidr, Ownership};
use crate::keys::VerifyKey;
use crate::names::{ClusterId, ClusterSetId};
use crate::time::{DAY_SECONDS, UnixTime};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Largest payload of a ClusterSet. Unit: bytes.
pub const MAX_BYTES: usize = 1_000_000;
/// Largest payload of a root link. Unit: bytes.
pub const MAX_LINK_BYTES: usize = 1024;
/// Largest number of root links.
pub const MAX_LINKS: usize = 16;
/// Longest life of a list. Unit: seconds.
pub const MAX_LIFE_SECONDS: u64 = 800 * DAY_SECONDS;
/// Usual life of a list. Unit: seconds.
pub const LIFE_SECONDS: u64 = 365 * DAY_SECONDS;
/// Live gateways of a member when its entry does not say.
pub const DEFAULT_GATEWAYS: u64 = 16;

/// Where a list stands in time: more root links outrank any version.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListPosition {
    /// Number of root links.
    pub link_index: u64,
    /// Version under the root key of that link, from 1.
    pub version: u64,
}

/// What happens to lanes when nobody signs the list again in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnExpiry {
    /// Members that were believed before go on; new ones are refused.
    #[default]
    Hold,
    /// All lanes end.
    Drop,
}

/// Whether lanes need post-quantum keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PostQuantum {
    /// Not used.
    #[default]
    Off,
    /// Used where both ends offer them; this version offers none.
    Prefer,
    /// No lane without them, so none at all in this version.
    Require,
}

/// Where a broker is, and which of its certificates' keys to believe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrokerAddress {
    /// Base URL, `https://…`.
    pub url: String,
    /// Namespace of the clusterset's objects on that API server.
    #[serde(default = "default_namespace", skip_serializing_if = "is_default_namespace")]
    pub namespace: String,
    /// SHA-256 over believed SubjectPublicKeyInfos, base64url; empty: the host's own roots decide.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spki: Vec<String>,
}

/// Namespace of a clusterset's objects on its broker when an address names none.
pub const DEFAULT_NAMESPACE: &str = "sealane-system";

fn default_namespace() -> String {
    DEFAULT_NAMESPACE.to_owned()
}

fn is_default_namespace(namespace: &str) -> bool {
    namespace == DEFAULT_NAMESPACE
}

/// The key that a token holder may enrol one identity with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JoinKey {
    /// Public half of the token's join key.
    pub key: VerifyKey,
    /// Last time at which a first enrolment counts.
    pub before: UnixTime,
}

/// What root grants to one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberEntry {
    /// Identity keys, preferred first.
    pub keys: Vec<VerifyKey>,
    /// The join key while the identity is not pinned.
    pub join: Option<JoinKey>,
    /// Networks that the member may advertise.
    pub cidrs: Vec<Cidr>,
    /// Namespaces whose services it may export; `*` alone means all. Nobody exports yet (PROTOCOL.md 9).
    pub namespaces: Vec<String>,
    /// Most live gateways.
    pub gateways: u64,
}

impl MemberEntry {
    /// Returns an entry with no key yet, every namespace and the default number of gateways.
    #[must_use]
    pub fn granting(cidrs: Vec<Cidr>) -> Self {
        let namespaces = vec!["*".to_owned()];
        Self { keys: Vec::new(), join: None, cidrs, namespaces, gateways: DEFAULT_GATEWAYS }
    }
}

/// The list of members as believed: every rule about entries holds (PROTOCOL.md 4.1, step 7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSet {
    /// The clusterset's id.
    pub id: ClusterSetId,
    /// Links and version.
    pub position: ListPosition,
    /// When it was signed.
    pub issued: UnixTime,
    /// When somebody must have signed it again.
    pub expires: UnixTime,
    /// What happens after that.
    pub on_expiry: OnExpiry,
    /// Whether lanes need post-quantum keys.
    pub post_quantum: PostQuantum,
    /// Brokers to use, in order of preference.
    pub brokers: Vec<BrokerAddress>,
    /// Who is a member.
    pub members: BTreeMap<ClusterId, MemberEntry>,
}

impl ClusterSet {
    /// Returns the first, empty list of a new clusterset, for the usual year.
    #[must_use]
    pub fn first(id: ClusterSetId, now: UnixTime) -> Self {
        Self {
            id,
            position: ListPosition { link_index: 0, version: 1 },
            issued: now,
            expires: now.plus_seconds(LIFE_SECONDS),
            on_expiry: OnExpiry::default(),
            post_quantum: PostQuantum::default(),
            brokers: Vec::new(),
            members: BTreeMap::new(),
        }
    }

    /// Returns the same list as the next version, for another year; change it, then sign it.
    #[must_use]
    pub fn next(&self, now: UnixTime) -> Self {
        let version = self.position.version.saturating_add(1);
        Self {
            position: ListPosition { version, ..self.position },
            issued: now,
            expires: now.plus_seconds(LIFE_SECONDS),
            ..self.clone()
        }
    }

    /// Returns the same list as the first version under one more root link, for another year.
    #[must_use]
    pub fn under_next_root(&self, now: UnixTime) -> Self {
        let link_index = self.position.link_index.saturating_add(1);
        Self { position: ListPosition { link_index, version: 1 }, ..self.next(now) }
    }

    /// Returns every granted network with the index of its member, sorted for look-ups.
    #[must_use]
    pub fn grants(&self) -> Ownership {
        let entries = self.members.values().enumerate();
        Ownership::of(
            entries.flat_map(|(at, entry)| entry.cidrs.iter().map(move |cidr| (*cidr, at))),
        )
    }

    /// Says whether the list expired before `now`.
    #[must_use]
    pub fn is_expired(&self, now: UnixTime) -> bool {
        now > self.expires
    }
}
