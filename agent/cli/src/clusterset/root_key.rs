//! Owns the root key's file: its form, and sealing it under a passphrase (argon2id, then
//! XChaCha20-Poly1305). Does not own where the file is.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use sealane_api::keys::{KEY_BYTES, SigningSeed, VerifyKey};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::passphrase::Passphrase;
use crate::failure::Failure;
use crate::random;

const FORMAT: &str = "sealane-root-key/1";
const SALT_BYTES: usize = 16;
const NONCE_BYTES: usize = 24;

/// What stretching a passphrase costs. Bounded when read, so that a file cannot ask for all memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cost {
    memory_kibibytes: u32,
    passes: u32,
    lanes: u32,
}

impl Cost {
    /// The second recommended option of RFC 9106, section 4.
    pub const RECOMMENDED: Self = Self { memory_kibibytes: 64 * 1024, passes: 3, lanes: 4 };
    const MOST: Self = Self { memory_kibibytes: 1024 * 1024, passes: 32, lanes: 16 };

    fn is_bearable(self) -> bool {
        self.memory_kibibytes <= Self::MOST.memory_kibibytes
            && self.passes <= Self::MOST.passes
            && self.lanes <= Self::MOST.lanes
    }
}

/// Why a root key's file gives no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RootKeyError {
    /// Not a file of this form.
    #[error("it is not a root key file of this version")]
    Form,
    /// Stretching would need more than any machine should be asked for.
    #[error("it asks for more memory or time than a root key file may")]
    Cost,
    /// The key cannot be unsealed.
    #[error("the passphrase is wrong or the file was changed")]
    Passphrase,
    /// The key in it is another one than it says.
    #[error("its key is not the one that it names")]
    Mismatch,
}

/// How a root key's file is protected.
pub enum Protection<'a> {
    /// By its mode alone.
    ModeOnly,
    /// By a passphrase as well.
    Sealed(&'a Passphrase, Cost),
}

/// A root key's file. Without `cost` the seed stands there as it is, hence the wiping.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RootKeyFile {
    format: String,
    #[zeroize(skip)]
    root: VerifyKey,
    #[zeroize(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    argon2id: Option<Cost>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    salt: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    nonce: String,
    seed: String,
}

impl RootKeyFile {
    /// Puts a key into the form of a file.
    pub fn of(seed: &SigningSeed, protection: &Protection<'_>) -> Result<Self, Failure> {
        let mut file = Self {
            format: FORMAT.to_owned(),
            root: seed.public(),
            argon2id: None,
            salt: String::new(),
            nonce: String::new(),
            seed: String::new(),
        };
        match protection {
            Protection::ModeOnly => file.seed = URL_SAFE_NO_PAD.encode(seed.expose()),
            Protection::Sealed(passphrase, cost) => {
                let (mut salt, mut nonce) = ([0; SALT_BYTES], [0; NONCE_BYTES]);
                random::fill(&mut salt)?;
                random::fill(&mut nonce)?;
                file.seal(seed, passphrase, (*cost, &salt, &nonce)).map_err(unusable)?;
            }
        }
        Ok(file)
    }

    /// Reads a file's bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, RootKeyError> {
        let file: Self = serde_json::from_slice(bytes).map_err(|_| RootKeyError::Form)?;
        if file.format != FORMAT {
            return Err(RootKeyError::Form);
        }
        match file.argon2id {
            Some(cost) if !cost.is_bearable() => Err(RootKeyError::Cost),
            _ => Ok(file),
        }
    }

    /// Returns the file's bytes.
    pub fn bytes(&self) -> Zeroizing<Vec<u8>> {
        // Strings and integers always serialise.
        let mut bytes = Zeroizing::new(serde_json::to_vec_pretty(self).unwrap_or_default());
        bytes.push(b'\n');
        bytes
    }

    /// Returns the public key.
    pub fn public(&self) -> VerifyKey {
        self.root
    }

    /// Says whether a passphrase is needed.
    pub fn is_sealed(&self) -> bool {
        self.argon2id.is_some()
    }

    /// Returns the key of a file that is protected by its mode alone.
    pub fn plain(&self) -> Result<SigningSeed, RootKeyError> {
        let bytes = URL_SAFE_NO_PAD.decode(&self.seed).map_err(|_| RootKeyError::Form)?;
        self.checked(&Zeroizing::new(bytes))
    }

    /// Returns the key of a sealed file.
    pub fn unseal(&self, passphrase: &Passphrase) -> Result<SigningSeed, RootKeyError> {
        let cost = self.argon2id.ok_or(RootKeyError::Form)?;
        let decoded = |text| URL_SAFE_NO_PAD.decode(text).map_err(|_| RootKeyError::Form);
        let (salt, sealed) = (decoded(&self.salt)?, decoded(&self.seed)?);
        let nonce: [u8; NONCE_BYTES] =
            decoded(&self.nonce)?.try_into().map_err(|_| RootKeyError::Form)?;
        let bytes = cipher(passphrase, cost, &salt)?
            .decrypt(&XNonce::from(nonce), Payload { msg: &sealed, aad: &self.context() })
            .map_err(|_| RootKeyError::Passphrase)?;
        self.checked(&Zeroizing::new(bytes))
    }

    fn seal(
        &mut self,
        seed: &SigningSeed,
        passphrase: &Passphrase,
        (cost, salt, nonce): (Cost, &[u8], &[u8; NONCE_BYTES]),
    ) -> Result<(), RootKeyError> {
        let sealed = cipher(passphrase, cost, salt)?
            .encrypt(&XNonce::from(*nonce), Payload { msg: seed.expose(), aad: &self.context() })
            .map_err(|_| RootKeyError::Form)?;
        self.argon2id = Some(cost);
        self.salt = URL_SAFE_NO_PAD.encode(salt);
        self.nonce = URL_SAFE_NO_PAD.encode(nonce);
        self.seed = URL_SAFE_NO_PAD.encode(sealed);
        Ok(())
    }

    /// What is bound to the sealed key, so that a file cannot name another public key.
    fn context(&self) -> Vec<u8> {
        format!("{FORMAT}\0{}", self.root).into_bytes()
    }

    fn checked(&self, bytes: &[u8]) -> Result<SigningSeed, RootKeyError> {
        let bytes: [u8; KEY_BYTES] = bytes.try_into().map_err(|_| RootKeyError::Form)?;
        let seed = SigningSeed::from_bytes(Zeroizing::new(bytes));
        if seed.public() == self.root { Ok(seed) } else { Err(RootKeyError::Mismatch) }
    }
}

