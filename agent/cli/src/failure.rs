//! Owns how the program ends: exit codes, and the one line that says what went wrong. Decides
//! nothing about what counts as wrong; the commands do.

use std::fmt;
use std::process::ExitCode;

/// How the program ends. The numbers are documented and stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done, or all is well.
    Fine,
    /// What was asked about does not work.
    NotWorking,
    /// The arguments make no sense together; clap ends with the same number for its own.
    Usage,
    /// The agent cannot be reached.
    NoAgent,
    /// The broker cannot be reached, or refused.
    NoBroker,
    /// A file, token, key or passphrase cannot be used.
    BadInput,
}

impl Exit {
    /// Returns the number.
    pub const fn code(self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::NotWorking => 1,
            Self::Usage => 2,
            Self::NoAgent => 3,
            Self::NoBroker => 4,
            Self::BadInput => 5,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command was not carried out. `Display` is one line: what, cause, next step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Failure {
    /// How the program ends.
    pub exit: Exit,
    what: String,
    cause: String,
    next: String,
}

impl Failure {
    /// Says what was not done and why; most failures also say what to do, see [`Failure::next`].
    pub fn new(exit: Exit, what: impl fmt::Display, cause: impl fmt::Display) -> Self {
        Self { exit, what: what.to_string(), cause: cause.to_string(), next: String::new() }
    }

    /// Adds the next step.
    pub fn next(self, next: impl fmt::Display) -> Self {
        Self { next: next.to_string(), ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [&self.what, &self.cause, &self.next];
        let separators = ["", ": ", "; "];
        for (part, separator) in parts.into_iter().zip(separators) {
            if !part.is_empty() {
                write!(f, "{separator}{}", one_line(part))?;
            }
        }
        Ok(())
    }
}

/// Errors of libraries may span lines; an error of ours is one.
fn one_line(text: &str) -> String {
    crate::show::text::printable(text.trim_end_matches('.'))
}
