//! Owns the clock of the tunnel: boot time, which goes on while the machine sleeps, as boringtun's.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};
use sealane_tunnel::uptime::Uptime;

/// Counts from the moment it was made.
pub struct Clock {
    start: Duration,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self { start: boot_time() }
    }

    /// The time since the start.
    #[must_use]
    pub fn now(&self) -> Uptime {
        Uptime::new(boot_time().saturating_sub(self.start))
    }

    /// The Unix time of the start, by what the wall clock says now.
    #[must_use]
    pub fn epoch(&self) -> Duration {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        wall.saturating_sub(self.now().elapsed())
    }
}

fn boot_time() -> Duration {
    // The clock exists on every kernel we run on; a constant clock would only stop timers.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default()
}
