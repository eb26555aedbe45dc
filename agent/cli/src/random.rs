//! Owns randomness: fresh keys, salts and nonces, straight from the system. Keeps nothing.

use rand::TryRng;
use rand::rngs::SysRng;
use sealane_api::keys::{KEY_BYTES, SigningSeed};
use zeroize::Zeroizing;

use crate::failure::{Exit, Failure};

/// Draws bytes that nobody can guess.
pub fn fill(bytes: &mut [u8]) -> Result<(), Failure> {
    SysRng.try_fill_bytes(bytes).map_err(|cause| {
        Failure::new(Exit::NotWorking, "no random numbers from the system", cause)
            .next("no key was made; check /dev/urandom")
    })
}

/// Makes a signing key.
pub fn seed() -> Result<SigningSeed, Failure> {
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    fill(bytes.as_mut_slice())?;
    Ok(SigningSeed::from_bytes(bytes))
}
