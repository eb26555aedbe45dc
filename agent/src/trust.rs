//! Owns what this host believes of others: offers go through the receiver, what is accepted is on
//! disk before anybody acts on it, what is refused is remembered with its reason. Judges nothing
//! itself; `sealane-api` does.

pub mod board;
pub mod told;

use std::collections::{BTreeMap, BTreeSet};

use sealane_api::held::Position;
use sealane_api::kinds::AdvertisementSpec;
use sealane_api::names::ClusterId;
use sealane_api::reason::{Dropped, Rejected, Retry};
use sealane_api::receiver::{Offer, Receiver, Sweep, Verdict};
use sealane_api::remote::{LocalFacts, RemoteGateway};
use sealane_api::time::UnixTime;
use sealane_broker::board::{CLUSTER_SET_NAME, Kind, Sighting};
use sealane_broker::store::{Store, StoreError};

use crate::held_file::{HeldFile, TrustError};
use crate::membership::Membership;
use crate::offers::Offers;
use crate::refusals::{Key, Refusal, Refusals};
use crate::remarks::Remarks;
use crate::trust::board::Comparison;

/// Objects that only the moment refused, offered again in one second at most.
const MOST_AGAIN: usize = 512;
/// Rounds of offering again: one acceptance may make room for another.
const MOST_ROUNDS: u32 = 4;

/// An object that stands under this gateway's own name and is signed with its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnWord {
    /// Where it stands.
    pub position: Position,
    /// What is on the broker.
    pub spec: AdvertisementSpec,
}

/// What a round of offers led to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Whether anything is believed now that was not, or the other way round. It counts from the
    /// next [`Trust::keep`] on.
    pub changed: bool,
    /// Refusals that are new, by kind and reason; each counts once.
    pub refused: Vec<(Kind, Rejected)>,
    /// What stands under our own name, if that was offered.
    pub own: Option<OwnWord>,
}

/// One round of offers: the moment and the facts they are judged by, and what they led to.
struct Round<'f> {
    now: UnixTime,
    facts: &'f LocalFacts,
    accepted: usize,
    outcome: Outcome,
}

impl<'f> Round<'f> {
    fn at(now: UnixTime, facts: &'f LocalFacts) -> Self {
        Self { now, facts, accepted: 0, outcome: Outcome::default() }
    }
}

