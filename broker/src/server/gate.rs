//! Owns the question whether an offered `ClusterSet` may replace the held one, as a trait.
//! Does not own the answer: signatures and positions are checked by whoever implements it.

use sealane_api::reason::Reason;
use serde_json::Value;

/// What is asked of a gate.
#[derive(Debug, Clone, Copy)]
pub struct Offer<'a> {
    /// The clusterset id this namespace is bound to; `None` before the first accepted set.
    pub anchor: Option<&'a str>,
    /// `spec` of the highest set ever accepted here, also when its object was deleted since.
    pub held: Option<&'a Value>,
    /// `spec` as offered.
    pub offered: &'a Value,
    /// Unix seconds.
    pub now: u64,
}

/// An offer that may be stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Admission {
    /// The clusterset id of the offered set.
    pub anchor: String,
    /// Whether it is newer than the held one or the same.
    pub news: News,
    /// `view` to store, from the signed bytes; `None` keeps the offered one.
    pub view: Option<Value>,
}

/// How an admitted set compares with the held one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// Replaces what is held.
    Newer,
    /// The very same signed bytes.
    Unchanged,
}

/// An offer that may not be stored; retrying helps only after `reason` is gone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct Refusal {
    /// Typed reason, such as `ClusterSetRolledBack`.
    pub reason: String,
    /// What differs, for people.
    pub message: String,
}

impl Refusal {
    /// Says whether the set is on the other side of a fork of root links.
    #[must_use]
    pub fn is_link_fork(&self) -> bool {
        self.reason == Reason::LinkFork.as_str()
    }
}

/// Decides about every write of a `ClusterSet`, whoever sends it.
pub trait ClusterSetGate: Send + Sync + 'static {
    /// Judges one offer.
    ///
    /// # Errors
    /// A [`Refusal`] when the set is malformed, forged, foreign, older than the held one, or
    /// differs from it at the same position.
    fn judge(&self, offer: &Offer<'_>) -> Result<Admission, Refusal>;
}

impl<F> ClusterSetGate for F
where
    F: Fn(&Offer<'_>) -> Result<Admission, Refusal> + Send + Sync + 'static,
{
    fn judge(&self, offer: &Offer<'_>) -> Result<Admission, Refusal> {
        self(offer)
    }
}
