//! Owns why the kernel, or the way to it, refused a request. Does not own which change asked.

use std::fmt;
use std::io;

use nix::errno::Errno;

/// A request that the kernel refused, with its own words where it gave any.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Refusal {
    /// The error number.
    pub errno: Errno,
    /// The kernel's extended acknowledgement, or ours where we refused before asking.
    pub text: Option<String>,
}

impl Refusal {
    /// Makes a refusal that the error number alone explains.
    pub fn plain(errno: Errno) -> Self {
        Self { errno, text: None }
    }

    /// Makes a refusal of our own, in the form of the kernel's.
    pub fn because(errno: Errno, text: impl Into<String>) -> Self {
        Self { errno, text: Some(text.into()) }
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(code) => Self::plain(Errno::from_raw(code)),
            None => Self::because(Errno::EIO, error.to_string()),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            Some(text) => write!(f, "{text} ({:?})", self.errno),
            None => write!(f, "{} ({:?})", self.errno.desc().to_lowercase(), self.errno),
        }
    }
}
