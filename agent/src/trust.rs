//! Owns what this host believes of others between restarts: offers go through the receiver, what
//! is accepted is on disk before anybody acts on it, what is refused is remembered with its reason.
//! Judges nothing itself; `sealane-api` does.

use std::collections::{BTreeMap, BTreeSet};

use sealane_api::held::{Held, Position};
use sealane_api::kinds::{self, AdvertisementSpec, ClusterSetSpec};
use sealane_api::names::GatewayId;
use sealane_api::reason::{Dropped, Reason, Rejected, Retry, Warning};
use sealane_api::receiver::{Offer, Receiver, Sweep, Verdict};
use sealane_api::remote::{LocalFacts, RemoteGateway};
use sealane_api::time::{DAY_SECONDS, UnixTime};
use sealane_broker::board::{CLUSTER_SET_NAME, Kind, Sighting};
use sealane_broker::store::{Store, StoreError};
use serde_json::json;

use crate::membership::Membership;
use crate::refusals::{Key, Refusal, Refusals};

/// The file of what is held.
const FILE: &str = "held.json";

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
    /// Whether anything is believed now that was not, or the other way round.
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
    store: Store,
    clusterset: Option<ClusterSetSpec>,
    offers: BTreeMap<String, AdvertisementSpec>,
    refusals: Refusals,
    /// Where offering again goes on when it was too much for one second.
    again_from: Option<Key>,
    /// Remarks about the list and about what is believed of gateways, by object.
    list_remarks: Vec<String>,
    remarks: BTreeMap<GatewayId, Vec<String>>,
    dropped: BTreeMap<GatewayId, Refusal>,
    /// Gateways as the disk has them: nothing newer counts while it cannot be written.
    on_disk: BTreeMap<GatewayId, RemoteGateway>,
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
    /// The file was written for another clusterset.
    #[error("{path}: of clusterset {held}, but this host joined {joined}; remove it")]
    Foreign {
        /// The file.
        path: String,
        /// Whose it is.
        held: String,
        /// Whose it should be.
        joined: String,
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
                if held.anchor != anchor {
                    let path = store.path(FILE).display().to_string();
                    let (held, joined) = (held.anchor.to_string(), anchor.to_string());
                    return Err(TrustError::Foreign { path, held, joined });
                }
                Receiver::at_cold_start(held, now, facts)
            }
            None => (Receiver::new(anchor, membership.minimum), Sweep::default()),
        };
        let mut trust = Self {
            receiver,
            store,
            clusterset: None,
            offers: BTreeMap::new(),
            refusals: Refusals::default(),
            again_from: None,
            list_remarks: Vec::new(),
            remarks: BTreeMap::new(),
            dropped: BTreeMap::new(),
            on_disk: BTreeMap::new(),
            clock_suspect: false,
            unsaved: None,
        };
        trust.note_sweep(sweep, now);
        trust.keep_in_mind(now, facts);
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
        let names: BTreeSet<String> = objects.iter().map(|object| object.name.clone()).collect();
        self.refusals.retain(kind, &names);
        match kind {
            Kind::ClusterSet => self.clusterset = None,
            Kind::Advertisement => self.offers.clear(),
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
        if kind == Kind::Advertisement || name == CLUSTER_SET_NAME {
            self.unoffer(kind, name);
        }
    }

    /// Lets time pass: drops what is past hold and offers again what only the moment refused.
    pub fn tick(&mut self, now: UnixTime, facts: &LocalFacts) -> Outcome {
        let mut round = Round::at(now, facts);
        let sweep = self.receiver.expire(now);
        round.outcome.changed = !sweep.dropped.is_empty();
        self.note_sweep(sweep, now);
        self.forget_ended(now);
        self.refusals.breathe();
        self.offer_soon(&mut round);
        self.settle(round)
    }

    /// Offers again what was refused for what this host knew; called when that or the clock changed.
    pub fn reconsider(&mut self, now: UnixTime, facts: &LocalFacts) -> Outcome {
        let mut round = Round::at(now, facts);
        self.offer_again(&mut round);
        self.settle(round)
    }

    /// Returns the gateways to have lanes with. While nothing can be written, nothing new counts:
    /// lanes go on as the disk has them, and only end.
    pub fn remotes(&self, now: UnixTime, facts: &LocalFacts) -> Vec<RemoteGateway> {
        let believed = self.receiver.remotes(now, facts);
        if self.is_saved() {
            return believed;
        }
        let position =
            |remote: &RemoteGateway| (remote.identity, remote.generation, remote.sequence);
        let as_on_disk = |remote: RemoteGateway| {
            let kept = self.on_disk.get(&remote.id)?;
            Some(if position(kept) == position(&remote) { remote } else { kept.clone() })
        };
        believed.into_iter().filter_map(as_on_disk).collect()
    }

    /// Takes the remarks about gateways from how they are seen now.
    pub fn remark(&mut self, remotes: &[RemoteGateway]) {
        let texts =
            |remote: &RemoteGateway| remote.warnings.iter().map(Warning::to_string).collect();
        let odd = remotes.iter().filter(|remote| !remote.warnings.is_empty());
        self.remarks = odd.map(|remote| (remote.id.clone(), texts(remote))).collect();
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
        let offered = self.refusals.standing().iter();
        ended.chain(offered.map(|(key, refusal)| (key.clone(), refusal.clone()))).collect()
    }

    /// Returns what deserves attention, in plain sentences, sorted.
    pub fn warnings(&self) -> Vec<String> {
        let list = self.list_remarks.iter().map(|remark| format!("{CLUSTER_SET_NAME}: {remark}"));
        let gateways = self.remarks.iter().flat_map(|(gateway, remarks)| {
            remarks.iter().map(move |remark| format!("{gateway}: {remark}"))
        });
        let mut warnings: Vec<String> = list.chain(gateways).collect();
        if self.clock_suspect {
            warnings.push(
                "ClockSuspect: everything held looks expired at once; check this host's clock"
                    .to_owned(),
            );
        }
        if let Some(cause) = &self.unsaved {
            warnings.push(format!("StateNotSaved: {cause}; lanes go on, nothing new is signed"));
        }
        warnings.sort();
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
            self.unoffer(kind, &name);
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
        self.unoffer(kind, &name);
        self.refuse((kind, name), claimed, rejected, round);
        false
    }

    fn unoffer(&mut self, kind: Kind, name: &str) {
        match kind {
            Kind::ClusterSet => self.clusterset = None,
            Kind::Advertisement => drop(self.offers.remove(name)),
        }
    }

    fn offer(&mut self, kind: Kind, name: &str, round: &mut Round<'_>) {
        match kind {
            Kind::ClusterSet => self.offer_clusterset(round),
            Kind::Advertisement => self.offer_one(name, round),
        }
    }

    fn offer_clusterset(&mut self, round: &mut Round<'_>) {
        let Some(spec) = &self.clusterset else { return };
        let verdict = self.receiver.accept_clusterset(round.now, round.facts, spec);
        if let Verdict::Accepted { warnings, .. } = &verdict {
            // Whether the pinned identity is ours is a problem that stands, and told as such.
            let remarks = warnings.iter().filter(|it| **it != Warning::IdentityNotOurs);
            self.list_remarks = remarks.map(ToString::to_string).collect();
        }
        let key = (Kind::ClusterSet, CLUSTER_SET_NAME.to_owned());
        self.note(key, String::new(), verdict, round);
    }

    fn offer_one(&mut self, name: &str, round: &mut Round<'_>) {
        if let Some(spec) = self.offers.get(name) {
            let offer = Offer { name, spec };
            let verdict = self.receiver.accept_advertisement(round.now, round.facts, offer);
            note_own(offer, &verdict, round);
            let member = spec.member.clone();
            self.note((Kind::Advertisement, name.to_owned()), member, verdict, round);
        }
    }

    fn offer_all(&mut self, round: &mut Round<'_>) {
        // Lent for the length of this call: nothing below reads or changes them.
        let specs = std::mem::take(&mut self.offers);
        let offers: Vec<Offer<'_>> =
            specs.iter().map(|(name, spec)| Offer { name, spec }).collect();
        let verdicts = self.receiver.accept_batch(round.now, round.facts, &offers);
        for (offer, verdict) in offers.iter().zip(verdicts) {
            note_own(*offer, &verdict, round);
            let key = (Kind::Advertisement, offer.name.to_owned());
            self.note(key, offer.spec.member.clone(), verdict, round);
        }
        self.offers = specs;
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
                self.dropped.retain(|gateway, _| gateway.to_string() != key.1);
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
        self.clock_suspect = sweep.clock_suspect;
        self.note_dropped(sweep.dropped, now);
        if let Some(rejected) = sweep.clusterset {
            let refusal = Refusal { member: String::new(), rejected, since: now };
            self.refusals.note((Kind::ClusterSet, CLUSTER_SET_NAME.to_owned()), refusal);
        }
    }

    /// Stops telling of gateways that ended a day ago and cannot come back by a replay.
    fn forget_ended(&mut self, now: UnixTime) {
        let held = &self.receiver.held().gateways;
        self.dropped.retain(|gateway, refusal| {
            held.contains_key(gateway) || now < refusal.since.plus_seconds(DAY_SECONDS)
        });
    }

    fn note_dropped(&mut self, dropped: Vec<Dropped>, now: UnixTime) {
        for Dropped { gateway, rejected } in dropped {
            tracing::warn!(%gateway, reason = rejected.reason.as_str(),
                "advertisement no longer believed");
            self.remarks.remove(&gateway);
            let member = gateway.member.to_string();
            self.dropped.insert(gateway, Refusal { member, rejected, since: now });
        }
    }

    /// Offers again what the changes may have made acceptable, and keeps what is believed now.
    fn settle(&mut self, mut round: Round<'_>) -> Outcome {
        if round.outcome.changed {
            self.offer_again(&mut round);
        }
        if round.outcome.changed || !self.is_saved() {
            // What waited for the disk counts from now on.
            round.outcome.changed |= self.save();
        }
        if round.outcome.changed {
            self.keep_in_mind(round.now, round.facts);
        }
        round.outcome
    }

    /// Writes what is believed; says whether that works again after it did not.
    fn save(&mut self) -> bool {
        // Maps with text keys, strings and integers always serialise.
        let bytes = serde_json::to_vec(self.receiver.held()).unwrap_or_default();
        let unsaved = self.store.save(FILE, &bytes).err().map(|error| error.to_string());
        let was = std::mem::replace(&mut self.unsaved, unsaved);
        match (was, &self.unsaved) {
            (None, Some(cause)) => {
                tracing::warn!(%cause, "what is believed cannot be saved; nothing new counts");
                false
            }
            (Some(_), None) => {
                tracing::info!("what is believed is saved again");
                true
            }
            _ => false,
        }
    }

    fn keep_in_mind(&mut self, now: UnixTime, facts: &LocalFacts) {
        let remotes = self.receiver.remotes(now, facts);
        self.remark(&remotes);
        if self.is_saved() {
            self.on_disk = remotes.into_iter().map(|it| (it.id.clone(), it)).collect();
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
