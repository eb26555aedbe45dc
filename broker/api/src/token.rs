//! The token that lets one member join: `slj1.<base64url JSON>.<8 hex digits>`. A secret; it comes
//! from a file, a Secret or standard input, which is the caller's business (PROTOCOL.md 8).

use crate::clusterset::{BrokerAddress, ListPosition};
use crate::keys::{SigningSeed, VerifyKey};
use crate::names::{ClusterId, ClusterSetId};
use crate::time::UnixTime;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

const PREFIX: &str = "slj1";
const MAX_BYTES: usize = 16 * 1024;

/// `TokenDamaged`: a text is not a whole token. Retrying does not help; it shows nothing of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("TokenDamaged: {0}; copy the token again, whole and on one line")]
pub struct TokenDamaged(&'static str);

/// What a member needs to join. Holds secrets: wiped on drop, no `Debug`.
pub struct Token {
    /// First root key of the clusterset.
    pub root: VerifyKey,
    /// First recovery key of the clusterset.
    pub recovery: VerifyKey,
    /// The oldest list to believe.
    pub minimum: ListPosition,
    /// The member that joins.
    pub member: ClusterId,
    /// Join key; none when root pinned the identity beforehand.
    pub join: Option<SigningSeed>,
    /// Brokers, in order of preference.
    pub brokers: Vec<BrokerAddress>,
    /// Bearer token for the broker; empty when the host has credentials of its own.
    pub credential: Zeroizing<String>,
    /// When the broker stops to take the credential; `None` when nobody said.
    pub credential_expires: Option<UnixTime>,
}

#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
struct Wire {
    #[zeroize(skip)]
    genesis: WireGenesis,
    #[zeroize(skip)]
    minimum: ListPosition,
    #[zeroize(skip)]
    member: ClusterId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    join: Option<String>,
    #[zeroize(skip)]
    brokers: Vec<BrokerAddress>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    credential: String,
    #[zeroize(skip)]
    #[serde(default, rename = "credentialExpires", skip_serializing_if = "Option::is_none")]
    credential_expires: Option<UnixTime>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireGenesis {
    root: VerifyKey,
    recovery: VerifyKey,
}

impl Token {
    /// Returns the id of the clusterset that the token is for.
    #[must_use]
    pub fn clusterset(&self) -> ClusterSetId {
        ClusterSetId::of_genesis(&self.root, &self.recovery)
    }

    /// Returns the text of the token, one line without its end.
    #[must_use]
    pub fn encode(&self) -> Zeroizing<String> {
        let wire = Wire {
            genesis: WireGenesis { root: self.root, recovery: self.recovery },
            minimum: self.minimum,
            member: self.member.clone(),
            join: self.join.as_ref().map(|seed| URL_SAFE_NO_PAD.encode(seed.expose())),
            brokers: self.brokers.clone(),
            credential: self.credential.as_str().to_owned(),
            credential_expires: self.credential_expires,
        };
        // Strings, integers and lists always serialise.
        let json = Zeroizing::new(serde_json::to_vec(&wire).unwrap_or_default());
        let body = Zeroizing::new(URL_SAFE_NO_PAD.encode(json.as_slice()));
        Zeroizing::new(format!("{PREFIX}.{}.{}", body.as_str(), checksum(&body)))
    }

    /// Parses the text of a token; white space around it is ignored.
    ///
    /// # Errors
    /// [`TokenDamaged`] when anything is missing, changed or unknown.
    pub fn decode(text: &str) -> Result<Self, TokenDamaged> {
        let text = text.trim();
        if text.len() > MAX_BYTES {
            return Err(TokenDamaged("it is too long"));
        }
        let mut parts = text.split('.');
        let (Some(PREFIX), Some(body), Some(sum), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenDamaged("it is not slj1.BODY.CHECKSUM"));
        };
        if sum != checksum(body) {
            return Err(TokenDamaged("its checksum does not fit"));
        }
        let json = Zeroizing::new(
            URL_SAFE_NO_PAD.decode(body).map_err(|_| TokenDamaged("it is not base64url"))?,
        );
        let wire: Wire = serde_json::from_slice(&json)
            .map_err(|_| TokenDamaged("its fields are not those of a token"))?;
        let join = wire.join.as_deref().map(seed).transpose()?;
        Ok(Self {
            root: wire.genesis.root,
            recovery: wire.genesis.recovery,
            minimum: wire.minimum,
            member: wire.member.clone(),
            join,
            brokers: wire.brokers.clone(),
            credential: Zeroizing::new(wire.credential.clone()),
            credential_expires: wire.credential_expires,
        })
    }
}

fn seed(text: &str) -> Result<SigningSeed, TokenDamaged> {
    let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).unwrap_or_default());
    let mut seed = Zeroizing::new([0; 32]);
    if bytes.len() != seed.len() {
        return Err(TokenDamaged("its join key is not 32 bytes"));
    }
    seed.copy_from_slice(&bytes);
    Ok(SigningSeed::from_bytes(seed))
}

fn checksum(body: &str) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(body)[..4])
}
