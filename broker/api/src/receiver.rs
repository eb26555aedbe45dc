//! One host's belief about the others: the way in for objects, the way out for plans. It reads no
//! clock and writes no disk; the steps that judge are in `verify`.

mod ledger;
mod lists;
pub mod services;
mod siblings;

use crate::believed::{Believed, Sight};
use crate::checks::Checks;
use crate::cidr::Ownership;
use crate::clusterset::{ClusterSet, ListPosition, OnExpiry, PostQuantum};
use crate::held::{Held, HeldGateway, Position};
use crate::keys::VerifyKey;
use crate::kinds::AdvertisementSpec;
use crate::names::{ClusterId, ClusterSetId, GatewayId, ServiceId};
use crate::pace::Pace;
use crate::reason::{Dropped, Reason, Rejected, Warning};
use crate::remote::{LocalFacts, RemoteGateway};
use crate::service;
use crate::time::UnixTime;
use crate::verify::envelope::{self, Envelope};
use crate::verify::identity::verified_enrolment;
use crate::verify::judge::{self, Judged};
use crate::verify::tunnels::KeysInUse;
use crate::verify::{Context, Source};
use std::collections::{BTreeMap, BTreeSet};

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
    /// A sound advertisement of this host's own member; not a peer. Under the own name a position
    /// above the own one means that the gateway lost state and needs a new certificate.
    Own(Position),
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
    /// `ClockSuspect`: every held advertisement is past hold, so the clock is to blame (or a long
    /// power-off) and nothing was dropped.
    pub clock_suspect: bool,
    /// Why the held ClusterSet could not be believed at start, when it could not.
    pub clusterset: Option<Rejected>,
}

/// Under which circumstances an object is judged.
#[derive(Clone, Copy)]
struct Case<'a> {
    now: UnixTime,
    facts: &'a LocalFacts,
    contested: &'a BTreeSet<VerifyKey>,
    source: Source<'a>,
}

/// One host's belief: the persisted state, and what is derived from it.
pub struct Receiver {
    held: Held,
    list: Option<ClusterSet>,
    grants: Ownership,
    believed: BTreeMap<GatewayId, Believed>,
    in_use: KeysInUse,
    siblings: BTreeMap<GatewayId, HeldGateway>,
    /// Services that others export, by the last word of each.
    exported: BTreeMap<ServiceId, service::Believed>,
    checks: Checks,
    pace: Pace<GatewayId>,
    service_pace: Pace<ServiceId>,
}

impl Receiver {
    /// Begins with nothing but the token's anchor and minimum.
    #[must_use]
    pub fn new(anchor: ClusterSetId, minimum: ListPosition) -> Self {
        Self {
            held: Held::new(anchor, minimum),
            list: None,
            grants: Ownership::default(),
            believed: BTreeMap::new(),
            in_use: KeysInUse::new(),
            siblings: BTreeMap::new(),
            exported: BTreeMap::new(),
            checks: Checks::default(),
            pace: Pace::default(),
            service_pace: Pace::default(),
        }
    }

    /// Begins from disk: everything is verified again, expiry judged by hold. What the disk cannot
    /// prove is dropped.
    #[must_use]
    pub fn at_cold_start(held: Held, now: UnixTime, facts: &LocalFacts) -> (Self, Sweep) {
        let mut receiver = Self::new(held.anchor.clone(), held.minimum);
        receiver.held = held;
        let mut problem = None;
        if let Some(spec) = receiver.held.clusterset.take() {
            match receiver.newer_list(&spec) {
                Ok(Some(list)) => receiver.put_in_force(list, &spec),
                Ok(None) => {}
                Err(rejected) => problem = Some(rejected),
            }
        }
        let mut dropped = receiver.believe_disk(now, facts);
        let swept = receiver.expire(now);
        dropped.extend(swept.dropped);
        (receiver, Sweep { dropped, clusterset: problem, ..swept })
    }

    /// Judges one Advertisement (PROTOCOL.md 4.2).
    pub fn accept_advertisement(
        &mut self,
        now: UnixTime,
        facts: &LocalFacts,
        offer: Offer<'_>,
    ) -> Verdict {
        let contested = &BTreeSet::new();
        self.offered(Case { now, facts, contested, source: Source::Broker }, offer)
    }

    /// Judges one Advertisement that a peer of member `teller` told inside a lane. It is judged like
    /// any other, but its signature checks cost the teller, not whom it claims to be of.
    pub fn accept_told(
        &mut self,
        now: UnixTime,
        facts: &LocalFacts,
        teller: &ClusterId,
        offer: Offer<'_>,
    ) -> Verdict {
        let contested = &BTreeSet::new();
        self.offered(Case { now, facts, contested, source: Source::Peer(teller) }, offer)
    }