/// What this host believes, and what it was offered.
pub struct Trust {
    receiver: Receiver,
    file: HeldFile,
    offers: Offers,
    refusals: Refusals,
    remarks: Remarks,
    /// Where offering again goes on when it was too much for one second.
    again_from: Option<Key>,
    /// Objects of which something that peers told is refused, by the peers' member.
    told_by: BTreeMap<ClusterId, BTreeSet<Key>>,
    comparison: Comparison,
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
        let (file, held) = HeldFile::open(store, &anchor)?;
        let (receiver, sweep) = match held {
            Some(held) => Receiver::at_cold_start(held, now, facts),
            None => (Receiver::new(anchor, membership.minimum), Sweep::default()),
        };
        let mut trust = Self {
            receiver,
            file,
            offers: Offers::default(),
            refusals: Refusals::default(),
            remarks: Remarks::default(),
            again_from: None,
            told_by: BTreeMap::new(),
            comparison: Comparison::default(),
        };
        trust.note_sweep(sweep, now);
        trust.look_at_gateways(now, facts);
        Ok(trust)
    }

    /// Forgets what is on disk.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be removed.
    pub fn remove(store: &Store) -> Result<(), StoreError> {
        HeldFile::remove(store)
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
        let names: BTreeSet<String> = objects.iter().map(|object| object.name.clone()).collect();
        self.refusals.retain(kind, &names);
        self.offers.clear(kind);
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
        self.offers.remove(kind, name);
    }

    /// Lets time pass: drops what is past hold and offers again what only the moment refused.
    pub fn tick(&mut self, now: UnixTime, facts: &LocalFacts) -> Outcome {
        let mut round = Round::at(now, facts);
        let sweep = self.receiver.expire(now);
        round.outcome.changed = !sweep.dropped.is_empty();
        self.note_sweep(sweep, now);
        let held = &self.receiver.held().gateways;
        self.refusals.forget_ended(now, |gateway| held.contains_key(gateway));
        self.refusals.breathe();
        self.file.try_again();
        self.offer_soon(&mut round);
        self.settle(round)
    }

    /// Offers again what was refused for what this host knew; called when that or the clock changed.
    pub fn reconsider(&mut self, now: UnixTime, facts: &LocalFacts) -> Outcome {
        let mut round = Round::at(now, facts);
        self.offer_again(&mut round);
        self.settle(round)
    }

    /// Has the disk hold what was accepted since this was last called: once for a burst of events,
    /// and before anybody acts on any of them. Says whether more counts now than before.
    pub fn keep(&mut self, now: UnixTime, facts: &LocalFacts) -> bool {
        if !self.is_due() {
            return false;
        }
        let kept = self.file.write(self.receiver.held());
        self.look_at_gateways(now, facts);
        kept
    }

    /// Says whether [`Trust::keep`] has something to do.
    pub fn is_due(&self) -> bool {
        self.file.is_due()
    }

    /// Returns the gateways to have lanes with. What is not on disk does not count: lanes go on as
    /// the disk has them, and only end.
    pub fn remotes(&self, now: UnixTime, facts: &LocalFacts) -> Vec<RemoteGateway> {
        let believed = self.receiver.remotes(now, facts);
        if self.is_saved() {
            return believed;
        }
        believed.into_iter().filter_map(|remote| self.file.as_written(remote)).collect()
    }

    /// Takes the remarks about gateways from how they are seen now.
    pub fn remark(&mut self, remotes: &[RemoteGateway]) {
        self.remarks.on_gateways(remotes);
    }

    /// Returns the receiver, for reading.
    pub fn receiver(&self) -> &Receiver {
        &self.receiver
    }

    /// Returns what is refused, by kind and object name; held advertisements that a newer list or
    /// certificate ended are listed under their own names.
    pub fn refusals(&self) -> BTreeMap<Key, Refusal> {
        self.refusals.all()
    }

    /// Returns what deserves attention, in plain sentences, sorted.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<String> = self.remarks.sentences().collect();
        warnings.sort();
        warnings
    }

    /// Returns why what is believed is not on disk, if the disk refused it.
    pub fn unsaved(&self) -> Option<&str> {
        self.file.trouble()
    }

    /// Says whether what is believed is on disk.
    pub fn is_saved(&self) -> bool {
        self.file.is_current()
    }

    /// Reads an object; `false` when it cannot be offered.
    fn take(&mut self, kind: Kind, object: Sighting, round: &mut Round<'_>) -> bool {
        let key = (kind, object.name.clone());
        match self.offers.put(kind, object) {
            Ok(is_offered) => is_offered,
            Err(unreadable) => {
                self.refuse(key, unreadable.member, unreadable.rejected, round);
                false
            }
        }
    }

    fn offer(&mut self, kind: Kind, name: &str, round: &mut Round<'_>) {
        match kind {
            Kind::ClusterSet => self.offer_clusterset(round),
            Kind::Advertisement => self.offer_one(name, round),
        }
    }

    fn offer_clusterset(&mut self, round: &mut Round<'_>) {
        let Some(spec) = self.offers.clusterset() else { return };
        let is_first = self.receiver.clusterset().is_none();
        let verdict = self.receiver.accept_clusterset(round.now, round.facts, spec);
        if let Verdict::Accepted { warnings, .. } = &verdict {
            self.remarks.on_list(warnings);
        }
        let key = (Kind::ClusterSet, CLUSTER_SET_NAME.to_owned());
        self.note(key, String::new(), verdict, round);
        if is_first {
            self.offer_all(round);
        }
    }

    /// Before a first list nobody can be told from a stranger: advertisements wait for it.
    fn offer_one(&mut self, name: &str, round: &mut Round<'_>) {
        if self.receiver.clusterset().is_some()
            && let Some(spec) = self.offers.advertisements().get(name)
        {
            let offer = Offer { name, spec };
            let verdict = self.receiver.accept_advertisement(round.now, round.facts, offer);
            note_own(offer, &verdict, round);
            let member = spec.member.clone();
            self.note((Kind::Advertisement, name.to_owned()), member, verdict, round);
        }
    }

    /// Offers all advertisements at once; see [`Trust::offer_one`] for when they wait.
    fn offer_all(&mut self, round: &mut Round<'_>) {
        if self.receiver.clusterset().is_none() {
            return;
        }
        // Lent for the length of this call: nothing below reads or changes them.
        let lent = std::mem::take(&mut self.offers);
        let offers: Vec<Offer<'_>> =
            lent.advertisements().iter().map(|(name, spec)| Offer { name, spec }).collect();
        let verdicts = self.receiver.accept_batch(round.now, round.facts, &offers);
        for (offer, verdict) in offers.iter().zip(verdicts) {
            note_own(*offer, &verdict, round);
            let key = (Kind::Advertisement, offer.name.to_owned());
            self.note(key, offer.spec.member.clone(), verdict, round);
        }
        self.offers = lent;
    }

    /// Offers again what was refused for what else was believed, until nothing follows any more.
    fn offer_again(&mut self, round: &mut Round<'_>) {
        for _ in 0..MOST_ROUNDS {
            let before = round.accepted;
            let due = self.refusals.picked(|reason| reason.retry() == Retry::AfterChange);
            for (kind, name) in due {
                self.offer(kind, &name, round);
            }
            if round.accepted == before {
                return;
            }
        }
    }

    /// Offers again what only the moment refused: a share of it, and the next share a second later.
    fn offer_soon(&mut self, round: &mut Round<'_>) {
        let mut due = self.refusals.picked(|reason| reason.retry() == Retry::Soon);
        let first = self.again_from.take();
        let first = first.map_or(0, |from| due.partition_point(|key| *key < from));
        let all = due.len();
        // Past the last key there is nothing: the turn begins anew.
        due.rotate_left(if first < all { first } else { 0 });
        self.again_from = due.get(MOST_AGAIN).cloned();
        for (kind, name) in due.into_iter().take(MOST_AGAIN) {
            self.offer(kind, &name, round);
        }
    }

    fn note(&mut self, key: Key, member: String, verdict: Verdict, round: &mut Round<'_>) {
        match verdict {
            Verdict::Rejected(rejected) => self.refuse(key, member, rejected, round),
            Verdict::Accepted { dropped, .. } => {
                round.outcome.changed = true;
                round.accepted += 1;
                self.refusals.believed(&key);
                self.refusals.resumed(&key.1);
                self.outdate_told(&key);
                self.note_dropped(dropped, round.now);
            }
            Verdict::Unchanged | Verdict::Own(_) => self.refusals.believed(&key),
        }
    }

    fn refuse(&mut self, key: Key, member: String, rejected: Rejected, round: &mut Round<'_>) {
        let kind = key.0;
        let refusal = Refusal { member, rejected: rejected.clone(), since: round.now };
        if self.refusals.note(key, refusal) {
            round.outcome.refused.push((kind, rejected));
        }
    }

    fn note_sweep(&mut self, sweep: Sweep, now: UnixTime) {
        self.remarks.on_clock(sweep.clock_suspect);
        self.note_dropped(sweep.dropped, now);
        if let Some(rejected) = sweep.clusterset {
            let refusal = Refusal { member: String::new(), rejected, since: now };
            self.refusals.note((Kind::ClusterSet, CLUSTER_SET_NAME.to_owned()), refusal);
        }
    }

    fn note_dropped(&mut self, dropped: Vec<Dropped>, now: UnixTime) {
        for ended in dropped {
            self.remarks.remove(&ended.gateway);
            self.refusals.note_ended(ended, now);
        }
    }

    /// Offers again what the changes may have made acceptable; what is believed now is to be kept.
    fn settle(&mut self, mut round: Round<'_>) -> Outcome {
        if round.outcome.changed {
            self.offer_again(&mut round);
            self.file.lags();
        }
        round.outcome
    }

    fn look_at_gateways(&mut self, now: UnixTime, facts: &LocalFacts) {
        let remotes = self.receiver.remotes(now, facts);
        self.remark(&remotes);
        if self.is_saved() {
            self.file.remember(remotes);
        }
    }
}

/// Notes what stands under our own name; a sound object of our member under another name is none.
fn note_own(offer: Offer<'_>, verdict: &Verdict, round: &mut Round<'_>) {
    if let Verdict::Own(position) = verdict
        && offer.name == round.facts.own.to_string()
    {
        round.outcome.own = Some(OwnWord { position: *position, spec: offer.spec.clone() });
    }
}
