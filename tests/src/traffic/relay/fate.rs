//! Owns what becomes of each packet, as a pure function of the seed and the packet's number.

use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

/// What a direction does to packets. Shares are of one: 0.1 is every tenth.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Impairment {
    /// Share of packets lost.
    pub loss: f64,
    /// How long every packet takes.
    pub delay: Duration,
    /// Added to the delay, evenly spread from zero to this; more than the gap between packets reorders.
    pub jitter: Duration,
    /// Share of packets held back by `held`, so that later ones overtake them.
    pub reorder: f64,
    /// How long packets that reorder picks are held back.
    pub held: Duration,
    /// Share of packets that arrive twice.
    pub duplicate: f64,
}

impl Impairment {
    /// Nothing happens to any packet.
    pub const NONE: Self = Self {
        loss: 0.0,
        delay: Duration::ZERO,
        jitter: Duration::ZERO,
        reorder: 0.0,
        held: Duration::from_millis(10),
        duplicate: 0.0,
    };
}

/// What becomes of one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fate {
    /// How many times it arrives: 0, 1 or 2.
    pub copies: u8,
    /// After how long.
    pub after: Duration,
}

/// The fates of one direction's packets, in their order. The generator is one whose numbers stay the
/// same over versions, so a seed written in a test stays the same test.
#[derive(Debug)]
pub struct Fates {
    random: Xoshiro256PlusPlus,
    impairment: Impairment,
}

impl Fates {
    /// The fates that `seed` decides.
    pub fn new(seed: u64, impairment: Impairment) -> Self {
        Self { random: Xoshiro256PlusPlus::seed_from_u64(seed), impairment }
    }

    /// Of the next packet.
    pub fn next_fate(&mut self) -> Fate {
        let Impairment { loss, delay, jitter, reorder, held, duplicate } = self.impairment;
        // Always four draws, so that one setting does not shift what the others decide.
        let [lost, late, overtaken, doubled]: [f64; 4] = self.random.random();
        let hold = if overtaken < reorder { held } else { Duration::ZERO };
        let copies = if lost < loss { 0 } else { 1 + u8::from(doubled < duplicate) };
        Fate { copies, after: delay + jitter.mul_f64(late) + hold }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fates(seed: u64, impairment: Impairment) -> Vec<Fate> {
        let mut fates = Fates::new(seed, impairment);
        (0..10_000).map(|_| fates.next_fate()).collect()
    }

    #[test]
    fn a_seed_decides_every_fate() {
        let rough = Impairment { loss: 0.1, duplicate: 0.1, reorder: 0.1, ..Impairment::NONE };
        assert_eq!(fates(7, rough), fates(7, rough));
        assert_ne!(fates(7, rough), fates(8, rough));
    }

    #[test]
    fn about_the_asked_share_is_lost_and_the_same_packets_whatever_else_is_asked() {
        let lossy = Impairment { loss: 0.2, ..Impairment::NONE };
        let worse = Impairment { jitter: Duration::from_millis(9), duplicate: 0.5, ..lossy };
        let lost = |all: Vec<Fate>| all.iter().map(|fate| fate.copies == 0).collect::<Vec<_>>();
        let (plain, other) = (lost(fates(3, lossy)), lost(fates(3, worse)));
        assert_eq!(plain, other);
        let count = plain.iter().filter(|lost| **lost).count();
        assert!((1_900..2_100).contains(&count), "{count}");
    }

    #[test]
    fn nothing_asked_nothing_done() {
        let unharmed = Fate { copies: 1, after: Duration::ZERO };
        assert!(fates(1, Impairment::NONE).iter().all(|fate| *fate == unharmed));
    }
}
