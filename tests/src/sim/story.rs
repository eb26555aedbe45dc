//! Owns what happened in a run, in lines that people read, with virtual times. Decides nothing.

use std::fmt;

use sealane_probe::time::Time;

/// The lines of a run, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Story {
    lines: Vec<(Time, String)>,
}

impl Story {
    /// Notes that something happened.
    pub fn tell(&mut self, now: Time, line: impl Into<String>) {
        self.lines.push((now, line.into()));
    }

    /// Returns how many lines there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Says whether nothing happened.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Says whether something happened that is told with these words.
    #[must_use]
    pub fn tells(&self, words: &str) -> bool {
        self.lines.iter().any(|(_, line)| line.contains(words))
    }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, line) in &self.lines {
            writeln!(f, "{:>9.3} s  {line}", at.since_origin().as_secs_f64())?;
        }
        Ok(())
    }
}

/// A run that broke an invariant: which, when, and everything that led there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The seed that leads there again.
    pub seed: u64,
    /// When it was found.
    pub at: Time,
    /// What is broken.
    pub broken: Broken,
    /// What happened before.
    pub story: Story,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}:", self.seed)?;
        write!(f, "{}", self.story)?;
        writeln!(f, "{:>9.3} s  BROKEN: {}", self.at.since_origin().as_secs_f64(), self.broken)?;
        write!(f, "replay: SEALANE_SIM_SEED={} cargo test -p sealane-tests --test sim", self.seed)
    }
}

/// An invariant that does not hold, with what shows it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Faults stopped long ago, and something does not work.
    #[error("does not converge: {0}")]
    Diverged(String),
    /// A prefix belongs to two at once.
    #[error("two owners: {0}")]
    TwoOwners(String),
    /// Something counts that nobody who may say it said.
    #[error("accepted what nobody signed: {0}")]
    Forged(String),
    /// A lane that both ends want lost something on the way from one state to the next.
    #[error("cut a lane that both ends want: {0}")]
    Cut(String),
    /// The simulation itself could not go on.
    #[error("the run cannot go on: {0}")]
    Stuck(String),
}
