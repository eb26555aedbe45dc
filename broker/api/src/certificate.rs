//! Enrolments and gateway certificates: what identity and join keys sign. Checks of signatures and
//! positions are in `verify` (PROTOCOL.md 3.4).

use crate::names::{ClusterId, ClusterSetId, GatewayName};
use crate::reason::{Reason, Rejected};
use crate::strict_json;
use crate::time::{DAY_SECONDS, UnixTime};
use serde::Serialize;

/// Largest payload of a certificate or an enrolment. Unit: bytes.
pub const MAX_BYTES: usize = 8 * 1024;
/// Longest life of a certificate. Unit: seconds.
pub const MAX_LIFE_SECONDS: u64 = 100 * DAY_SECONDS;
/// Usual life of a gateway certificate. Unit: seconds.
pub const LIFE_SECONDS: u64 = 90 * DAY_SECONDS;
/// Usual life of a certificate for services. Unit: seconds.
pub const SERVICES_LIFE_SECONDS: u64 = 30 * DAY_SECONDS;
/// Largest number of revocations in a certificate.
pub const MAX_REVOKED: usize = 16;

/// What a join key signs: the identity key of its member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EnrolmentPayload {
    /// Format version, 1.
    pub v: u64,
    /// The clusterset's id.
    pub clusterset: String,
    /// The member that enrols.
    pub member: String,
    /// Its identity key, base64url.
    #[serde(serialize_with = "key_text")]
    pub identity: [u8; 32],
}

impl EnrolmentPayload {
    /// Parses verified bytes.
    ///
    /// # Errors
    /// `Malformed`, `UnsupportedVersion` or `UnknownCritical`.
    pub fn parse(bytes: &[u8]) -> Result<Self, Rejected> {
        let mut object = strict_json::payload(bytes)?;
        let payload = Self {
            v: 1,
            clusterset: object.text("clusterset")?,
            member: object.text("member")?,
            identity: object.key("identity")?,
        };
        object.close()?;
        Ok(payload)
    }
}

/// What a certified key may sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Advertisements of one gateway.
    Gateway,
    /// Services of the member; `gateway` is empty.
    Services,
}

/// All certificates of `gateway` under the same identity key with a generation below are dead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Revocation {
    /// Name of the gateway.
    pub gateway: GatewayName,
    /// First generation that lives.
    pub below: u64,
}

/// What an identity key signs: the key of one gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GatewayCertPayload {
    /// Format version, 1.
    pub v: u64,
    /// The clusterset's id.
    pub clusterset: String,
    /// The member.
    pub member: String,
    /// What the key may sign.
    pub role: Role,
    /// The gateway; empty for the role `services`.
    pub gateway: String,
    /// The certified key, base64url.
    #[serde(serialize_with = "key_text")]
    pub key: [u8; 32],
    /// Unique and rising per identity key.
    pub generation: u64,
    /// Revocations of other certificates under the same identity key.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub revoked: Vec<Revocation>,
    /// When it was signed.
    pub issued: UnixTime,
    /// When it ends.
    pub expires: UnixTime,
}

impl GatewayCertPayload {
    /// Parses verified bytes.
    ///
    /// # Errors
    /// `Malformed`, `UnsupportedVersion`, `UnknownCritical` or, for too many revocations, `TooMany`.
    pub fn parse(bytes: &[u8]) -> Result<Self, Rejected> {
        let mut object = strict_json::payload(bytes)?;
        let role = match object.text("role")?.as_str() {
            "gateway" => Role::Gateway,
            "services" => Role::Services,
            _ => return Err(Reason::Malformed.about("role is neither gateway nor services")),
        };
        let payload = Self {
            v: 1,
            clusterset: object.text("clusterset")?,
            member: object.text("member")?,
            role,
            gateway: object.text("gateway")?,
            key: object.key("key")?,
            generation: object.integer("generation")?,
            revoked: revocations(object.objects("revoked")?)?,
            issued: UnixTime(object.integer("issued")?),
            expires: UnixTime(object.integer("expires")?),
        };
        object.close()?;
        Ok(payload)
    }
}

fn revocations(objects: Vec<strict_json::Object>) -> Result<Vec<Revocation>, Rejected> {
    if objects.len() > MAX_REVOKED {
        return Err(Reason::TooMany.about("more than 16 revocations"));
    }
    let one = |mut object: strict_json::Object| {
        let gateway = GatewayName::parse(&object.text("gateway")?)
            .map_err(|cause| Reason::BadName.about(cause.to_string()))?;
        let revocation = Revocation { gateway, below: object.integer("below")? };
        object.close()?;
        Ok(revocation)
    };
    objects.into_iter().map(one).collect()
}

/// Checks that a payload's life is not turned round and not longer than `most` seconds.
///
/// # Errors
/// `Malformed` when it ends before it begins, `LifetimeTooLong` when it is too long.
pub fn check_life(issued: UnixTime, expires: UnixTime, most: u64) -> Result<(), Rejected> {
    match expires.0.checked_sub(issued.0) {
        None => Err(Reason::Malformed.about("expires before it was issued")),
        Some(life) if life > most => {
            Err(Reason::LifetimeTooLong.about(format!("{life} s, at most {most} s")))
        }
        Some(_) => Ok(()),
    }
}

/// Checks that a payload belongs to this clusterset.
///
/// # Errors
/// `WrongClusterSet`.
pub fn check_clusterset(text: &str, id: &ClusterSetId) -> Result<(), Rejected> {
    if text == id.as_str() { Ok(()) } else { Err(Reason::WrongClusterSet.into()) }
}

/// Checks that a payload belongs to this member.
///
/// # Errors
/// `EnvelopeMismatch`.
pub fn check_member(text: &str, member: &ClusterId) -> Result<(), Rejected> {
    if text == member.as_str() {
        return Ok(());
    }
    Err(Reason::EnvelopeMismatch.about("the payload names another member"))
}

/// Checks that a payload belongs to this gateway; to none when `gateway` is empty.
///
/// # Errors
/// `EnvelopeMismatch`.
pub fn check_gateway(text: &str, gateway: &str) -> Result<(), Rejected> {
    if text == gateway {
        return Ok(());
    }
    Err(Reason::EnvelopeMismatch.about("the payload names another gateway"))
}

/// Writes 32 bytes as payloads carry keys and hashes: base64url without padding.
pub(crate) fn key_text<S: serde::Serializer>(key: &[u8; 32], writer: S) -> Result<S::Ok, S::Error> {
    use base64::Engine as _;
    writer.serialize_str(&base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(key))
}
