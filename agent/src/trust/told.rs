//! Owns what peers told: offered to the receiver at their expense, and what is refused of it remembered
//! under who told it, in measure.

use std::collections::BTreeSet;

use sealane_api::kinds::{AdvertisementSpec, ClusterSetSpec};
use sealane_api::names::{ClusterId, GatewayId, GatewayName};
use sealane_api::reason::{Reason, Rejected, Retry};
use sealane_api::receiver::{Offer, Verdict};
use sealane_api::remote::LocalFacts;
use sealane_api::time::UnixTime;
use sealane_broker::board::{CLUSTER_SET_NAME, Kind};

use super::{Outcome, Round, Trust, note_own};
use crate::gossip::Reception;
use crate::refusals::Key;

/// Refusals that are remembered of one teller.
const MOST_OF_ONE: usize = 16;

/// What one peer told.
#[derive(Debug, Clone, Copy)]
pub struct Hearsay<'a> {
    /// The member that the peer is of.
    pub teller: &'a ClusterId,
    /// A ClusterSet.
    pub list: Option<&'a ClusterSetSpec>,
    /// Words of gateways.
    pub words: &'a [AdvertisementSpec],
}

impl Trust {
    /// Judges what a peer told. What is accepted counts as if a broker had shown it.
    pub fn told(
        &mut self,
        hearsay: &Hearsay<'_>,
        now: UnixTime,
        facts: &LocalFacts,
    ) -> (Outcome, Reception) {
        let mut round = Round::at(now, facts);
        let mut reception = Reception::default();
        if let Some(spec) = hearsay.list {
            let is_first = self.receiver.clusterset().is_none();
            let teller = hearsay.teller;
            let verdict = self.receiver.accept_told_clusterset(now, facts, teller, spec);
            let name = CLUSTER_SET_NAME.to_owned();
            let took = self.hear((Kind::ClusterSet, name), hearsay.teller, verdict, &mut round);
            reception = reception.max(took);
            if is_first {
                self.offer_all(&mut round);
            }
        }
        for spec in hearsay.words {
            let (name, verdict) = match named(spec) {
                Ok(id) => {
                    let name = id.to_string();
                    let offer = Offer { name: &name, spec };
                    let verdict = self.receiver.accept_told(now, facts, hearsay.teller, offer);
                    note_own(offer, &verdict, &mut round);
                    (name, verdict)
                }
                // What has no name is remembered without the text that stands in its place.
                Err(rejected) => (String::new(), Verdict::Rejected(rejected)),
            };
            let took = self.hear((Kind::Advertisement, name), hearsay.teller, verdict, &mut round);
            reception = reception.max(took);
            // A signature that nobody made was paid for; the rest of such an answer is not.
            if reception == Reception::Forged {
                break;
            }
        }
        (self.settle(round), reception)
    }

    /// Has the own word told on like those of others.
    pub fn tell_own(&mut self, spec: &AdvertisementSpec, now: UnixTime, facts: &LocalFacts) {
        let name = format!("{}.{}", spec.member, spec.gateway);
        // Before a list names this member nobody would believe it, and afterwards it is said again.
        let offer = Offer { name: &name, spec };
        let _ = self.receiver.accept_advertisement(now, facts, offer);
    }

    /// Judges a list that a person brought, who may choose the other side of a fork of root links.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn take_list(
        &mut self,
        spec: &ClusterSetSpec,
        now: UnixTime,
        facts: &LocalFacts,
    ) -> Result<Outcome, Rejected> {
        let mut round = Round::at(now, facts);
        let verdict = self.receiver.accept_fork(now, facts, spec);
        if let Verdict::Rejected(rejected) = verdict {
            return Err(rejected);
        }
        self.note(
            (Kind::ClusterSet, CLUSTER_SET_NAME.to_owned()),
            String::new(),
            verdict,
            &mut round,
        );
        self.offer_all(&mut round);
        Ok(self.settle(round))
    }

    /// Forgets what was refused of a teller: it is asked anew, or it knows nothing else any more.
    pub fn forget_told(&mut self, teller: &ClusterId) {
        for (kind, name) in self.told_by.remove(teller).into_iter().flatten() {
            self.refusals.remove(&(kind, told_name(&name, teller)));
        }
    }

    /// Forgets what was refused of tellers that are no peers any more.
    pub fn retain_tellers(&mut self, tellers: &BTreeSet<ClusterId>) {
        let gone = self.told_by.keys().filter(|teller| !tellers.contains(teller));
        for teller in gone.cloned().collect::<Vec<_>>() {
            self.forget_told(&teller);
        }
    }

    /// Forgets what peers told of an object that was refused: something newer of it is believed.
    pub(super) fn outdate_told(&mut self, key: &Key) {
        for (teller, refused) in &mut self.told_by {
            if refused.remove(key) {
                self.refusals.remove(&(key.0, told_name(&key.1, teller)));
            }
        }
    }

    fn hear(
        &mut self,
        key: Key,
        teller: &ClusterId,
        verdict: Verdict,
        round: &mut Round<'_>,
    ) -> Reception {
        let Verdict::Rejected(rejected) = verdict else {
            self.note(key, String::new(), verdict, round);
            return Reception::Sound;
        };
        let reception = match (key.0, rejected.reason.retry()) {
            _ if is_honest(rejected.reason) => Reception::Sound,
            _ if is_forged(rejected.reason) => Reception::Forged,
            (_, Retry::Soon) => Reception::TooMuch,
            (Kind::Advertisement, Retry::AfterChange) => Reception::Sound,
            (Kind::ClusterSet, _) | (_, Retry::Never) => Reception::Hostile,
        };
        // A peer that is behind is asked again when it is not; there is nothing to look into.
        if !is_behind(rejected.reason) {
            self.refuse_told(key, teller, rejected, round);
        }
        reception
    }

    fn refuse_told(
        &mut self,
        key: Key,
        teller: &ClusterId,
        rejected: Rejected,
        round: &mut Round<'_>,
    ) {
        let known = self.told_by.entry(teller.clone()).or_default();
        if known.len() < MOST_OF_ONE || known.contains(&key) {
            let shown = (key.0, told_name(&key.1, teller));
            known.insert(key);
            // Whoever it names did not say it: nothing follows from it for that member.
            self.refuse(shown, String::new(), rejected, round);
        }
    }
}

/// Returns the gateway that a word is said to be of.
fn named(spec: &AdvertisementSpec) -> Result<GatewayId, Rejected> {
    let bad = |_| Rejected::from(Reason::BadName);
    let member = ClusterId::parse(&spec.member).map_err(bad)?;
    Ok(GatewayId { member, gateway: GatewayName::parse(&spec.gateway).map_err(bad)? })
}

/// Says whether a refusal only means that more is known here.
fn is_behind(reason: Reason) -> bool {
    matches!(reason, Reason::SequenceRolledBack | Reason::ClusterSetRolledBack)
}

/// Says whether nobody who judged such an object would have told it on. A certificate or enrolment
/// that another list supports is not among them.
fn is_forged(reason: Reason) -> bool {
    matches!(reason, Reason::BadSignature | Reason::TunnelProofBad)
}

/// Says whether an honest peer may tell such a list: it is behind, or on the other side of a fork.
fn is_honest(reason: Reason) -> bool {
    is_behind(reason) || matches!(reason, Reason::ClusterSetFork | Reason::LinkFork)
}

/// Under what a refusal is shown: who told it, and of what, if that has a name.
fn told_name(name: &str, teller: &ClusterId) -> String {
    let space = if name.is_empty() { "" } else { " " };
    format!("{name}{space}(told by {teller})")
}
