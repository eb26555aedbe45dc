//! Owns the wall clock as the agent reads it, and the notice that it was set: what it says is compared
//! with what should have passed. Does not set it.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A smaller difference is drift, or a second that was rounded.
const STEP_SECONDS: u64 = 5;

/// A wall clock, in Unix seconds.
#[derive(Clone)]
pub struct Wall(Arc<dyn Fn() -> u64 + Send + Sync>);

impl Wall {
    /// The system's; 0 before 1970.
    pub fn of_system() -> Self {
        Self::reading(|| {
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
        })
    }

    /// A clock that shows what `read` returns.
    pub fn reading(read: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// Returns what it shows.
    pub fn now(&self) -> u64 {
        (self.0)()
    }
}

/// Both clocks, as last read.
pub struct Clock {
    steady: Instant,
    wall: u64,
}

impl Clock {
    /// Begins with both clocks as they are; `wall` in Unix seconds.
    pub fn at(steady: Instant, wall: u64) -> Self {
        Self { steady, wall }
    }

    /// Says whether the wall clock was set, either way, since this was last asked.
    pub fn was_set(&mut self, steady: Instant, wall: u64) -> bool {
        let passed = steady.saturating_duration_since(self.steady).as_secs();
        let expected = self.wall.saturating_add(passed);
        *self = Self { steady, wall };
        expected.abs_diff(wall) > STEP_SECONDS
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_clock_that_is_set_forth_or_back_is_noticed_once() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut clock = Clock::at(start, 1_000);
        assert!(!clock.was_set(after(60), 1_061));
        assert!(clock.was_set(after(61), 1));
        assert!(!clock.was_set(after(62), 2));
        assert!(clock.was_set(after(63), 1_800_000_000));
        assert!(!clock.was_set(after(64), 1_800_000_001));
    }
}
