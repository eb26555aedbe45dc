//! Owns what this host believes of others between restarts: offers go through the receiver, what
//! is accepted is on disk before anybody acts on it, what is refused is remembered with its reason.
//! Judges nothing itself; `sealane-api` does.

use std::collections::{BTreeMap, BTreeSet};

use sealane_api::held::Held;
use sealane_api::kinds::{self, AdvertisementSpec, ClusterSetSpec};
use sealane_api::names::GatewayId;
use sealane_api::reason::{Reason, Rejected, Retry};
use sealane_api::receiver::{Offer, Receiver, Sweep, Verdict};
use sealane_api::remote::{LocalFacts, RemoteGateway};
use sealane_api::time::UnixTime;
use sealane_broker::board::{CLUSTER_SET_NAME, Kind, Sighting};
use sealane_broker::store::{Store, StoreError};
use serde_json::json;

use crate::membership::Membership;

/// The file of what is held.
const FILE: &str = "held.json";

/// An object that was refused and is still offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Member that the object claims to come from; hostile text, for display only.
    pub member: String,
    /// Why it was refused.
    pub rejected: Rejected,
    /// Since when it has been refused for this reason.
    pub since: UnixTime,
}

/// What a round of offers led to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Whether anything is believed now that was not, or the other way round.
    pub changed: bool,
    /// Refusals that are new, by kind and reason; each counts once.
    pub refused: Vec<(Kind, Rejected)>,
}

/// What this host believes, and what it was offered.
pub struct Trust {
    receiver: Receiver,
    store: Store,
    clusterset: Option<ClusterSetSpec>,
    offers: BTreeMap<String, AdvertisementSpec>,
    refusals: BTreeMap<(Kind, String), Refusal>,
    remarks: BTreeSet<String>,
    dropped: BTreeMap<GatewayId, Refusal>,
    clock_suspect: bool,
    unsaved: Option<String>,
}

/// What is held cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file is not what this program writes.
    #[error("{path}: {cause}; restore it, or remove it to learn everything again from the broker")]
    Damaged {
        /// The file.
        path: String,
        /// Where it is wrong.
        cause: String,
    },
}

impl Trust {
    /// Begins with what is on disk, verified again, or with the token's anchor alone.
    ///
    /// # Errors
    /// [`TrustError`] when the file is there and cannot be used.
    pub fn load(
        store: Store,
        membership: &Membership,
        now: UnixTime,
        facts: &LocalFacts,
    ) -> Result<Self, TrustError> {
        let anchor = membership.clusterset();
        let (receiver, sweep) = match store.load(FILE)? {
            Some(bytes) => {
                let held: Held = serde_json::from_slice(&bytes).map_err(|error| {
                    let path = store.path(FILE).display().to_string();
                    TrustError::Damaged { path, cause: error.to_string() }
                })?;
                Receiver::at_cold_start(held, now, facts)
            }
            None => (Receiver::new(anchor, membership.minimum), Sweep::default()),
        };
        let mut trust = Self {
            receiver,
            store,
            clusterset: None,
            offers: BTreeMap::new(),
            refusals: BTreeMap::new(),
            remarks: BTreeSet::new(),
            dropped: BTreeMap::new(),
            clock_suspect: false,
            unsaved: None,
        };
        trust.note_sweep(sweep, now);
        Ok(trust)
    }

    /// Forgets what is on disk.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be removed.
    pub fn remove(store: &Store) -> Result<(), StoreError> {
        store.remove(FILE)
    }

    /// Takes a whole list; objects that are missing in it are no longer offered, nothing else.
    pub fn listed(
        &mut self,
        kind: Kind,
        objects: Vec<Sighting>,
        now: UnixTime,
        facts: &LocalFacts,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        self.refusals.retain(|(of, name), _| {
            *of != kind || objects.iter().any(|object| object.name == *name)
        });
        match kind {
            Kind::ClusterSet => {
                for object in objects {
                    self.take(kind, object, now, &mut outcome);
                }
                self.offer_clusterset(now, facts, &mut outcome);
            }
            Kind::Advertisement => {
                self.offers.clear();
                for object in objects {
                    self.take(kind, object, now, &mut outcome);
                }
                self.offer_all(now, facts, &mut outcome);
            }
        }
        self.settle(now, facts, outcome)
    }

