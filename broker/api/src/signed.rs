//! Opaque signed bytes: the one way a statement travels. Nothing here parses what was signed.

use crate::keys::{SigningSeed, VerifyKey};
use crate::reason::{Reason, Rejected};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What a signature says. Each has a prefix of its own, so bytes signed as one are never another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statement {
    /// A recovery key appoints the next root and recovery keys.
    RootLink,
    /// A root key lists the members.
    ClusterSet,
    /// A join key names the identity key of its member.
    Enrolment,
    /// An identity key certifies a gateway key.
    GatewayCert,
    /// A gateway tells the others what it is.
    Advertisement,
    /// A services key tells what its member exports.
    Service,
    /// A tunnel key names its owner.
    Tunnel,
}

impl Statement {
    /// Returns the ASCII prefix, its final NUL included (PROTOCOL.md 3.1).
    #[must_use]
    pub const fn prefix(self) -> &'static [u8] {
        match self {
            Self::RootLink => b"sealane:v1:rootlink\0",
            Self::ClusterSet => b"sealane:v1:clusterset\0",
            Self::Enrolment => b"sealane:v1:enrolment\0",
            Self::GatewayCert => b"sealane:v1:gatewaycert\0",
            Self::Advertisement => b"sealane:v1:advertisement\0",
            Self::Service => b"sealane:v1:service\0",
            Self::Tunnel => b"sealane:v1:tunnel\0",
        }
    }

    /// Returns the exact bytes that are signed: the prefix, then the payload.
    #[must_use]
    pub fn message(self, payload: &[u8]) -> Vec<u8> {
        [self.prefix(), payload].concat()
    }
}

/// A payload and its signature as they stand in an object, both standard base64 with padding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Signed {
    /// The exact bytes that were signed.
    #[schemars(length(max = 1_333_336))]
    pub payload: String,
    /// Ed25519 signature over the statement's prefix and the payload.
    #[schemars(length(equal = 88))]
    pub signature: String,
}

impl Signed {
    /// Signs `payload` as `statement`.
    #[must_use]
    pub fn seal(seed: &SigningSeed, statement: Statement, payload: &[u8]) -> Self {
        Self {
            payload: STANDARD.encode(payload),
            signature: STANDARD.encode(seed.sign(&statement.message(payload))),
        }
    }

    /// Decodes the base64 without looking at the payload.
    ///
    /// # Errors
    /// `TooLarge` when the payload has more than `most` bytes, `BadEncoding` when either text is
    /// not canonical base64 or the signature is not 64 bytes.
    pub fn decode(&self, most: usize) -> Result<SignedBytes, Rejected> {
        if self.payload.len() > most.div_ceil(3) * 4 {
            return Err(Reason::TooLarge.about(format!("payload over {most} bytes")));
        }
        let payload = STANDARD
            .decode(&self.payload)
            .map_err(|_| Reason::BadEncoding.about("payload is not canonical base64"))?;
        if payload.len() > most {
            return Err(Reason::TooLarge.about(format!("payload over {most} bytes")));
        }
        let signature = STANDARD.decode(&self.signature).ok();
        let signature = signature
            .and_then(|bytes| <[u8; 64]>::try_from(bytes).ok())
            .ok_or_else(|| Reason::BadEncoding.about("signature is not base64 of 64 bytes"))?;
        Ok(SignedBytes { payload, signature })
    }
}

/// A decoded [`Signed`]: bytes that nobody has verified yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedBytes {
    /// The payload's bytes.
    pub payload: Vec<u8>,
    /// The signature's bytes.
    pub signature: [u8; 64],
}

impl SignedBytes {
    /// Says whether `key` signed the payload as `statement`.
    #[must_use]
    pub fn is_signed_by(&self, key: &VerifyKey, statement: Statement) -> bool {
        key.verifies(&statement.message(&self.payload), &self.signature)
    }

    /// Returns SHA-256 of the payload.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(&self.payload).into()
    }
}
