//! Owns this host's private keys: made once, kept in files of mode 0600, lent by name. No other
//! file sees them, but for the one use that each is made for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{PoisonError, RwLock};

use sealane_api::keys::{PairSecret, Psk, SigningSeed, TunnelSeed, VerifyKey, WireguardKey};
use sealane_broker::store::{Store, StoreError};
use sealane_kernel::keyring::{Keyring, SecretBytes};
use sealane_state::wireguard::{PskFingerprint, PublicKey};
use zeroize::Zeroizing;

/// File of the identity key; on a host that is its member's keeper.
const IDENTITY: &str = "identity.key";
/// File of the identity key that is to come, until root lists it.
const NEXT_IDENTITY: &str = "identity-next.key";
/// File of the gateway key.
const GATEWAY: &str = "gateway.key";
/// File of the tunnel key's seed.
const TUNNEL: &str = "tunnel.key";
/// File of the pair key.
const PAIR: &str = "pair.key";
/// Files of the keys that are to come, or have come, in place of those.
const NEXT_TUNNEL: &str = "tunnel-next.key";
const NEXT_PAIR: &str = "pair-next.key";

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
    /// The identity key that is to take over when root lists it.
    next_identity: Option<SigningSeed>,
    /// The other entry that others are told of while the keys are replaced.
    pub second: Option<Entry>,
}

/// The keys of one tunnel entry.
pub struct Entry {
    /// As [`Keys::tunnel`].
    pub tunnel: TunnelSeed,
    /// As [`Keys::pair`].
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
            next_identity: match store.load(NEXT_IDENTITY)? {
                Some(_) => Some(SigningSeed::from_bytes(seed(store, NEXT_IDENTITY)?)),
                None => None,
            },
            second: None,
        })
    }

    /// Makes the identity key that is to come, unless there is one; returns its public half.
    ///
    /// # Errors
    /// [`KeysError`] when it cannot be made or kept.
    pub fn make_next_identity(&mut self, store: &Store) -> Result<VerifyKey, KeysError> {
        let next = SigningSeed::from_bytes(seed(store, NEXT_IDENTITY)?);
        let public = next.public();
        self.next_identity = Some(next);
        Ok(public)
    }

    /// Returns the public half of the identity key that is to come, if there is one.
    pub fn next_identity_public(&self) -> Option<VerifyKey> {
        self.next_identity.as_ref().map(SigningSeed::public)
    }

    /// Has the identity key that was to come take over; the one before is gone from memory and disk.
    ///
    /// # Errors
    /// [`StoreError`] when a file cannot be written; the one before stays then.
    pub fn take_next_identity(&mut self, store: &Store) -> Result<(), StoreError> {
        if let Some(next) = &self.next_identity {
            store.save(IDENTITY, next.expose())?;
        }
        if let Some(next) = self.next_identity.take() {
            self.identity = next;
        }
        store.remove(NEXT_IDENTITY)
    }

    /// Reads the keys of the second entry, if they are there.
    ///
    /// # Errors
    /// [`KeysError`] when a file is damaged.
    pub fn load_second(&mut self, store: &Store) -> Result<(), KeysError> {
        if store.load(NEXT_TUNNEL)?.is_some() && store.load(NEXT_PAIR)?.is_some() {
            self.second = Some(next_entry(store)?);
        }
        Ok(())
    }

    /// Makes keys for a second entry, in place of any that an attempt before left.
    ///
    /// # Errors
    /// [`KeysError`] when they cannot be made or kept; there is no second entry then.
    pub fn make_second(&mut self, store: &Store) -> Result<(), KeysError> {
        store.remove(NEXT_TUNNEL)?;
        store.remove(NEXT_PAIR)?;
        self.second = Some(next_entry(store)?);
        Ok(())
    }

    /// Has the two entries change places.
    pub fn swap(&mut self) {
        if let Some(second) = &mut self.second {
            std::mem::swap(&mut self.tunnel, &mut second.tunnel);
            std::mem::swap(&mut self.pair, &mut second.pair);
        }
    }

    /// Keeps the keys in use as the only ones; the others are gone from memory and disk. May be done
    /// again after it was interrupted.
    ///
    /// # Errors
    /// [`StoreError`] when a file cannot be written or removed.
    pub fn keep_only_first(&mut self, store: &Store) -> Result<(), StoreError> {
        store.save(TUNNEL, self.tunnel.expose())?;
        store.save(PAIR, self.pair.expose())?;
        store.remove(NEXT_TUNNEL)?;
        store.remove(NEXT_PAIR)?;
        self.second = None;
        Ok(())
    }

    /// Takes another gateway key.
    ///
    /// # Errors
    /// [`KeysError`] when it cannot be made or kept; the one before stays then.
    pub fn replace_gateway(&mut self, store: &Store) -> Result<(), KeysError> {
        let fresh = random_seed()?;
        store.save(GATEWAY, fresh.as_slice())?;
        self.gateway = SigningSeed::from_bytes(fresh);
        Ok(())
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

    /// Returns the WireGuard public keys of all entries that are ours.
    pub fn tunnel_keys(&self) -> impl Iterator<Item = WireguardKey> {
        let second = self.second.as_ref().map(|it| it.tunnel.public().wireguard());
        std::iter::once(self.tunnel.public().wireguard()).chain(second)
    }

    /// Returns the WireGuard public key of the tunnel entry in use.
    pub fn wireguard(&self) -> PublicKey {
        PublicKey(*self.tunnel.public().wireguard().as_bytes())
    }

    /// Removes all key files.
    ///
    /// # Errors
    /// [`StoreError`] of the first file that cannot be removed; the others are gone.
    pub fn remove(store: &Store) -> Result<(), StoreError> {
        let files = [IDENTITY, NEXT_IDENTITY, GATEWAY, TUNNEL, PAIR, NEXT_TUNNEL, NEXT_PAIR];
        let results = files.map(|name| store.remove(name));
        results.into_iter().collect()
    }
}

/// Reads the identity key alone, which a host may need as a gateway later; makes it if it is missing.
///
/// # Errors
/// [`KeysError`] when the file is damaged or nothing can be written.
pub fn load_or_make_identity(store: &Store) -> Result<SigningSeed, KeysError> {
    seed(store, IDENTITY).map(SigningSeed::from_bytes)
}

fn next_entry(store: &Store) -> Result<Entry, KeysError> {
    Ok(Entry {
        tunnel: TunnelSeed::from_bytes(seed(store, NEXT_TUNNEL)?),
        pair: PairSecret::from_bytes(seed(store, NEXT_PAIR)?),
    })
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
    /// Lends the tunnel key in use, and no other.
    pub fn lend_tunnel(&self, keys: &Keys) {
        let private = Zeroizing::new(*keys.tunnel.wireguard_private().expose());
        self.write().private = BTreeMap::from([(keys.wireguard(), private)]);
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