    /// Takes one object that was written.
    pub fn written(
        &mut self,
        kind: Kind,
        object: Sighting,
        now: UnixTime,
        facts: &LocalFacts,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        let name = object.name.clone();
        if self.take(kind, object, now, &mut outcome) {
            match kind {
                Kind::ClusterSet => self.offer_clusterset(now, facts, &mut outcome),
                Kind::Advertisement => self.offer_one(&name, now, facts, &mut outcome),
            }
        }
        self.settle(now, facts, outcome)
    }

    /// Notes that an object is no longer offered. That is not a statement: what is held stays.
    pub fn gone(&mut self, kind: Kind, name: &str) {
        self.refusals.remove(&(kind, name.to_owned()));
        match kind {
            Kind::ClusterSet => self.clusterset = None,
            Kind::Advertisement => drop(self.offers.remove(name)),
        }
    }

    /// Lets time pass: drops what is past hold and offers again what only the moment refused.
    pub fn tick(&mut self, now: UnixTime, facts: &LocalFacts) -> Outcome {
        let mut outcome = Outcome::default();
        let sweep = self.receiver.expire(now);
        outcome.changed = !sweep.dropped.is_empty();
        self.note_sweep(sweep, now);
        self.offer_again(Retry::Soon, now, facts, &mut outcome);
        self.settle(now, facts, outcome)
    }

    /// Judges all offers once more; called when facts of this host changed.
    pub fn reconsider(&mut self, now: UnixTime, facts: &LocalFacts) -> Outcome {
        let mut outcome = Outcome::default();
        self.offer_again(Retry::AfterChange, now, facts, &mut outcome);
        self.settle(now, facts, outcome)
    }

    /// Returns the gateways to have lanes with.
    pub fn remotes(&self, now: UnixTime, facts: &LocalFacts) -> Vec<RemoteGateway> {
        self.receiver.remotes(now, facts)
    }

    /// Returns the receiver, for reading.
    pub fn receiver(&self) -> &Receiver {
        &self.receiver
    }

    /// Returns what is refused, by kind and object name; held advertisements that a newer list or
    /// certificate ended are listed under their own names.
    pub fn refusals(&self) -> BTreeMap<(Kind, String), Refusal> {
        let ended = self.dropped.iter().map(|(gateway, refusal)| {
            ((Kind::Advertisement, gateway.to_string()), refusal.clone())
        });
        let offered = self.refusals.iter().map(|(key, refusal)| (key.clone(), refusal.clone()));
        ended.chain(offered).collect()
    }

