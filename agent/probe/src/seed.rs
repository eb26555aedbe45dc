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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Whatever a seed is, also where its bits meet those of a constant.
    const SEEDS: [u64; 8] = [0, 1, u64::MAX, NONCE, !NONCE, JITTER, !JITTER, NONCE ^ JITTER];

    #[test]
    fn no_two_requests_of_any_path_share_a_nonce() {
        let mut seen = BTreeSet::new();
        for seed in SEEDS {
            for size in [64, 1280, 1420] {
                for sequence in 0..200 {
                    let is_new = seen.insert(Seed(seed).nonce(size, sequence));
                    assert!(is_new, "seed {seed:#x}, size {size}, sequence {sequence}");
                }
            }
        }
    }

    #[test]
    fn intervals_vary_by_a_tenth_and_differently_on_each_path() {
        let jitters = |seed| (0..200).map(move |step| Seed(seed).jittered(SECOND, step));
        let mut firsts = BTreeSet::new();
        for seed in SEEDS {
            let different: BTreeSet<Duration> = jitters(seed).collect();
            assert!(different.len() > 100, "seed {seed:#x}: {} lengths", different.len());
            assert!(different.first() >= Some(&(SECOND * 9 / 10)));
            assert!(different.last() <= Some(&(SECOND * 11 / 10)));
            assert!(firsts.insert(jitters(seed).take(5).collect::<Vec<_>>()), "seed {seed:#x}");
        }
    }

    /// From the reference implementation by Vigna.
    #[test]
    fn the_finalizer_is_that_of_splitmix() {
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(mix(1_234_567), 6_457_827_717_110_365_317);
    }

    const SECOND: Duration = Duration::from_secs(1);
}
