//! Owns the requests that concern a member's gateways, their answers, and how a gateway is shown.

use serde::{Deserialize, Serialize};

/// Names a gateway of the own member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GatewayRequest {
    /// Its name, without the member's.
    pub gateway: String,
}

/// What revoking or allowing a gateway led to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RevocationDocument {
    /// Own member.
    pub member: String,
    /// The gateway that was named.
    pub gateway: String,
    /// Whether anything changed.
    pub changed: bool,
    /// All that is revoked now, sorted by name.
    pub revoked: Vec<RevokedView>,
}

/// A revoked gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RevokedView {
    /// Its name, without the member's.
    pub gateway: String,
    /// Certificates of generations below are dead.
    pub below: u64,
    /// Until when our certificates tell others, Unix seconds; what it kills is past hold then.
    pub told_until_unix_seconds: u64,
}

/// That the keys of a gateway are being replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RotationDocument {
    /// Own member.
    pub member: String,
    /// Own gateway, without the member's name.
    pub gateway: String,
    /// The key whose time is over; absent on a host without lanes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tunnel_key: Option<TunnelKeyView>,
}

/// The tunnel key of a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TunnelKeyView {
    /// WireGuard public key in use.
    pub public_key: String,
    /// Since when it is in use, Unix seconds.
    pub since_unix_seconds: u64,
    /// How far its replacement is; absent while none is under way.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub replacement: Option<Replacement>,
}

/// How far the replacement of a tunnel key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Replacement {
    /// Others are told of the next key.
    Announced,
    /// The next key is in use; some lanes may still go by the one before.
    Moving,
}