    /// Judges a whole list at once (first list, relist), so that two identities under one join key
    /// are seen before either is believed. Shape: one verdict per offer, same order.
    pub fn accept_batch(
        &mut self,
        now: UnixTime,
        facts: &LocalFacts,
        offers: &[Offer<'_>],
    ) -> Vec<Verdict> {
        let contested = self.contested(now, facts, offers);
        let case = Case { now, facts, contested: &contested, source: Source::Broker };
        offers.iter().map(|offer| self.offered(case, *offer)).collect()
    }

    /// Returns every remote gateway to have lanes with. Shape: sorted by id; none of the own member.
    /// Empty while a list that says `onExpiry: drop` is expired, and under a list that requires
    /// post-quantum keys: this version has none, and a classical lane is not what was asked for.
    #[must_use]
    pub fn remotes(&self, now: UnixTime, facts: &LocalFacts) -> Vec<RemoteGateway> {
        if !self.has_lanes(now) {
            return Vec::new();
        }
        self.believed.keys().filter_map(|id| self.seen(id, facts)).collect()
    }

    /// Returns the list in force.
    #[must_use]
    pub fn clusterset(&self) -> Option<&ClusterSet> {
        self.list.as_ref()
    }

    /// Returns what to persist.
    #[must_use]
    pub fn held(&self) -> &Held {
        &self.held
    }

    /// Says whether a list is believed under which there are lanes at all.
    fn has_lanes(&self, now: UnixTime) -> bool {
        self.list.as_ref().is_some_and(|list| {
            let is_over = list.on_expiry == OnExpiry::Drop && list.is_expired(now);
            !is_over && list.post_quantum != PostQuantum::Require
        })
    }

    fn seen(&self, id: &GatewayId, facts: &LocalFacts) -> Option<RemoteGateway> {
        let list = self.list.as_ref()?;
        let grant = &list.members.get(&id.member)?.cidrs;
        let spec = self.held.gateways.get(id).and_then(|held| held.spec.as_ref());
        let view = spec.and_then(|spec| spec.view.as_ref());
        let sight = Sight { id: &list.id, grants: &self.grants, facts };
        Some(self.believed.get(id)?.seen(sight, id, grant, view))
    }

    fn offered(&mut self, case: Case<'_>, offer: Offer<'_>) -> Verdict {
        let judged = envelope::open(offer.name, offer.spec).and_then(|envelope| {
            let judged = self.judge(case, &envelope)?;
            Ok((envelope.id, judged))
        });
        match judged {
            Err(rejected) => Verdict::Rejected(rejected),
            Ok((_, Judged::Unchanged)) => Verdict::Unchanged,
            Ok((id, Judged::Own(own))) => {
                let position = own.position;
                self.remember_own(id, HeldGateway { spec: Some(offer.spec.clone()), ..*own });
                Verdict::Own(position)
            }
            Ok((id, Judged::Newer(sound))) => {
                self.pace.took(&id, case.now);
                let dropped = self.believe(case.now, &id, *sound, offer.spec);
                let warnings =
                    self.seen(&id, case.facts).map_or_else(Vec::new, |seen| seen.warnings);
                Verdict::Accepted { warnings, dropped }
            }
        }
    }

    fn judge(&mut self, case: Case<'_>, envelope: &Envelope) -> Result<Judged, Rejected> {
        let Some(list) = &self.list else {
            return Err(Reason::UnknownMember.about("no ClusterSet is believed yet"));
        };
        let Case { now, facts, contested, source } = case;
        let (held, pace) = (&self.held, &self.pace);
        let context = Context { now, list, held, facts, pace, contested, source };
        judge::judge(&context, &mut self.checks, &self.in_use, envelope)
    }

    /// Finds join keys under which the offers bring two identities while none is held.
    fn contested(
        &mut self,
        now: UnixTime,
        facts: &LocalFacts,
        offers: &[Offer<'_>],
    ) -> BTreeSet<VerifyKey> {
        let Some(list) = &self.list else { return BTreeSet::new() };
        let none = BTreeSet::new();
        let (held, pace, source) = (&self.held, &self.pace, Source::Broker);
        let context = Context { now, list, held, facts, pace, contested: &none, source };
        let mut identities: BTreeMap<VerifyKey, BTreeSet<[u8; 32]>> = BTreeMap::new();
        for offer in offers {
            let Ok(envelope) = envelope::open(offer.name, offer.spec) else { continue };
            let join = list.members.get(&envelope.id.member).and_then(|entry| entry.join.as_ref());
            let (Some(join), Some(enrolment)) = (join, &envelope.enrolment) else { continue };
            let member = &envelope.id.member;
            let verified = verified_enrolment(&context, &mut self.checks, member, join, enrolment);
            if let Ok(payload) = verified {
                identities.entry(join.key).or_default().insert(payload.identity);
            }
        }
        identities.retain(|join, several| several.len() > 1 && !held.enrolled.contains_key(join));
        identities.into_keys().collect()
    }
}
