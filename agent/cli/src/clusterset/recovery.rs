//! Owns how a recovery key is written on paper, and read back: base32 with a checksum, in groups of four.

use data_encoding::BASE32_NOPAD;
use sealane_api::keys::{KEY_BYTES, SigningSeed};
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

/// Why a text is no recovery key. It shows nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryError {
    /// Not so many letters and digits of base32.
    #[error("it is not a recovery key of 14 groups")]
    Form,
    /// The checksum does not fit.
    #[error("its checksum does not fit: a character is wrong")]
    Checksum,
}

/// Reads a key as it was written; dashes, white space and case do not matter.
///
/// # Errors
/// [`RecoveryError`], which tells a typing error from another text.
pub fn read(text: &str) -> Result<SigningSeed, RecoveryError> {
    let meant = text.chars().filter(|character| *character != '-' && !character.is_whitespace());
    let meant: Zeroizing<String> = Zeroizing::new(meant.collect::<String>().to_uppercase());
    let bytes = BASE32_NOPAD.decode(meant.as_bytes()).map_err(|_| RecoveryError::Form)?;
    let bytes = Zeroizing::new(bytes);
    let Some((key, sum)) = bytes.split_first_chunk::<KEY_BYTES>() else {
        return Err(RecoveryError::Form);
    };
    if sum.len() != CHECKSUM_BYTES {
        return Err(RecoveryError::Form);
    }
    if sum != &Sha256::digest(key)[..CHECKSUM_BYTES] {
        return Err(RecoveryError::Checksum);
    }
    Ok(SigningSeed::from_bytes(Zeroizing::new(*key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recovery_key_is_read_as_written_and_every_wrong_character_is_seen() {
        let seed = SigningSeed::from_bytes(Zeroizing::new([7; 32]));
        let text = written(&seed);
        assert!(read(&text).is_ok_and(|read| read.public() == seed.public()));
        assert!(read(&format!(" {}\n", text.to_lowercase())).is_ok());
        for (at, character) in text.char_indices().filter(|(_, it)| *it != '-') {
            let other = if character == 'A' { 'B' } else { 'A' };
            let mut bent = text.to_string();
            bent.replace_range(at..=at, &other.to_string());
            assert!(read(&bent).is_err(), "{at}");
        }
        assert_eq!(read(&text[5..]).err(), Some(RecoveryError::Form));
        assert_eq!(read("").err(), Some(RecoveryError::Form));
    }

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
