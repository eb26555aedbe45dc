//! Owns the least time between two doings of one thing: the first is done at once, the next waits. Does
//! not own the thing.

use std::time::{Duration, Instant};

/// When something was done last, and how long it rests then.
#[derive(Debug, Clone, Copy)]
pub struct Spacing {
    least: Duration,
    last: Option<Instant>,
}

impl Spacing {
    /// Nothing was done yet.
    pub const fn of(least: Duration) -> Self {
        Self { least, last: None }
    }

    /// Returns from when on it may be done; `None` when at any time.
    pub fn until(&self) -> Option<Instant> {
        self.last.map(|at| at + self.least)
    }

    /// Says whether it may be done at `now`, and notes that it is if so.
    pub fn grants(&mut self, now: Instant) -> bool {
        let grants = self.until().is_none_or(|until| now >= until);
        if grants {
            self.last = Some(now);
        }
        grants
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_done_at_once_and_then_one_each_time() {
        let mut spacing = Spacing::of(Duration::from_millis(200));
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let done = (0..1_000).filter(|millis| spacing.grants(at(*millis))).count();
        assert_eq!((done, spacing.until()), (5, Some(at(1_000))));
    }
}
