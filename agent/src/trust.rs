//! Owns what this host believes of others between restarts: offers go through the receiver, what
//! is accepted is on disk before anybody acts on it, what is refused is remembered with its reason.
//! Judges nothing itself; `sealane-api` does.

use std::collections::BTreeMap;

use sealane_api::held::Held;
use sealane_api::kinds::{self, AdvertisementSpec, ClusterSetSpec};
use sealane_api::names::GatewayId;
use sealane_api::reason::{Dropped, Reason, Rejected, Retry};
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

/// Kind and name of an object on the broker.
pub type Key = (Kind, String);

/// One round of offers: the moment and the facts they are judged by, and what they led to.
struct Round<'f> {
    now: UnixTime,
    facts: &'f LocalFacts,
    outcome: Outcome,
}

impl<'f> Round<'f> {
    fn at(now: UnixTime, facts: &'f LocalFacts) -> Self {
        Self { now, facts, outcome: Outcome::default() }
    }
}

/// What this host believes, and what it was offered.
pub struct Trust {
    receiver: Receiver,
    store: Store,
    clusterset: Option<ClusterSetSpec>,
    offers: BTreeMap<String, AdvertisementSpec>,
    refusals: BTreeMap<Key, Refusal>,
    /// Remarks about what was accepted, by object.
    remarks: BTreeMap<String, Vec<String>>,
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
            remarks: BTreeMap::new(),
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
        let mut round = Round::at(now, facts);
        self.refusals.retain(|(of, name), _| {
            *of != kind || objects.iter().any(|object| object.name == *name)
        });
        if kind == Kind::Advertisement {
            self.offers.clear();
        }
        for object in objects {
            self.take(kind, object, &mut round);
        }
        match kind {
            Kind::ClusterSet => self.offer_clusterset(&mut round),
            Kind::Advertisement => self.offer_all(&mut round),
        }
        self.settle(round)
    }

    /// Takes one object that was written.
    pub fn written(
        &mut self,
        kind: Kind,
        object: Sighting,
        now: UnixTime,
        facts: &LocalFacts,
    ) -> Outcome {
        let mut round = Round::at(now, facts);
        let name = object.name.clone();
        if self.take(kind, object, &mut round) {
            self.offer(kind, &name, &mut round);
        }
        self.settle(round)
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
        let mut round = Round::at(now, facts);
        let sweep = self.receiver.expire(now);
        round.outcome.changed = !sweep.dropped.is_empty();
        self.note_sweep(sweep, now);
        self.offer_again(Retry::Soon, &mut round);
        self.settle(round)
    }

    /// Judges all offers once more; called when facts of this host changed.
    pub fn reconsider(&mut self, now: UnixTime, facts: &LocalFacts) -> Outcome {
        let mut round = Round::at(now, facts);
        self.offer_again(Retry::AfterChange, &mut round);
        self.settle(round)
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
    pub fn refusals(&self) -> BTreeMap<Key, Refusal> {
        let ended = self.dropped.iter().map(|(gateway, refusal)| {
            ((Kind::Advertisement, gateway.to_string()), refusal.clone())
        });
        let offered = self.refusals.iter().map(|(key, refusal)| (key.clone(), refusal.clone()));
        ended.chain(offered).collect()
    }

    /// Returns what deserves attention, in plain sentences, sorted.
    pub fn warnings(&self) -> Vec<String> {
        let remarks = self.remarks.iter().flat_map(|(object, remarks)| {
            remarks.iter().map(move |remark| format!("{object}: {remark}"))
        });
        let mut warnings: Vec<String> = remarks.collect();
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

    /// Reads an object; `false` when it cannot be offered.
    fn take(&mut self, kind: Kind, object: Sighting, round: &mut Round<'_>) -> bool {
        let name = object.name;
        if kind == Kind::ClusterSet && name != CLUSTER_SET_NAME {
            return false;
        }
        if let Some(size) = object.oversize {
            let rejected = Reason::TooLarge.about(format!("spec of {size} bytes"));
            self.offers.remove(&name);
            self.refuse((kind, name), String::new(), rejected, round);
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
        let Err(rejected) = parsed else { return true };
        self.offers.remove(&name);
        self.refuse((kind, name), claimed, rejected, round);
        false
    }

    fn offer(&mut self, kind: Kind, name: &str, round: &mut Round<'_>) {
        match kind {
            Kind::ClusterSet => self.offer_clusterset(round),
            Kind::Advertisement => self.offer_one(name, round),
        }
    }

    fn offer_clusterset(&mut self, round: &mut Round<'_>) {
        if let Some(spec) = self.clusterset.clone() {
            let verdict = self.receiver.accept_clusterset(round.now, round.facts, &spec);
            let key = (Kind::ClusterSet, CLUSTER_SET_NAME.to_owned());
            self.note(key, String::new(), verdict, round);
        }
    }

    fn offer_one(&mut self, name: &str, round: &mut Round<'_>) {
        if let Some(spec) = self.offers.get(name).cloned() {
            let offer = Offer { name, spec: &spec };
            let verdict = self.receiver.accept_advertisement(round.now, round.facts, offer);
            self.note((Kind::Advertisement, name.to_owned()), spec.member, verdict, round);
        }
    }

    fn offer_all(&mut self, round: &mut Round<'_>) {
        let specs = self.offers.clone();
        let offers: Vec<Offer<'_>> =
            specs.iter().map(|(name, spec)| Offer { name, spec }).collect();
        let verdicts = self.receiver.accept_batch(round.now, round.facts, &offers);
        for ((name, spec), verdict) in specs.iter().zip(verdicts) {
            let key = (Kind::Advertisement, name.clone());
            self.note(key, spec.member.clone(), verdict, round);
        }
    }

    fn offer_again(&mut self, when: Retry, round: &mut Round<'_>) {
        let due = |refusal: &Refusal| refusal.rejected.reason.retry() == when;
        let due = self.refusals.iter().filter(|(_, refusal)| due(refusal));
        let again: Vec<Key> = due.map(|(key, _)| key.clone()).collect();
        for (kind, name) in again {
            self.offer(kind, &name, round);
        }
    }

    fn note(&mut self, key: Key, member: String, verdict: Verdict, round: &mut Round<'_>) {
        match verdict {
            Verdict::Rejected(rejected) => self.refuse(key, member, rejected, round),
            Verdict::Accepted { warnings, dropped } => {
                round.outcome.changed = true;
                self.refusals.remove(&key);
                self.dropped.retain(|gateway, _| gateway.to_string() != key.1);
                self.remarks.insert(key.1, warnings.iter().map(ToString::to_string).collect());
                self.note_dropped(dropped, round.now);
            }
            Verdict::Unchanged | Verdict::Own(_) => drop(self.refusals.remove(&key)),
        }
    }

    fn refuse(&mut self, key: Key, member: String, rejected: Rejected, round: &mut Round<'_>) {
        let same = |held: &Refusal| held.rejected.reason == rejected.reason;
        if self.refusals.get(&key).is_some_and(same) {
            return;
        }
        tracing::warn!(object = %key.1.escape_debug(), member = %member.escape_debug(),
            reason = rejected.reason.as_str(), detail = %rejected.detail.escape_debug(),
            "object refused");
        round.outcome.refused.push((key.0, rejected.clone()));
        self.refusals.insert(key, Refusal { member, rejected, since: round.now });
    }

    fn note_sweep(&mut self, sweep: Sweep, now: UnixTime) {
        self.clock_suspect = sweep.clock_suspect;
        self.note_dropped(sweep.dropped, now);
        if let Some(rejected) = sweep.clusterset {
            let refusal = Refusal { member: String::new(), rejected, since: now };
            self.refusals.insert((Kind::ClusterSet, CLUSTER_SET_NAME.to_owned()), refusal);
        }
    }

    fn note_dropped(&mut self, dropped: Vec<Dropped>, now: UnixTime) {
        for Dropped { gateway, rejected } in dropped {
            tracing::warn!(%gateway, reason = rejected.reason.as_str(),
                "advertisement no longer believed");
            self.remarks.remove(&gateway.to_string());
            let member = gateway.member.to_string();
            self.dropped.insert(gateway, Refusal { member, rejected, since: now });
        }
    }

    /// Offers again what the changes may have made acceptable, and keeps what is believed now.
    fn settle(&mut self, mut round: Round<'_>) -> Outcome {
        if round.outcome.changed {
            self.offer_again(Retry::AfterChange, &mut round);
        }
        if round.outcome.changed || self.unsaved.is_some() {
            // Maps with text keys, strings and integers always serialise.
            let bytes = serde_json::to_vec(self.receiver.held()).unwrap_or_default();
            self.unsaved = self.store.save(FILE, &bytes).err().map(|error| error.to_string());
        }
        round.outcome
    }
}