    /// Returns what deserves attention, in plain sentences, sorted.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<String> = self.remarks.iter().cloned().collect();
        if self.clock_suspect {
            warnings.push(
                "ClockSuspect: everything held looks expired at once; check this host's clock"
                    .to_owned(),
            );
        }
        if let Some(cause) = &self.unsaved {
            warnings.push(format!("StateNotSaved: {cause}; lanes go on, nothing new is signed"));
        }
        warnings
    }

    /// Says whether what is believed is on disk.
    pub fn is_saved(&self) -> bool {
        self.unsaved.is_none()
    }

    fn take(&mut self, kind: Kind, object: Sighting, now: UnixTime, outcome: &mut Outcome) -> bool {
        let name = object.name;
        if kind == Kind::ClusterSet && name != CLUSTER_SET_NAME {
            return false;
        }
        if let Some(size) = object.oversize {
            let rejected = Reason::TooLarge.about(format!("spec of {size} bytes"));
            self.offers.remove(&name);
            self.refuse(kind, name, String::new(), rejected, now, outcome);
            return false;
        }
        let claimed = object.spec.get("member").and_then(|member| member.as_str());
        let claimed = claimed.unwrap_or_default().chars().take(63).collect::<String>();
        let whole = json!({ "spec": object.spec });
        let parsed = match kind {
            Kind::ClusterSet => kinds::spec(&whole).map(|spec| self.clusterset = Some(spec)),
            Kind::Advertisement => {
                kinds::spec(&whole).map(|spec| drop(self.offers.insert(name.clone(), spec)))
            }
        };
        match parsed {
            Ok(()) => true,
            Err(rejected) => {
                self.offers.remove(&name);
                self.refuse(kind, name, claimed, rejected, now, outcome);
                false
            }
        }
    }

    fn offer_clusterset(&mut self, now: UnixTime, facts: &LocalFacts, outcome: &mut Outcome) {
        if let Some(spec) = self.clusterset.clone() {
            let verdict = self.receiver.accept_clusterset(now, facts, &spec);
            self.note(Kind::ClusterSet, CLUSTER_SET_NAME, "", verdict, now, outcome);
        }
    }

    fn offer_one(&mut self, name: &str, now: UnixTime, facts: &LocalFacts, outcome: &mut Outcome) {
        if let Some(spec) = self.offers.get(name).cloned() {
            let offer = Offer { name, spec: &spec };
            let verdict = self.receiver.accept_advertisement(now, facts, offer);
            self.note(Kind::Advertisement, name, &spec.member, verdict, now, outcome);
        }
    }

    fn offer_all(&mut self, now: UnixTime, facts: &LocalFacts, outcome: &mut Outcome) {
        let specs = self.offers.clone();
        let offers: Vec<Offer<'_>> =
            specs.iter().map(|(name, spec)| Offer { name, spec }).collect();
        let verdicts = self.receiver.accept_batch(now, facts, &offers);
        for ((name, spec), verdict) in specs.iter().zip(verdicts) {
            self.note(Kind::Advertisement, name, &spec.member, verdict, now, outcome);
        }
    }

    fn offer_again(
        &mut self,
        when: Retry,
        now: UnixTime,
        facts: &LocalFacts,
        outcome: &mut Outcome,
    ) {
        let again: Vec<(Kind, String)> = self
            .refusals
            .iter()
            .filter(|(_, refusal)| refusal.rejected.reason.retry() == when)
            .map(|(key, _)| key.clone())
            .collect();
        for (kind, name) in again {
            match kind {
                Kind::ClusterSet => self.offer_clusterset(now, facts, outcome),
                Kind::Advertisement => self.offer_one(&name, now, facts, outcome),
            }
        }
    }

    fn note(
        &mut self,
        kind: Kind,
        name: &str,
        member: &str,
        verdict: Verdict,
        now: UnixTime,
        outcome: &mut Outcome,
    ) {
        match verdict {
            Verdict::Rejected(rejected) => {
                self.refuse(kind, name.to_owned(), member.to_owned(), rejected, now, outcome);
            }
            Verdict::Accepted { warnings, dropped } => {
                outcome.changed = true;
                self.refusals.remove(&(kind, name.to_owned()));
                self.dropped.retain(|gateway, _| gateway.to_string() != name);
                self.remarks.extend(warnings.iter().map(|warning| format!("{name}: {warning}")));
                self.note_sweep(Sweep { dropped, ..Sweep::default() }, now);
            }
            Verdict::Unchanged | Verdict::Own(_) => {
                self.refusals.remove(&(kind, name.to_owned()));
            }
        }
    }

    fn refuse(
        &mut self,
        kind: Kind,
        name: String,
        member: String,
        rejected: Rejected,
        now: UnixTime,
        outcome: &mut Outcome,
    ) {
        let key = (kind, name);
        let same = |held: &Refusal| held.rejected.reason == rejected.reason;
        if self.refusals.get(&key).is_some_and(same) {
            return;
        }
        tracing::warn!(object = %key.1, member, reason = rejected.reason.as_str(),
            detail = %rejected.detail.escape_debug(), "object refused");
        outcome.refused.push((kind, rejected.clone()));
        self.refusals.insert(key, Refusal { member, rejected, since: now });
    }

    fn note_sweep(&mut self, sweep: Sweep, now: UnixTime) {
        self.clock_suspect = sweep.clock_suspect;
        for dropped in sweep.dropped {
            tracing::warn!(gateway = %dropped.gateway, reason = dropped.rejected.reason.as_str(),
                "advertisement no longer believed");
            let member = dropped.gateway.member.to_string();
            let refusal = Refusal { member, rejected: dropped.rejected, since: now };
            self.dropped.insert(dropped.gateway, refusal);
        }
        if let Some(rejected) = sweep.clusterset {
            let refusal = Refusal { member: String::new(), rejected, since: now };
            self.refusals.insert((Kind::ClusterSet, CLUSTER_SET_NAME.to_owned()), refusal);
        }
    }

    /// Offers again what the changes may have made acceptable, and keeps what is believed now.
    fn settle(&mut self, now: UnixTime, facts: &LocalFacts, mut outcome: Outcome) -> Outcome {
        if outcome.changed {
            self.offer_again(Retry::AfterChange, now, facts, &mut outcome);
        }
        if outcome.changed || self.unsaved.is_some() {
            // Maps with text keys, strings and integers always serialise.
            let bytes = serde_json::to_vec(self.receiver.held()).unwrap_or_default();
            self.unsaved = self.store.save(FILE, &bytes).err().map(|error| error.to_string());
        }
        outcome
    }
}
