//! One host's belief about the others: the way in for objects, the way out for plans. It reads no
//! clock and writes no disk. The verdicts are not here yet: every object is refused.
use crate::clusterset::{ClusterSet, ListPosition};
use crate::held::Held;
use crate::kinds::{AdvertisementSpec, ClusterSetSpec};
use crate::names::ClusterSetId;
use crate::reason::{Dropped, Reason, Rejected, Warning};
use crate::remote::{LocalFacts, RemoteGateway};
use crate::time::UnixTime;

/// What came of an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is believed now. Persist [`Receiver::held`] before acting on it.
    Accepted {
        /// Remarks about it.
        warnings: Vec<Warning>,
        /// Held advertisements that it ended.
        dropped: Vec<Dropped>,
    },
    /// These bytes are believed already.
    Unchanged,
    /// A sound advertisement of this host's own member; not a peer.
    Own,
    /// It is refused; what was held is untouched.
    Rejected(Rejected),
}

/// An Advertisement as a broker serves it.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// `metadata.name`.
    pub name: &'a str,
    /// `spec`; see [`crate::kinds::spec`].
    pub spec: &'a AdvertisementSpec,
}

/// What became of held objects when time passed or a host started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// Advertisements no longer believed.
    pub dropped: Vec<Dropped>,
    /// Every held advertisement is past hold: the clock is to blame, nothing was dropped.
    pub clock_suspect: bool,
    /// Why the held ClusterSet could not be believed at start, when it could not.
    pub clusterset: Option<Rejected>,
}

/// One host's belief: the persisted state, and what is derived from it.
pub struct Receiver {
    held: Held,
}

impl Receiver {
    /// Begins with nothing but the token's anchor and minimum.
    #[must_use]
    pub fn new(anchor: ClusterSetId, minimum: ListPosition) -> Self {
        Self { held: Held::new(anchor, minimum) }
    }

    /// Begins from disk: everything is verified again, expiry judged by hold.
    #[must_use]
    pub fn at_cold_start(held: Held, _now: UnixTime, _facts: &LocalFacts) -> (Self, Sweep) {
        (Self { held }, Sweep::default())
    }

    /// Judges a ClusterSet (TRUST.md 4.1).
    pub fn accept_clusterset(
        &mut self,
        _now: UnixTime,
        _facts: &LocalFacts,
        _spec: &ClusterSetSpec,
    ) -> Verdict {
        Verdict::Rejected(Reason::Malformed.into())
    }

    /// Judges one Advertisement (TRUST.md 4.2).
    pub fn accept_advertisement(
        &mut self,
        _now: UnixTime,
        _facts: &LocalFacts,
        _offer: Offer<'_>,
    ) -> Verdict {
        Verdict::Rejected(Reason::Malformed.into())
    }

    /// Judges a whole list at once (first list, relist). Shape: one verdict per offer, same order.
    pub fn accept_batch(
        &mut self,
        now: UnixTime,
        facts: &LocalFacts,
        offers: &[Offer<'_>],
    ) -> Vec<Verdict> {
        offers.iter().map(|offer| self.accept_advertisement(now, facts, *offer)).collect()
    }

    /// Drops what is past hold. Call it now and then, and persist when it dropped something.
    pub fn expire(&mut self, _now: UnixTime) -> Sweep {
        Sweep::default()
    }

    /// Returns every remote gateway to have lanes with. Shape: sorted by id; none of the own member.
    #[must_use]
    pub fn remotes(&self, _now: UnixTime, _facts: &LocalFacts) -> Vec<RemoteGateway> {
        Vec::new()
    }

    /// Returns the list in force.
    #[must_use]
    pub fn clusterset(&self) -> Option<&ClusterSet> {
        None
    }

    /// Returns what to persist.
    #[must_use]
    pub fn held(&self) -> &Held {
        &self.held
    }
}
