//! The pre-shared key of a lane: a function of its two tunnel entries, never sent (PROTOCOL.md 7).

use crate::keys::{KeyError, PairKey, PairSecret, Psk, WireguardKey};
use crate::names::{ClusterSetId, GatewayId};
use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// One end of a lane.
#[derive(Clone, Copy, Debug)]
pub struct LaneEnd<'a> {
    /// WireGuard key of the tunnel entry.
    pub wireguard: WireguardKey,
    /// Pair key of the tunnel entry.
    pub pair: PairKey,
    /// Whose entry it is.
    pub owner: &'a GatewayId,
}

impl LaneEnd<'_> {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::from(*self.wireguard.as_bytes());
        bytes.extend_from_slice(self.pair.as_bytes());
        for name in [self.owner.member.as_str(), self.owner.gateway.as_str()] {
            // Names are at most 150 bytes, so their length is one byte.
            bytes.extend(u8::try_from(name.len()));
            bytes.extend_from_slice(name.as_bytes());
        }
        bytes
    }
}

/// Derives the pre-shared key of the lane between `ours` and `theirs`; `secret` belongs to `ours`.
/// Both ends get the same key.
///
/// # Errors
/// [`KeyError::Weak`] when the exchange does not contribute.
pub fn derive(
    id: &ClusterSetId,
    secret: &PairSecret,
    ours: LaneEnd<'_>,
    theirs: LaneEnd<'_>,
) -> Result<Psk, KeyError> {
    let secret = x25519_dalek::StaticSecret::from(*secret.expose());
    let shared = secret.diffie_hellman(&x25519_dalek::PublicKey::from(*theirs.pair.as_bytes()));
    if !shared.was_contributory() {
        return Err(KeyError::Weak);
    }
    let salt = Sha256::new().chain_update(b"sealane:v1:psk\0").chain_update(id.as_str()).finalize();
    let mut ends = [ours.bytes(), theirs.bytes()];
    ends.sort_unstable();
    let mut psk = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(Some(&salt), shared.as_bytes())
        .expand(&ends.concat(), psk.as_mut_slice())
        .map_err(|_| KeyError::Weak)?;
    Ok(Psk::from_bytes(psk))
}
