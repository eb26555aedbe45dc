//! Owns the one form in which the admin socket says no: [`ErrorDocument`].

use serde::{Deserialize, Serialize};

/// Why a request was not answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorDocument {
    /// What was not done.
    pub message: String,
    /// Why.
    pub cause: String,
    /// What to do about it.
    pub next: String,
}
