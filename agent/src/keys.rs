//! Owns this host's private keys: made once, kept in files of mode 0600, lent by name. No other
//! file sees them, but for the one use that each is made for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{PoisonError, RwLock};

use sealane_api::keys::{PairSecret, Psk, SigningSeed, TunnelSeed};
use sealane_broker::store::{Store, StoreError};
use sealane_kernel::keyring::{Keyring, SecretBytes};
use sealane_state::wireguard::{PskFingerprint, PublicKey};
use zeroize::Zeroizing;

/// File of the identity key; on a host that is its member's keeper.
const IDENTITY: &str = "identity.key";
/// File of the gateway key.
const GATEWAY: &str = "gateway.key";
/// File of the tunnel key's seed.
const TUNNEL: &str = "tunnel.key";
/// File of the pair key.
const PAIR: &str = "pair.key";

/// All private keys of a gateway.
pub struct Keys {
    /// Certifies gateways: the member's own key.
    pub identity: SigningSeed,
    /// Signs advertisements.
    pub gateway: SigningSeed,
    /// The tunnel entry's key; WireGuard's private key comes from it.
    pub tunnel: TunnelSeed,
    /// Gives each lane its pre-shared key.
    pub pair: PairSecret,
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// A file could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file does not hold a key.
    #[error(
        "{path}: not a key of 32 bytes; restore it, or empty the state directory and join with a new token (token create --rekey)"
    )]
    Damaged {
        /// The file.
        path: String,
    },
    /// The system gave no random bytes.
    #[error("no random bytes from the system: {cause}")]
    Random {
        /// What the system said.
        cause: String,
    },
}

impl Keys {
    /// Reads the keys; those that are missing are made and kept before they are used.
    ///
    /// # Errors
    /// [`KeysError`] when a file is damaged or nothing can be written.
    pub fn load_or_make(store: &Store) -> Result<Self, KeysError> {
        Ok(Self {
            identity: SigningSeed::from_bytes(seed(store, IDENTITY)?),
            gateway: SigningSeed::from_bytes(seed(store, GATEWAY)?),
            tunnel: TunnelSeed::from_bytes(seed(store, TUNNEL)?),
            pair: PairSecret::from_bytes(seed(store, PAIR)?),
        })
    }

    /// Reads the keys; `None` when one of them is missing.
    ///
    /// # Errors
    /// [`KeysError`] when a file is damaged.
    pub fn load(store: &Store) -> Result<Option<Self>, KeysError> {
        for name in [IDENTITY, GATEWAY, TUNNEL, PAIR] {
            if store.load(name)?.is_none() {
                return Ok(None);
            }
        }
        Self::load_or_make(store).map(Some)
    }

    /// Returns the WireGuard public key of the tunnel entry.
    pub fn wireguard(&self) -> PublicKey {
        PublicKey(*self.tunnel.public().wireguard().as_bytes())
    }

    /// Removes all key files.
    ///
    /// # Errors
    /// [`StoreError`] of the first file that cannot be removed; the others are gone.
    pub fn remove(store: &Store) -> Result<(), StoreError> {
        let results = [IDENTITY, GATEWAY, TUNNEL, PAIR].map(|name| store.remove(name));
        results.into_iter().collect()
    }
}

fn seed(store: &Store, name: &str) -> Result<Zeroizing<[u8; 32]>, KeysError> {
    if let Some(bytes) = store.load(name)? {
        let damaged = || KeysError::Damaged { path: store.path(name).display().to_string() };
        return Ok(Zeroizing::new(bytes.as_slice().try_into().map_err(|_| damaged())?));
    }
    let fresh = random_seed()?;
    store.save(name, fresh.as_slice())?;
    Ok(fresh)
}

/// Draws 32 bytes from the system's generator.
fn random_seed() -> Result<Zeroizing<[u8; 32]>, KeysError> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut_slice())
        .map_err(|error| KeysError::Random { cause: error.to_string() })?;
    Ok(bytes)
}

/// What `apply` may borrow: the WireGuard private key and the pre-shared keys of wanted lanes.
#[derive(Default)]
pub struct Ring {
    held: RwLock<Held>,
}

#[derive(Default)]
struct Held {
    private: BTreeMap<PublicKey, Zeroizing<[u8; 32]>>,
    psks: BTreeMap<PskFingerprint, Zeroizing<[u8; 32]>>,
}

impl Ring {
    /// Lends the tunnel key.
    pub fn lend_tunnel(&self, keys: &Keys) {
        let private = Zeroizing::new(*keys.tunnel.wireguard_private().expose());
        self.write().private.insert(keys.wireguard(), private);
    }

    /// Lends a lane's pre-shared key and returns its fingerprint.
    pub fn lend_psk(&self, psk: &Psk) -> PskFingerprint {
        let fingerprint = PskFingerprint(psk.fingerprint());
        self.write().psks.insert(fingerprint, Zeroizing::new(*psk.expose()));
        fingerprint
    }

    /// Forgets pre-shared keys that are not among `lent`.
    pub fn keep_psks(&self, lent: &BTreeSet<PskFingerprint>) {
        self.write().psks.retain(|fingerprint, _| lent.contains(fingerprint));
    }

    /// Forgets everything.
    pub fn clear(&self) {
        *self.write() = Held::default();
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Held> {
        // Maps of bytes are whole at any time, also when a holder of the lock panicked.
        self.held.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn copy(bytes: Option<&Zeroizing<[u8; 32]>>) -> Option<SecretBytes> {
        bytes.map(|bytes| SecretBytes::take(&mut Zeroizing::new(**bytes)))
    }
}

impl Keyring for Ring {
    fn private_key(&self, of: &PublicKey) -> Option<SecretBytes> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        Self::copy(held.private.get(of))
    }

    fn psk(&self, fingerprint: &PskFingerprint) -> Option<SecretBytes> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        Self::copy(held.psks.get(fingerprint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_once_and_read_again() {
        let place = tempfile::tempdir().unwrap();
        let store = Store::open(place.path()).unwrap();
        let made = Keys::load_or_make(&store).unwrap();
        let read = Keys::load_or_make(&store).unwrap();
        assert_eq!(made.wireguard(), read.wireguard());
        assert_eq!(made.identity.public(), read.identity.public());
        assert_ne!(made.identity.public(), made.gateway.public());
    }

    #[test]
    fn a_damaged_key_file_is_named_and_never_replaced() {
        let place = tempfile::tempdir().unwrap();
        let store = Store::open(place.path()).unwrap();
        store.save(TUNNEL, b"short").unwrap();
        let error = Keys::load_or_make(&store).err().unwrap().to_string();
        assert!(error.contains("tunnel.key: not a key of 32 bytes"), "{error}");
        assert_eq!(store.load(TUNNEL).unwrap().unwrap().as_slice(), b"short");
    }
}
