//! Owns the stable numbers that names are turned into, equal on every host. Keeps no secret.

use sha2::{Digest, Sha256};

/// Returns 64 well-mixed bits that depend on all parts and their boundaries, and on `purpose`.
pub fn of(purpose: &str, parts: &[&[u8]]) -> u64 {
    let mut hash = Sha256::new();
    hash.update(b"sealane:plan:");
    hash.update(purpose.as_bytes());
    for part in parts {
        hash.update([0]);
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    let bytes = hash.finalize();
    bytes.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}
