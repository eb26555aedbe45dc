//! Owns the requests that change what a host belongs to, and their answers.
//!
//! [`JoinRequest`] carries a secret: it has no `Debug` and no `Clone` and is wiped when dropped. It is
//! serialisable all the same, because the socket that it crosses belongs to root alone.

use serde::{Deserialize, Serialize};
use zeroize::ZeroizeOnDrop;

/// Asks the agent to become a member.
#[derive(ZeroizeOnDrop, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JoinRequest {
    /// The token's text. A secret until the member's key is pinned.
    pub token: String,
}

/// What joining led to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JoinDocument {
    /// The clusterset joined.
    pub clusterset: String,
    /// The member that this host now belongs to.
    pub member: String,
    /// This host's gateway or node name.
    pub node: String,
    /// Fingerprint of the member's identity key, to compare when it is pinned.
    pub fingerprint: String,
    /// Whether this host was the member before, and only its access to the broker is another.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub renewed: bool,
    /// What is still to be done by people, in plain sentences.
    pub next: Vec<String>,
}

/// Asks the agent to leave.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LeaveRequest {
    /// What to do when the broker cannot be told.
    pub without_broker: WithoutBroker,
}

/// What leaving does when the signed withdrawal cannot be delivered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum WithoutBroker {
    /// Stay, and say so.
    #[default]
    Refuse,
    /// Leave all the same; others drop this gateway when its advertisement expires.
    Leave,
}

/// What leaving led to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaveDocument {
    /// The member left.
    pub member: String,
    /// Whether the broker holds our withdrawal.
    pub withdrawn: bool,
    /// What could not be removed from the host, each with its cause; empty when no trace is left.
    pub remains: Vec<String>,
}

/// Gives the agent a list of members by hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListRequest {
    /// `spec` of a ClusterSet. Not a secret; the agent verifies it.
    pub spec: serde_json::Value,
}

/// Where the list in force stands after that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListDocument {
    /// The clusterset.
    pub clusterset: String,
    /// Number of root links.
    pub link_index: u64,
    /// Version under the last of them.
    pub version: u64,
    /// Whether it is news: `false` when it was believed before.
    pub accepted: bool,
}

/// The identity key that is to take the place of the present one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NextIdentityDocument {
    /// Own member.
    pub member: String,
    /// Its public half, 43 characters of base64url. Not a secret.
    pub next_identity: String,
    /// The fingerprint of that.
    pub next_fingerprint: String,
}
