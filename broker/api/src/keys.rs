//! Public keys that were checked when learned, and secrets that show themselves to nobody.
//! It makes no key: seeds are arguments. It writes no file.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Length of every key and seed. Unit: bytes.
pub const KEY_BYTES: usize = 32;

/// Bytes that are not a sound public key. Retrying does not help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not 43 characters of base64url without padding.
    #[error("a key must be 43 characters of base64url without padding")]
    Encoding,
    /// Not a point, of small order, or not its canonical encoding.
    #[error("the key is of small order or not in its canonical encoding")]
    Weak,
}

/// Decodes the text form of a key, 43 characters of base64url, without judging the key.
///
/// # Errors
/// [`KeyError::Encoding`] for any other text, padding and stray trailing bits included.
pub fn key_bytes(text: &str) -> Result<[u8; KEY_BYTES], KeyError> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| KeyError::Encoding)?;
    bytes.try_into().map_err(|_| KeyError::Encoding)
}

/// An Ed25519 public key that decodes, is not of small order and is canonically encoded.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VerifyKey([u8; KEY_BYTES]);

impl VerifyKey {
    /// Checks a key once, when it is learned (PROTOCOL.md 2).
    ///
    /// # Errors
    /// [`KeyError::Weak`] when it is not sound.
    pub fn check(bytes: [u8; KEY_BYTES]) -> Result<Self, KeyError> {
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| KeyError::Weak)?;
        // Decoding takes some encodings with y >= p; only re-encoding shows them.
        let canonical = key.to_edwards().compress().to_bytes();
        if key.is_weak() || canonical != bytes {
            return Err(KeyError::Weak);
        }
        Ok(Self(bytes))
    }

    /// Parses the text form and checks the key.
    ///
    /// # Errors
    /// [`KeyError`] when the text or the key is bad.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        Self::check(key_bytes(text)?)
    }

    /// Returns the 32 bytes of the key.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// Says whether `signature` is this key's over `message`, by the strict rules alone.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        VerifyingKey::from_bytes(&self.0)
            .is_ok_and(|key| key.verify_strict(message, &Signature::from_bytes(signature)).is_ok())
    }

    /// Returns the WireGuard public key of a tunnel key: the same point on the Montgomery curve.
    #[must_use]
    pub fn wireguard(&self) -> WireguardKey {
        let montgomery =
            VerifyingKey::from_bytes(&self.0).map(|key| key.to_montgomery().to_bytes());
        // A checked key always decodes; all zero is a key that no peer can have.
        WireguardKey(montgomery.unwrap_or_default())
    }

    /// Returns the fingerprint that people compare: base32 (lower case) of the first 20 bytes of
    /// SHA-256 over the key, in groups of four. Shape: 39 characters.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let hash = Sha256::digest(self.0);
        let text = data_encoding::BASE32_NOPAD.encode(&hash[..20]).to_ascii_lowercase();
        let groups: Vec<&str> =
            (0..text.len()).step_by(4).filter_map(|at| text.get(at..at + 4)).collect();
        groups.join("-")
    }
}

/// A pair key (X25519): half of a lane's pre-shared key. Checked to be canonical and contributory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PairKey([u8; KEY_BYTES]);

impl PairKey {
    /// Checks a key once, when it is learned.
    ///
    /// # Errors
    /// [`KeyError::Weak`] when it is of small order or not canonical.
    pub fn check(bytes: [u8; KEY_BYTES]) -> Result<Self, KeyError> {
        // Clamped scalars are multiples of the cofactor, so any one of them sends exactly the
        // points of small order to zero; the product is also the way to see a non-canonical u.
        let one = x25519_dalek::StaticSecret::from([1; KEY_BYTES]);
        let shared = one.diffie_hellman(&x25519_dalek::PublicKey::from(bytes));
        if !shared.was_contributory() || !is_canonical_u(&bytes) {
            return Err(KeyError::Weak);
        }
        Ok(Self(bytes))
    }

    /// Parses the text form and checks the key.
    ///
    /// # Errors
    /// [`KeyError`] when the text or the key is bad.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        Self::check(key_bytes(text)?)
    }

    /// Returns the 32 bytes of the key.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

