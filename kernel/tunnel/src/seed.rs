//! Owns the stream of unpredictable numbers that the engine needs (indices, jitter, cookie secrets),
//! drawn from one seed that the caller gives. Is no source of keys.

use std::time::Duration;

use blake2::Blake2sMac256;
use blake2::digest::{KeyInit, Mac};
use zeroize::Zeroizing;

/// A deterministic generator: keyed BLAKE2s over a counter.
pub struct Seed {
    key: Zeroizing<[u8; 32]>,
    drawn: u64,
}

impl Seed {
    /// A generator from 32 bytes that nobody else knows.
    #[must_use]
    pub fn new(key: Zeroizing<[u8; 32]>) -> Self {
        Self { key, drawn: 0 }
    }

    /// The next 32 bytes.
    pub fn draw(&mut self) -> Zeroizing<[u8; 32]> {
        self.drawn += 1;
        let mut mac = <Blake2sMac256 as KeyInit>::new(&(*self.key).into());
        mac.update(&self.drawn.to_le_bytes());
        Zeroizing::new(mac.finalize().into_bytes().into())
    }

    /// A generator of its own, for a part that must not share this one.
    pub fn fork(&mut self) -> Self {
        Self::new(self.draw())
    }

    /// The next number.
    pub fn number(&mut self) -> u32 {
        let bytes = self.draw();
        u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }

    /// A delay in `0..=most`, in milliseconds.
    pub fn jitter(&mut self, most: Duration) -> Duration {
        let span = u32::try_from(most.as_millis()).unwrap_or(u32::MAX - 1);
        Duration::from_millis(u64::from(self.number() % (span + 1)))
    }
}
