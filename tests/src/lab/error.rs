//! Owns what can go wrong in the lab, as one type. Owns no recovery: a lab that fails is dropped.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why the lab, or a command in it, did not do what the test asked.
///
/// Retrying helps only for [`LabError::Timeout`] and, while something converges, for
/// [`LabError::Command`]; `wait::eventually` does that.
#[derive(thiserror::Error)]
pub enum LabError {
    /// The machine refuses namespaces to this user.
    #[error(
        "namespaces: {cause}: run as root, or allow unprivileged user namespaces \
         (sysctl kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0)"
    )]
    Namespaces {
        /// What the kernel said.
        cause: io::Error,
    },
    /// A program of the workspace is not built.
    #[error("{program}: not in {}: build it with `cargo build --bins`, or set SEALANE_BIN", dir.display())]
    NotBuilt {
        /// The binary's name.
        program: String,
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// A step of building or keeping the lab.
    #[error("{step}: {cause}")]
    Step {
        /// What was being done, with the object's name.
        step: String,
        /// What the system said.
        cause: io::Error,
    },
    /// The keeper of a host refused or broke off.
    #[error("{host}: {cause}")]
    Keeper {
        /// The host.
        host: String,
        /// The keeper's own words.
        cause: String,
    },
    /// A command ended with something other than exit code 0.
    #[error("{host}: `{command}`: {outcome}: {stderr}")]
    Command {
        /// Where it ran.
        host: String,
        /// The command line.
        command: String,
        /// Exit code, signal, or time-out.
        outcome: String,
        /// What it wrote to standard error, or to standard output if that is empty.
        stderr: String,
    },
    /// Something was still not so when the deadline came.
    #[error("{what}: not after {after:?}; last: {last}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        after: Duration,
        /// The last answer.
        last: String,
    },
    /// Output that is not the JSON it should be.
    #[error("{what}: {cause}: {text}")]
    Json {
        /// Whose output.
        what: String,
        /// What the parser said.
        cause: serde_json::Error,
        /// The output.
        text: String,
    },
    /// The test asks for a topology that cannot be.
    #[error("{0}")]
    Topology(String),
}

/// As `Display`, so that the message of an `unwrap` in a test is the one for people.
impl fmt::Debug for LabError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Names the step in which an I/O error happened.
pub trait Step<T> {
    /// Wraps the error with `step`.
    fn step(self, step: impl Into<String>) -> Result<T, LabError>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step(self, step: impl Into<String>) -> Result<T, LabError> {
        self.map_err(|cause| LabError::Step { step: step.into(), cause: cause.into() })
    }
}