fn cipher(
    passphrase: &Passphrase,
    cost: Cost,
    salt: &[u8],
) -> Result<XChaCha20Poly1305, RootKeyError> {
    let params = Params::new(cost.memory_kibibytes, cost.passes, cost.lanes, Some(KEY_BYTES))
        .map_err(|_| RootKeyError::Cost)?;
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.expose(), salt, key.as_mut_slice())
        .map_err(|_| RootKeyError::Form)?;
    XChaCha20Poly1305::new_from_slice(key.as_slice()).map_err(|_| RootKeyError::Form)
}

fn unusable(error: RootKeyError) -> Failure {
    Failure::new(crate::failure::Exit::NotWorking, "seal the root key", error)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: Cost = Cost { memory_kibibytes: 64, passes: 1, lanes: 1 };

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::new(Zeroizing::new(text.to_owned()))
    }

    fn seed() -> SigningSeed {
        SigningSeed::from_bytes(Zeroizing::new([9; 32]))
    }

    fn sealed() -> RootKeyFile {
        RootKeyFile::of(&seed(), &Protection::Sealed(&passphrase("correct horse"), CHEAP)).unwrap()
    }

    #[test]
    fn a_sealed_root_key_comes_back_with_its_passphrase_only() {
        let bytes = sealed().bytes();
        let read = RootKeyFile::parse(&bytes).unwrap();
        assert!(read.is_sealed());
        let opened = read.unseal(&passphrase("correct horse")).unwrap();
        assert_eq!(opened.expose(), seed().expose());
        assert_eq!(read.unseal(&passphrase("wrong")).err(), Some(RootKeyError::Passphrase));
    }

    #[test]
    fn a_sealed_file_does_not_hold_the_key() {
        let bytes = sealed().bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        assert!(!text.contains(&URL_SAFE_NO_PAD.encode(seed().expose())));
        assert_ne!(sealed().bytes().as_slice(), bytes.as_slice(), "salt or nonce was used twice");
    }

    #[test]
    fn an_unsealed_file_comes_back_as_it_was() {
        let file = RootKeyFile::of(&seed(), &Protection::ModeOnly).unwrap();
        let read = RootKeyFile::parse(&file.bytes()).unwrap();
        assert!(!read.is_sealed());
        assert_eq!(read.plain().unwrap().expose(), seed().expose());
    }

    #[test]
    fn a_file_that_names_another_key_is_refused() {
        let other = SigningSeed::from_bytes(Zeroizing::new([8; 32])).public();
        let mut file = sealed();
        file.root = other;
        assert_eq!(file.unseal(&passphrase("correct horse")).err(), Some(RootKeyError::Passphrase));
        let mut plain = RootKeyFile::of(&seed(), &Protection::ModeOnly).unwrap();
        plain.root = other;
        assert_eq!(plain.plain().err(), Some(RootKeyError::Mismatch));
    }

    #[test]
    fn a_file_cannot_ask_for_all_memory() {
        let text = String::from_utf8(sealed().bytes().to_vec()).unwrap();
        let greedy = text.replace("\"memoryKibibytes\": 64", "\"memoryKibibytes\": 4000000000");
        assert_ne!(greedy, text);
        assert_eq!(RootKeyFile::parse(greedy.as_bytes()).err(), Some(RootKeyError::Cost));
        assert_eq!(RootKeyFile::parse(b"{}").err(), Some(RootKeyError::Form));
    }
}
