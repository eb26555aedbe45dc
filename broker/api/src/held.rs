//! What a receiver persists: the positions and bytes it believed, as plain data. It writes no file;
//! the shell does, before anybody acts on what was accepted (PROTOCOL.md 6).

use crate::certificate::key_text;
use crate::clusterset::ListPosition;
use crate::keys::{self, VerifyKey};
use crate::kinds::{AdvertisementSpec, ClusterSetSpec, ServiceAdvertisementSpec};
use crate::names::{ClusterId, ClusterSetId, GatewayId, GatewayName, ServiceId};
use crate::time::UnixTime;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Everything a receiver must remember. Serialises to JSON; equal states give equal bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// The clusterset, for ever.
    pub anchor: ClusterSetId,
    /// The oldest list that the token lets this host believe.
    pub minimum: ListPosition,
    /// The highest ClusterSet accepted, with its links.
    pub clusterset: Option<ClusterSetSpec>,
    /// Every member that an accepted list ever had.
    pub listed: BTreeSet<ClusterId>,
    /// Every member that an advertisement was ever accepted of.
    pub believed: BTreeSet<ClusterId>,
    /// Per identity key and gateway, the lowest generation that lives.
    pub below: BTreeMap<VerifyKey, BTreeMap<GatewayName, u64>>,
    /// Per join key, the one identity accepted under it.
    pub enrolled: BTreeMap<VerifyKey, VerifyKey>,
    /// Per gateway, the highest position and, unless gone, the advertisement.
    pub gateways: BTreeMap<GatewayId, HeldGateway>,
    /// Per service, the highest position and, unless gone, the advertisement.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub services: BTreeMap<ServiceId, HeldService>,
}

impl Held {
    /// Returns what a host knows right after it read its token.
    #[must_use]
    pub fn new(anchor: ClusterSetId, minimum: ListPosition) -> Self {
        Self {
            anchor,
            minimum,
            clusterset: None,
            listed: BTreeSet::new(),
            believed: BTreeSet::new(),
            below: BTreeMap::new(),
            enrolled: BTreeMap::new(),
            gateways: BTreeMap::new(),
            services: BTreeMap::new(),
        }
    }
}

/// Where an advertisement stands among those of its gateway or service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// Identity key whose certificate it was signed under.
    pub identity: VerifyKey,
    /// Generation of that certificate.
    pub generation: u64,
    /// Sequence under that certificate.
    pub sequence: u64,
}

/// The highest position of one gateway.
pub type HeldGateway = HeldWord<AdvertisementSpec>;
/// The highest position of one service.
pub type HeldService = HeldWord<ServiceAdvertisementSpec>;

/// The highest position under one name, and what was said there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldWord<Spec> {
    /// The position.
    pub position: Position,
    /// SHA-256 of the payload at that position.
    #[serde(serialize_with = "key_text", deserialize_with = "digest")]
    pub digest: [u8; 32],
    /// When it was accepted.
    pub accepted_at: UnixTime,
    /// Until when bytes under this name could be replayed: expiry plus hold.
    pub until: UnixTime,
    /// The advertisement or, small enough to be told on, the withdrawal; none after a revocation.
    pub spec: Option<Spec>,
    /// Whether the position is that of a withdrawal.
    pub withdrawn: bool,
}

impl<Spec> HeldWord<Spec> {
    /// Says whether the advertisement is believed.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.spec.is_some() && !self.withdrawn
    }

    /// Says whether the advertisement was believed until something else ended it.
    #[must_use]
    pub fn is_gone_by_revocation(&self) -> bool {
        self.spec.is_none() && !self.withdrawn
    }
}

fn digest<'de, D: Deserializer<'de>>(reader: D) -> Result<[u8; 32], D::Error> {
    let text = String::deserialize(reader)?;
    keys::key_bytes(&text).map_err(serde::de::Error::custom)
}
