//! How often one gateway or service may say something else: a burst, then one word a second, so that no
//! member sets every host's disk and planner going. It remembers words of the last seconds and judges none.

use crate::reason::{Reason, Rejected};
use crate::time::UnixTime;
use std::collections::BTreeMap;

/// Words under one name that are taken in a row; one more for each second that passed.
pub const BURST: u64 = 5;

/// How much was said lately, by name.
#[derive(Clone, Debug)]
pub struct Pace<Id> {
    said: BTreeMap<Id, Said>,
}

impl<Id> Default for Pace<Id> {
    fn default() -> Self {
        Self { said: BTreeMap::new() }
    }
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

impl<Id: Ord + Clone> Pace<Id> {
    /// Says whether something else may be said under `name` now.
    ///
    /// # Errors
    /// `RateLimited`; a second later it may.
    pub fn allows(&self, name: &Id, now: UnixTime) -> Result<(), Rejected> {
        let words = self.said.get(name).map_or(0, |said| said.left(now));
        if words < BURST { Ok(()) } else { Err(Reason::RateLimited.about("words under one name")) }
    }

    /// Takes that a word under `name` was accepted.
    pub fn took(&mut self, name: &Id, now: UnixTime) {
        self.said.retain(|_, said| said.left(now) > 0);
        let words = self.said.get(name).map_or(0, |said| said.left(now));
        self.said.insert(name.clone(), Said { words: words + 1, at: now });
    }
}
