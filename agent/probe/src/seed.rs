//! Owns the deterministic numbers a path needs (nonces, jitter); owns no source of randomness: the
//! shell draws the seed once per path from the operating system.

use std::time::Duration;

/// Separates nonces from jitter, so that neither tells the other.
const NONCE: u64 = 0x6e6f_6e63_6500_0000;
const JITTER: u64 = 0x6a69_7474_6572_0000;

/// The unpredictable start of one path's sequences of nonces and jitters.
///
/// Deliberately not cryptographic: datagrams are authenticated by WireGuard. The nonce only keeps
/// replies of an earlier run and blind guesses (on a leg outside a lane) from counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(pub u64);

impl Seed {
    /// Returns the nonce of the request with this sequence number and size in bytes.
    #[must_use]
    pub fn nonce(self, size: u16, sequence: u64) -> u64 {
        mix(self.0 ^ NONCE ^ mix(sequence) ^ mix(u64::from(size).rotate_left(32)))
    }

    /// Returns `interval` made longer or shorter by up to a tenth, so that many paths never march
    /// in step.
    #[must_use]
    pub fn jittered(self, interval: Duration, step: u64) -> Duration {
        let permille = 900 + mix(self.0 ^ JITTER ^ mix(step)) % 201;
        let micros = interval.as_micros().saturating_mul(u128::from(permille)) / 1000;
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }
}

/// The finalizer of `SplitMix64` (Steele, Lea and Flood 2014): every input bit reaches every output
/// bit.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
