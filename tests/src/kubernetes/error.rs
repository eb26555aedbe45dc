//! Owns why a broker on this machine's loopback cannot be had or asked. Owns no recovery: the test fails.

use std::io;

use sealane_broker::access::AccessError;
use sealane_broker::account::AccountError;

use crate::assets::program::AssetError;
use crate::lab::error::LabError;

/// Why a board is not there, or did not do what was asked. Trying again helps only for
/// [`BoardError::Refused`], while something converges.
#[derive(Debug, thiserror::Error)]
pub enum BoardError {
    /// A program of others cannot be had.
    #[error(transparent)]
    Asset(#[from] AssetError),
    /// Something did not come about in time, or a program of ours is not built.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// A file or a program of this machine.
    #[error("{what}: {cause}")]
    System {
        /// What was being done.
        what: String,
        /// What the system said.
        cause: io::Error,
    },
    /// A program ended that should run.
    #[error("it ended: {said}")]
    Ended {
        /// Its log.
        said: String,
    },
    /// A command ended with another code than 0.
    #[error("{said}")]
    Refused {
        /// Its words.
        said: String,
    },
    /// What was said is not what it should be.
    #[error("{what}: {said}")]
    Unreadable {
        /// What was looked for.
        what: &'static str,
        /// What was there instead.
        said: String,
    },
    /// The API server has no keys.
    #[error("keys of the API server: {0}")]
    Keys(#[from] rcgen::Error),
    /// The broker cannot be tried.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The broker gives no account.
    #[error(transparent)]
    Account(#[from] AccountError),
}

impl BoardError {
    /// Names what was being done when the system refused.
    pub fn at(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |cause| Self::System { what, cause }
    }

    /// Names what was looked for and not found.
    pub fn unreadable(what: &'static str, said: impl ToString) -> Self {
        Self::Unreadable { what, said: said.to_string() }
    }
}
