//! The services of other members: the way in, and how they are seen. What the list does not support is
//! not seen for as long as it does not; positions are remembered all the same.

use super::{Case, Receiver, Verdict};
use crate::advertisement::State;
use crate::held::{HeldService, Position};
use crate::kinds::ServiceAdvertisementSpec;
use crate::names::ServiceId;
use crate::reason::{Dropped, Reason, Rejected};
use crate::remote::LocalFacts;
use crate::service::RemoteService;
use crate::time::{HOLD_SECONDS, UnixTime};
use crate::verify::envelope::{self, Envelope};
use crate::verify::service::{self, Judged, Sound};
use crate::verify::{Context, Source};
use std::collections::BTreeSet;

/// A ServiceAdvertisement as a broker serves it.
#[derive(Clone, Copy, Debug)]
pub struct ServiceOffer<'a> {
    /// `metadata.name`.
    pub name: &'a str,
    /// `spec`; see [`crate::kinds::spec`].
    pub spec: &'a ServiceAdvertisementSpec,
}

impl Receiver {
    /// Judges one ServiceAdvertisement (PROTOCOL.md 4.4).
    pub fn accept_service(
        &mut self,
        now: UnixTime,
        facts: &LocalFacts,
        offer: ServiceOffer<'_>,
    ) -> Verdict {
        let contested = &BTreeSet::new();
        let case = Case { now, facts, contested, source: Source::Broker };
        let judged = envelope::open_service(offer.name, offer.spec).and_then(|envelope| {
            let judged = self.judge_service(case, &envelope)?;
            self.may_speak(&envelope.id, &judged, now)?;
            Ok((envelope.id, judged))
        });
        match judged {
            Err(rejected) => Verdict::Rejected(rejected),
            Ok((_, Judged::Unchanged)) => Verdict::Unchanged,
            Ok((_, Judged::Own(position))) => Verdict::Own(position),
            Ok((id, Judged::Newer(sound))) => {
                self.service_pace.took(&id, now);
                let dropped = self.believe_service(now, &id, *sound, offer.spec);
                let seen = self.seen_service(&id);
                Verdict::Accepted {
                    warnings: seen.map_or_else(Vec::new, |it| it.warnings),
                    dropped,
                }
            }
        }
    }

    /// Returns every service that others export. Shape: sorted by id; none of the own member, none
    /// withdrawn. Empty under the same lists as [`Receiver::remotes`].
    #[must_use]
    pub fn services(&self, now: UnixTime) -> Vec<RemoteService> {
        if !self.has_lanes(now) {
            return Vec::new();
        }
        self.exported.keys().filter_map(|id| self.seen_service(id)).collect()
    }

    /// Believes what the disk holds of services and the list supports.
    pub(super) fn believe_services_on_disk(&mut self, now: UnixTime, facts: &LocalFacts) {
        let held = self
            .held
            .services
            .iter()
            .filter(|(id, it)| it.is_live() && !self.exported.contains_key(*id));
        let held: Vec<(ServiceId, ServiceAdvertisementSpec)> =
            held.filter_map(|(id, it)| Some((id.clone(), it.spec.clone()?))).collect();
        let case = Case { now, facts, contested: &BTreeSet::new(), source: Source::Disk };
        for (id, spec) in held {
            let judged = envelope::open_service(&id.to_string(), &spec)
                .and_then(|envelope| self.judge_service(case, &envelope));
            match judged {
                Ok(Judged::Newer(sound)) => drop(self.exported.insert(id, sound.believed)),
                Ok(Judged::Unchanged | Judged::Own(_)) => {}
                Err(_) => self.forget_service(&id),
            }
        }
    }

    /// Forgets services past hold.
    pub(super) fn expire_services(&mut self, now: UnixTime) {
        self.held.services.retain(|_, held| now <= held.until);
        self.exported.retain(|id, _| self.held.services.contains_key(id));
    }

    fn judge_service(
        &mut self,
        case: Case<'_>,
        envelope: &Envelope<ServiceId>,
    ) -> Result<Judged, Rejected> {
        let Some(list) = &self.list else {
            return Err(Reason::UnknownMember.about("no ClusterSet is believed yet"));
        };
        let Case { now, facts, contested, source } = case;
        let (held, pace) = (&self.held, &self.pace);
        let context = Context { now, list, held, facts, pace, contested, source };
        service::judge(&context, &mut self.checks, envelope)
    }

    /// What ends a service never waits.
    fn may_speak(&self, id: &ServiceId, judged: &Judged, now: UnixTime) -> Result<(), Rejected> {
        let Judged::Newer(sound) = judged else { return Ok(()) };
        let is_end = sound.believed.state == State::Withdrawn && self.exported.contains_key(id);
        if is_end { Ok(()) } else { self.service_pace.allows(id, now) }
    }

    fn believe_service(
        &mut self,
        now: UnixTime,
        id: &ServiceId,
        sound: Sound,
        spec: &ServiceAdvertisementSpec,
    ) -> Vec<Dropped> {
        let believed = sound.believed;
        let withdrawn = believed.state == State::Withdrawn;
        let own_until = believed.expires.plus_seconds(HOLD_SECONDS);
        // Older bytes may live longer than the withdrawal that ended them.
        let known_until = self.held.services.get(id).map(|held| held.until);
        let until = known_until.filter(|_| withdrawn).map_or(own_until, |it| it.max(own_until));
        let position = Position {
            identity: believed.identity.key,
            generation: believed.generation,
            sequence: believed.sequence,
        };
        let spec = (!withdrawn).then(|| spec.clone());
        let digest = sound.digest;
        let held = HeldService { position, digest, accepted_at: now, until, spec, withdrawn };
        self.held.services.insert(id.clone(), held);
        let identity = believed.identity;
        if withdrawn {
            self.exported.remove(id);
        } else {
            self.exported.insert(id.clone(), believed);
        }
        self.vouched(&id.member, identity, sound.revoked);
        self.drop_revoked(&identity.key)
    }

    fn forget_service(&mut self, id: &ServiceId) {
        self.exported.remove(id);
        if let Some(held) = self.held.services.get_mut(id) {
            held.spec = None;
        }
    }

    /// Returns a service as the list in force supports it.
    fn seen_service(&self, id: &ServiceId) -> Option<RemoteService> {
        let believed = self.exported.get(id)?;
        let entry = self.list.as_ref()?.members.get(&id.member)?;
        if !service::may_export(entry, &id.namespace)
            || self.refusal(&id.member, &believed.identity).is_some()
        {
            return None;
        }
        let spec = self.held.services.get(id).and_then(|held| held.spec.as_ref());
        Some(believed.seen(id, &entry.cidrs, spec.and_then(|spec| spec.view.as_ref())))
    }
}
