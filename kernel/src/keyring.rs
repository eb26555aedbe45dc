//! Owns how secrets are handed to what programs them into a device. Does not own where they are
//! kept or how they come about.

use sealane_state::wireguard::{PskFingerprint, PublicKey};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Separates fingerprints of pre-shared keys from every other use of SHA-256. The gateway that
/// derives these keys computes the same fingerprint from the same constant.
const PSK_FINGERPRINT_CONTEXT: &[u8] = b"sealane:v1:pskid\0";

/// 32 secret bytes, wiped when dropped; they cannot be printed, compared or copied by accident.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SecretBytes([u8; 32]);

/// Who has the secrets that a device needs. It is asked by what may be known: a public key or a
/// fingerprint.
pub trait Keyring {
    /// Returns the private half of `of`; `None` when this host does not have it.
    fn private_key(&self, of: &PublicKey) -> Option<SecretBytes>;

    /// Returns the pre-shared key of this fingerprint; `None` when it is not known.
    fn psk(&self, fingerprint: &PskFingerprint) -> Option<SecretBytes>;
}

impl SecretBytes {
    /// Takes the bytes over and wipes where they came from.
    pub fn take(bytes: &mut [u8; 32]) -> Self {
        let secret = Self(*bytes);
        bytes.zeroize();
        secret
    }

    /// Lets the bytes be seen; what sees them must not keep them.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Returns the fingerprint of a pre-shared key; `None` for all zeroes, which is WireGuard's none.
pub fn psk_fingerprint(psk: &[u8; 32]) -> Option<PskFingerprint> {
    if psk.iter().fold(0, |bits, byte| bits | byte) == 0 {
        return None;
    }
    let digest = Sha256::new().chain_update(PSK_FINGERPRINT_CONTEXT).chain_update(psk).finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    Some(PskFingerprint(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn psk_fingerprints_are_the_ones_that_gateways_compute() {
        // printf 'sealane:v1:pskid\0' plus 32 bytes of 07, through sha256sum.
        let fingerprint = psk_fingerprint(&[7; 32]).unwrap();
        assert_eq!(fingerprint.to_string(), "9c9a72dd7ad98088");
        assert_eq!(psk_fingerprint(&[0; 32]), None);
    }
}
