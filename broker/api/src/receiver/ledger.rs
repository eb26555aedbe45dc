//! Changing what is held, after every step of verification agreed: believing, dropping, expiring.

use super::{Case, Receiver, Sweep};
use crate::advertisement::State;
use crate::certificate::Revocation;
use crate::clusterset::ClusterSet;
use crate::held::{HeldGateway, Position};
use crate::keys::VerifyKey;
use crate::kinds::{AdvertisementSpec, ClusterSetSpec};
use crate::names::{ClusterId, GatewayId};
use crate::reason::{Dropped, Reason, Rejected};
use crate::remote::LocalFacts;
use crate::time::{HOLD_SECONDS, UnixTime};
use crate::verify::Source;
use crate::verify::envelope;
use crate::verify::identity::Identity;
use crate::verify::judge::{Judged, MAX_TOMBSTONES, Sound};
use std::collections::{BTreeMap, BTreeSet};

/// Largest withdrawal that is kept; an honest one has half of it. Unit: bytes of JSON.
const MAX_LAST_WORD_BYTES: usize = 4 * 1024;

impl Receiver {
    /// Drops what is past hold. Call it now and then, and persist when it dropped something.
    pub fn expire(&mut self, now: UnixTime) -> Sweep {
        let is_past = |held: &HeldGateway| now > held.until;
        let gateways = self.held.gateways.values().filter(|held| held.is_live());
        let services = self.held.services.values().filter(|held| held.is_live());
        let mut ends = gateways.map(|it| it.until).chain(services.map(|it| it.until)).peekable();
        if ends.peek().is_some() && ends.all(|until| now > until) {
            return Sweep { clock_suspect: true, ..Sweep::default() };
        }
        let over = |(id, held): (&GatewayId, &HeldGateway)| is_past(held).then(|| id.clone());
        let past: Vec<GatewayId> = self.held.gateways.iter().filter_map(over).collect();
        let mut dropped = Vec::new();
        for id in past {
            if self.believed.contains_key(&id) {
                dropped.push(self.drop_gateway(&id, Reason::Expired.about("hold is over")));
            }
            self.held.gateways.remove(&id);
        }
        self.expire_services(now);
        Sweep { dropped, ..Sweep::default() }
    }

    /// Takes a judged list over.
    pub(super) fn put_in_force(&mut self, list: ClusterSet, spec: &ClusterSetSpec) {
        self.held.clusterset = Some(spec.clone());
        self.held.listed.extend(list.members.keys().cloned());
        self.grants = list.grants();
        self.list = Some(list);
    }

    /// Takes a judged advertisement over, with the revocations in its certificate.
    pub(super) fn believe(
        &mut self,
        now: UnixTime,
        id: &GatewayId,
        sound: Sound,
        spec: &AdvertisementSpec,
    ) -> Vec<Dropped> {
        let identity = sound.believed.identity;
        let withdrawn = sound.believed.state == State::Withdrawn;
        if withdrawn {
            self.bury_within_limit(id);
        }
        let own_until = sound.believed.expires.plus_seconds(HOLD_SECONDS);
        // Older bytes may live longer than the withdrawal that ended them.
        let known_until = self.held.gateways.get(id).map(|held| held.until);
        let until = known_until.filter(|_| withdrawn).map_or(own_until, |u| u.max(own_until));
        let position = Position {
            identity: identity.key,
            generation: sound.believed.generation,
            sequence: sound.believed.sequence,
        };
        let held = HeldGateway {
            position,
            digest: sound.digest,
            accepted_at: now,
            until,
            spec: if withdrawn { last_word(spec) } else { Some(spec.clone()) },
            withdrawn,
        };
        self.held.gateways.insert(id.clone(), held);
        self.forget(id);
        if !withdrawn {
            let keys = sound.believed.tunnels.iter().map(|tunnel| tunnel.key.wireguard());
            self.in_use.extend(keys.map(|key| (key, id.clone())));
            self.believed.insert(id.clone(), sound.believed);
        }
        self.vouched(&id.member, identity, sound.revoked);
        self.drop_revoked(&identity.key)
    }

    /// Makes room for one more end of a member's gateway: what could be replayed for the shortest time
    /// is forgotten.
    fn bury_within_limit(&mut self, id: &GatewayId) {
        let gone =
            self.held.gateways.iter().filter(|(other, held)| {
                other.member == id.member && *other != id && !held.is_live()
            });
        let mut gone: Vec<(UnixTime, GatewayId)> =
            gone.map(|(other, held)| (held.until, other.clone())).collect();
        gone.sort();
        let surplus = (gone.len() + 1).saturating_sub(MAX_TOMBSTONES);
        for (_, oldest) in gone.into_iter().take(surplus) {
            self.held.gateways.remove(&oldest);
        }
    }

    /// Remembers whose word was believed, and what its certificate revokes.
    pub(super) fn vouched(
        &mut self,
        member: &ClusterId,
        identity: Identity,
        revoked: Vec<Revocation>,
    ) {
        let Identity { key, join } = identity;
        self.held.believed.insert(member.clone());
        self.held.enrolled.extend(join.map(|join| (join, key)));
        if revoked.is_empty() {
            return;
        }
        let below = self.held.below.entry(key).or_default();
        for revocation in revoked {
            let lowest = below.entry(revocation.gateway).or_default();
            *lowest = revocation.below.max(*lowest);
        }
    }

