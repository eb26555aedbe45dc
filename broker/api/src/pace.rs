//! How often one gateway may say something else: a burst, then one word a second, so that no member
//! sets every host's disk and planner going. It remembers words of the last seconds and judges none.

use crate::names::GatewayId;
use crate::reason::{Reason, Rejected};
use crate::time::UnixTime;
use std::collections::BTreeMap;

/// Words of one gateway that are taken in a row; one more for each second that passed.
pub const BURST: u64 = 5;

/// What gateways said lately.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    said: BTreeMap<GatewayId, Said>,
}

#[derive(Clone, Copy, Debug)]
struct Said {
    words: u64,
    at: UnixTime,
}

impl Said {
    /// Words that still count at `now`. A clock that was set back forgets nothing.
    fn left(self, now: UnixTime) -> u64 {
        self.words.saturating_sub(now.0.saturating_sub(self.at.0))
    }
}

impl Pace {
    /// Says whether `gateway` may say something else now.
    ///
    /// # Errors
    /// `RateLimited`; a second later it may.
    pub fn allows(&self, gateway: &GatewayId, now: UnixTime) -> Result<(), Rejected> {
        let words = self.said.get(gateway).map_or(0, |said| said.left(now));
        if words < BURST { Ok(()) } else { Err(Reason::RateLimited.about("words of a gateway")) }
    }

    /// Takes that a word of `gateway` was accepted.
    pub fn took(&mut self, gateway: &GatewayId, now: UnixTime) {
        self.said.retain(|_, said| said.left(now) > 0);
        let words = self.said.get(gateway).map_or(0, |said| said.left(now));
        self.said.insert(gateway.clone(), Said { words: words + 1, at: now });
    }
}
