//! Owns how long nothing was heard of the hand, and when that is too long. Does not know what holds it,
//! nor who is told.

use std::time::{Duration, Instant};

/// The hand looks at the host every 10 s, and nothing that it asks may take longer than some seconds.
const LONGEST: Duration = Duration::from_secs(60);

/// A watch over the hand.
#[derive(Debug, Clone, Copy)]
pub struct Vigil {
    heard: Instant,
    is_told: bool,
}

impl Vigil {
    /// One that begins.
    pub fn from(now: Instant) -> Self {
        Self { heard: now, is_told: false }
    }

    /// Takes the end of a pass, whatever came of it.
    pub fn heard(&mut self, now: Instant) {
        *self = Self::from(now);
    }

    /// Returns for how long nothing was heard, once that is too long.
    pub fn silence(&self, now: Instant) -> Option<Duration> {
        Some(now.saturating_duration_since(self.heard)).filter(|silence| *silence >= LONGEST)
    }

    /// As [`Vigil::silence`], once for each silence.
    pub fn new_silence(&mut self, now: Instant) -> Option<Duration> {
        let silence = self.silence(now).filter(|_| !self.is_told)?;
        self.is_told = true;
        Some(silence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hand_is_silent_a_minute_after_its_last_pass_and_until_the_next() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut vigil = Vigil::from(start);
        assert_eq!(vigil.silence(at(59)), None);
        assert_eq!(vigil.silence(at(61)), Some(Duration::from_secs(61)));
        assert_eq!(vigil.new_silence(at(61)), Some(Duration::from_secs(61)));
        assert_eq!(vigil.new_silence(at(63)), None, "it is told once");
        vigil.heard(at(62));
        assert_eq!(vigil.new_silence(at(63)), None);
        assert_eq!(vigil.silence(at(121)), None);
        assert_eq!(vigil.silence(at(122)), Some(LONGEST));
        assert_eq!(vigil.new_silence(at(122)), Some(LONGEST));
    }
}