    /// PROTOCOL.md 4.1, step 8: what a newer list no longer supports. Networks are cut when seen.
    pub(super) fn recheck(&mut self) -> Vec<Dropped> {
        let refused: Vec<(GatewayId, Rejected)> = self
            .believed
            .iter()
            .filter_map(|(id, believed)| {
                let rejected = self.refusal(&id.member, &believed.identity)?;
                Some((id.clone(), rejected))
            })
            .collect();
        let mut dropped: Vec<Dropped> =
            refused.into_iter().map(|(id, why)| self.drop_gateway(&id, why)).collect();
        for id in self.surplus() {
            dropped.push(self.drop_gateway(&id, Reason::TooManyGateways.into()));
        }
        dropped
    }

    /// Believes what the disk holds and the list now supports.
    pub(super) fn believe_disk(&mut self, now: UnixTime, facts: &LocalFacts) -> Vec<Dropped> {
        let mut dropped = Vec::new();
        if self.list.is_none() {
            return dropped;
        }
        self.believe_services_on_disk(now, facts);
        let held: Vec<(GatewayId, AdvertisementSpec)> = self
            .held
            .gateways
            .iter()
            .filter(|(id, held)| held.is_live() && !self.believed.contains_key(*id))
            .filter_map(|(id, held)| Some((id.clone(), held.spec.clone()?)))
            .collect();
        let case = Case { now, facts, contested: &BTreeSet::new(), source: Source::Disk };
        for (id, spec) in held {
            let judged = envelope::open(&id.to_string(), &spec)
                .and_then(|envelope| self.judge(case, &envelope));
            match judged {
                Ok(Judged::Newer(sound)) => {
                    let keys = sound.believed.tunnels.iter().map(|tunnel| tunnel.key.wireguard());
                    self.in_use.extend(keys.map(|key| (key, id.clone())));
                    self.believed.insert(id, sound.believed);
                }
                Ok(Judged::Unchanged | Judged::Own(_)) => {}
                Err(rejected) => dropped.push(self.drop_gateway(&id, rejected)),
            }
        }
        dropped
    }

    /// Says why an identity no longer speaks for its member, if so.
    pub(super) fn refusal(&self, member: &ClusterId, identity: &Identity) -> Option<Rejected> {
        let entry = self.list.as_ref().and_then(|list| list.members.get(member));
        let Some(entry) = entry else {
            return Some(Reason::MemberRevoked.about(member.to_string()));
        };
        if entry.keys.contains(&identity.key) {
            return None;
        }
        let reason = match (identity.join, &entry.join) {
            (Some(ours), Some(listed)) if ours == listed.key => return None,
            (Some(_), Some(_)) => Reason::EnrolmentBadSignature,
            (Some(_), None) => Reason::EnrolmentNotAllowed,
            (None, _) => Reason::CertBadSignature,
        };
        Some(reason.about(member.to_string()))
    }

    /// Returns the gateways above each member's limit, the ones accepted last.
    fn surplus(&self) -> Vec<GatewayId> {
        let Some(list) = &self.list else { return Vec::new() };
        let mut by_member: BTreeMap<&ClusterId, Vec<(UnixTime, &GatewayId)>> = BTreeMap::new();
        for id in self.believed.keys() {
            let accepted_at = self.held.gateways.get(id).map(|held| held.accepted_at);
            by_member.entry(&id.member).or_default().push((accepted_at.unwrap_or_default(), id));
        }
        let mut surplus = Vec::new();
        for (member, mut oldest_first) in by_member {
            let most = list.members.get(member).map_or(0, |entry| entry.gateways);
            oldest_first.sort();
            let above = usize::try_from(most).unwrap_or(usize::MAX);
            surplus.extend(oldest_first.into_iter().skip(above).map(|(_, id)| id.clone()));
        }
        surplus
    }

    /// Drops the gateways that certificates of this identity key revoked. Whoever brought the certificate
    /// is not among them: it would have been refused.
    pub(super) fn drop_revoked(&mut self, identity: &VerifyKey) -> Vec<Dropped> {
        let Some(below) = self.held.below.get(identity) else { return Vec::new() };
        let theirs = self.believed.iter().filter(|(_, it)| it.identity.key == *identity);
        let revoked = theirs
            .filter(|(id, it)| below.get(&id.gateway).is_some_and(|below| it.generation < *below));
        let revoked: Vec<GatewayId> = revoked.map(|(id, _)| id.clone()).collect();
        let why = |id: &GatewayId| Reason::GatewayRevoked.about(id.to_string());
        revoked.into_iter().map(|id| self.drop_gateway(&id, why(&id))).collect()
    }

    /// Ends belief in a gateway; its position stays until its bytes cannot be replayed any more.
    fn drop_gateway(&mut self, id: &GatewayId, rejected: Rejected) -> Dropped {
        self.forget(id);
        if let Some(held) = self.held.gateways.get_mut(id) {
            held.spec = None;
        }
        Dropped { gateway: id.clone(), rejected }
    }

    fn forget(&mut self, id: &GatewayId) {
        self.believed.remove(id);
        self.in_use.retain(|_, owner| owner != id);
    }
}

/// Returns a withdrawal as it is kept to be told on: no gateway fills the disk with what it was.
fn last_word(spec: &AdvertisementSpec) -> Option<AdvertisementSpec> {
    let bare = AdvertisementSpec { view: None, ..spec.clone() };
    let size = serde_json::to_vec(&bare).map_or(usize::MAX, |json| json.len());
    (size <= MAX_LAST_WORD_BYTES).then_some(bare)
}
