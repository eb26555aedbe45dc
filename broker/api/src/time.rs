//! Points in time as every payload and every caller gives them. It reads no clock.

use serde::{Deserialize, Serialize};
use std::fmt;

/// One day in seconds.
pub const DAY_SECONDS: u64 = 86_400;
/// How long an accepted, machine-renewed object is kept after its expiry (PROTOCOL.md 5).
pub const HOLD_SECONDS: u64 = 30 * DAY_SECONDS;

/// Wall-clock time. Unit: whole seconds since 1970-01-01T00:00:00Z.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct UnixTime(pub u64);

impl UnixTime {
    /// Returns this time `seconds` later; the end of time stays the end of time.
    #[must_use]
    pub const fn plus_seconds(self, seconds: u64) -> Self {
        Self(self.0.saturating_add(seconds))
    }
}

impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