/// Says whether `u`, little-endian, is below 2^255 - 19.
fn is_canonical_u(u: &[u8; KEY_BYTES]) -> bool {
    let mut prime = [0xff; KEY_BYTES];
    (prime[0], prime[KEY_BYTES - 1]) = (0xed, 0x7f);
    u.iter().rev().lt(prime.iter().rev())
}

/// A WireGuard public key (Curve25519, 32 bytes). `Display` is the base64 that `wg` prints.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WireguardKey(pub [u8; KEY_BYTES]);

impl WireguardKey {
    /// Returns the 32 bytes of the key.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl fmt::Display for WireguardKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&base64::engine::general_purpose::STANDARD.encode(self.0))
    }
}

impl fmt::Debug for WireguardKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Secrets: wiped on drop; no `Debug`, `Display`, `Serialize`, `Clone` or comparison.
macro_rules! secret {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Zeroize, ZeroizeOnDrop)]
        pub struct $name([u8; KEY_BYTES]);

        impl $name {
            /// Takes over bytes from the caller's source of randomness or 0600 file.
            #[must_use]
            pub fn from_bytes(bytes: Zeroizing<[u8; KEY_BYTES]>) -> Self {
                Self(*bytes)
            }

            /// Shows the secret, for writing it to a 0600 file or handing it to its one user.
            #[must_use]
            pub fn expose(&self) -> &[u8; KEY_BYTES] {
                &self.0
            }
        }
    )*};
}

secret! {
    /// Ed25519 seed of a root, recovery, join, identity or gateway key.
    SigningSeed,
    /// Ed25519 seed of a tunnel key, which WireGuard uses as X25519.
    TunnelSeed,
    /// X25519 secret of a pair key.
    PairSecret,
    /// WireGuard private key; all that the tunnel process gets of a [`TunnelSeed`].
    WireguardPrivate,
    /// Pre-shared key of one lane.
    Psk,
}

impl SigningSeed {
    /// Returns the public key.
    #[must_use]
    pub fn public(&self) -> VerifyKey {
        VerifyKey(SigningKey::from_bytes(&self.0).verifying_key().to_bytes())
    }

    /// Signs `message` as it is; [`crate::signed::Signed::seal`] puts the statement's prefix before it.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        SigningKey::from_bytes(&self.0).sign(message).to_bytes()
    }
}

impl TunnelSeed {
    /// Returns the public key as it stands in a tunnel entry.
    #[must_use]
    pub fn public(&self) -> VerifyKey {
        VerifyKey(SigningKey::from_bytes(&self.0).verifying_key().to_bytes())
    }

    /// Returns the WireGuard private key.
    #[must_use]
    pub fn wireguard_private(&self) -> WireguardPrivate {
        WireguardPrivate(SigningKey::from_bytes(&self.0).to_scalar_bytes())
    }

    /// Signs a proof of possession.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        SigningKey::from_bytes(&self.0).sign(message).to_bytes()
    }
}

impl PairSecret {
    /// Returns the public half.
    #[must_use]
    pub fn public(&self) -> PairKey {
        PairKey(x25519_public(&self.0))
    }
}

impl WireguardPrivate {
    /// Returns the public key, as WireGuard computes it.
    #[must_use]
    pub fn public(&self) -> WireguardKey {
        WireguardKey(x25519_public(&self.0))
    }
}

fn x25519_public(secret: &[u8; KEY_BYTES]) -> [u8; KEY_BYTES] {
    x25519_dalek::PublicKey::from(&x25519_dalek::StaticSecret::from(*secret)).to_bytes()
}

impl Psk {
    /// Returns what a plan and a read-back compare instead of the key: the first 8 bytes of
    /// SHA-256 over a prefix of its own and the key.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 8] {
        let hash =
            Sha256::new().chain_update(b"sealane:v1:pskid\0").chain_update(self.0).finalize();
        let mut fingerprint = [0; 8];
        fingerprint.copy_from_slice(&hash[..8]);
        fingerprint
    }
}

/// Text forms that both checked keys share.
macro_rules! key_text {
    ($($name:ident),*) => {$(
        impl TryFrom<String> for $name {
            type Error = KeyError;
            fn try_from(text: String) -> Result<Self, KeyError> {
                Self::parse(&text)
            }
        }
        impl From<$name> for String {
            fn from(key: $name) -> Self {
                key.to_string()
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&URL_SAFE_NO_PAD.encode(self.0))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    )*};
}
key_text!(VerifyKey, PairKey);
