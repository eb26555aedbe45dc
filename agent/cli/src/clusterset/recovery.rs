//! Owns how a recovery key is written on paper: base32 with a checksum, in groups of four.

use data_encoding::BASE32_NOPAD;
use sealane_api::keys::SigningSeed;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

const CHECKSUM_BYTES: usize = 3;
const GROUP: usize = 4;

/// Returns the 14 groups of the key; the last 24 bits are the head of SHA-256 over the key.
pub fn written(recovery: &SigningSeed) -> Zeroizing<String> {
    let mut bytes = Zeroizing::new(recovery.expose().to_vec());
    let sum = Sha256::digest(recovery.expose());
    bytes.extend_from_slice(&sum[..CHECKSUM_BYTES]);
    let text = Zeroizing::new(BASE32_NOPAD.encode(&bytes));
    let mut grouped = Zeroizing::new(String::with_capacity(text.len() / GROUP * (GROUP + 1)));
    for (at, character) in text.chars().enumerate() {
        if at > 0 && at % GROUP == 0 {
            grouped.push('-');
        }
        grouped.push(character);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recovery_key_is_fourteen_groups_that_hold_key_and_checksum() {
        let seed = SigningSeed::from_bytes(Zeroizing::new([7; 32]));
        let text = written(&seed);
        assert_eq!(text.split('-').map(str::len).collect::<Vec<_>>(), [4; 14]);
        let bytes = BASE32_NOPAD.decode(text.replace('-', "").as_bytes()).unwrap();
        assert_eq!(bytes[..32], [7; 32]);
        assert_eq!(bytes[32..], Sha256::digest([7; 32])[..3]);
    }
}
