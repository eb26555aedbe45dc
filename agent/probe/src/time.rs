//! Owns `Time`, the monotonic instant every state machine here is driven by; owns no clock: the
//! shell reads one and converts.

use std::time::Duration;

/// An instant of the shell's monotonic clock.
///
/// Units: microseconds since an origin the shell chooses once per run (the start of the agent).
/// Arithmetic saturates, so a hostile or absurd value can never panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(pub u64);

impl Time {
    /// The origin.
    pub const ZERO: Time = Time(0);

    /// Converts the time elapsed since the shell's origin.
    #[must_use]
    pub fn from_origin(elapsed: Duration) -> Time {
        Time(micros(elapsed))
    }

    /// Returns the time elapsed from the shell's origin to this instant.
    #[must_use]
    pub fn since_origin(self) -> Duration {
        Duration::from_micros(self.0)
    }

    /// Returns the instant `later` after this one.
    #[must_use]
    pub fn after(self, later: Duration) -> Time {
        Time(self.0.saturating_add(micros(later)))
    }

    /// Returns how long ago `earlier` was; zero if it lies in the future.
    #[must_use]
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_counts_microseconds_and_never_wraps() {
        let at = Time::from_origin(Duration::from_millis(2));
        assert_eq!((at, at.since_origin()), (Time(2_000), Duration::from_millis(2)));
        assert_eq!(Time(u64::MAX).after(Duration::MAX), Time(u64::MAX));
        assert_eq!(Time::ZERO.since(at), Duration::ZERO);
    }
}
