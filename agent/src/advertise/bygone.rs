//! Owns the names that are not to be spoken under any more: those revoked, which every certificate of
//! ours tells others, and those that a withdrawal is due for. Does not talk to the broker.

use std::collections::{BTreeMap, BTreeSet};

use sealane_api::advertisement::{Networks, State};
use sealane_api::certificate::{MAX_REVOKED, Revocation};
use sealane_api::kinds::AdvertisementSpec;
use sealane_api::names::{GatewayId, GatewayName};
use sealane_api::sign::{self, CertRequest, Draft};
use sealane_api::signed::Signed;
use sealane_api::time::{DAY_SECONDS, UnixTime};
use sealane_broker::store::StoreError;
use serde::{Deserialize, Serialize};

use super::{Author, AuthorError, Kept};
use crate::keys::Keys;

/// All that a revocation kills is past hold after this long: a certificate's longest life and hold.
const TOLD_SECONDS: u64 = 131 * DAY_SECONDS;

/// Names of our member that are of the past.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bygone {
    /// Those that nobody is to believe.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    revoked: BTreeMap<GatewayName, Revoked>,
    /// Those whose withdrawal no broker took yet.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    due: BTreeSet<GatewayName>,
}

/// When a name was revoked, and what of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoked {
    /// Certificates of generations below are dead.
    pub below: u64,
    /// When that was decided.
    pub at: UnixTime,
}

impl Revoked {
    /// Says until when certificates tell it.
    pub fn told_until(&self) -> UnixTime {
        self.at.plus_seconds(TOLD_SECONDS)
    }
}

impl Bygone {
    /// Says whether there is no such name.
    pub fn is_empty(&self) -> bool {
        self.revoked.is_empty() && self.due.is_empty()
    }

    /// Returns what certificates tell at `now`: the lowest generation that lives, by name.
    pub fn told(&self, now: UnixTime) -> BTreeMap<GatewayName, u64> {
        let told = self.revoked.iter().filter(|(_, it)| now < it.told_until());
        told.map(|(name, it)| (name.clone(), it.below)).collect()
    }

    /// Has a withdrawal of `name` said, until it is taken.
    pub fn leave(&mut self, name: &GatewayName) {
        self.due.insert(name.clone());
    }

    /// Has no withdrawal of `name` said: somebody speaks under it.
    pub fn take(&mut self, name: &GatewayName) {
        self.due.remove(name);
    }

    /// Says whether `name` is revoked.
    pub fn has_revoked(&self, name: &GatewayName) -> bool {
        self.revoked.contains_key(name)
    }
}

/// Turns what certificates tell into what they carry.
pub fn revocations(told: &BTreeMap<GatewayName, u64>) -> Vec<Revocation> {
    let one = |(gateway, below): (&GatewayName, &u64)| Revocation {
        gateway: gateway.clone(),
        below: *below,
    };
    told.iter().map(one).collect()
}

impl Author {
    /// Returns the revoked names of our member.
    pub fn revoked(&self) -> &BTreeMap<GatewayName, Revoked> {
        &self.kept.bygone.revoked
    }

    /// Returns the gateways that a withdrawal is due for.
    pub fn due(&self) -> impl Iterator<Item = GatewayId> {
        self.kept.bygone.due.iter().map(|name| self.sibling(name))
    }

    /// Revokes every certificate of `name` up to now; the next certificate says so. Returns what holds.
    ///
    /// # Errors
    /// [`AuthorError`] when it is the name in use, too many are revoked, or the disk refuses; nothing
    /// is revoked then.
    pub fn revoke(&mut self, name: &GatewayName, now: UnixTime) -> Result<Revoked, AuthorError> {
        if *name == self.gateway.gateway {
            return Err(AuthorError::NameInUse { gateway: self.gateway.clone() });
        }
        let below = sign::next_generation(self.kept.generation.max(self.above), now);
        let revoked = Revoked { below, at: now };
        let mut kept = Kept { generation: Some(below), ..self.kept.clone() };
        kept.bygone.revoked.insert(name.clone(), revoked);
        kept.bygone.due.insert(name.clone());
        if kept.bygone.told(now).len() > MAX_REVOKED {
            return Err(AuthorError::TooManyRevoked);
        }
        self.save(&kept)?;
        self.kept = kept;
        self.farewells.remove(name);
        tracing::warn!(gateway = %self.sibling(name), below, "revoked");
        Ok(revoked)
    }

    /// Takes a name back from among the revoked; says whether it was there.
    ///
    /// # Errors
    /// [`StoreError`] when that cannot be written; it stays revoked then.
    pub fn allow(&mut self, name: &GatewayName) -> Result<bool, StoreError> {
        let mut kept = self.kept.clone();
        if kept.bygone.revoked.remove(name).is_none() {
            return Ok(false);
        }
        self.save(&kept)?;
        self.kept = kept;
        tracing::info!(gateway = %self.sibling(name), "not revoked any more");
        Ok(true)
    }

    /// Returns the withdrawals that are due, each signed once in a run of the agent: under a
    /// certificate of its own, which outranks whatever was said under that name.
    ///
    /// # Errors
    /// [`AuthorError`] when numbers cannot be written first; nothing is signed then.
    pub fn farewells(
        &mut self,
        keys: &Keys,
        enrolment: Option<&Signed>,
        now: UnixTime,
    ) -> Result<Vec<(GatewayId, AdvertisementSpec)>, AuthorError> {
        let due: Vec<GatewayName> = self.kept.bygone.due.iter().cloned().collect();
        let mut farewells = Vec::new();
        for name in due {
            let known = self.farewells.get(&name).filter(|it| it.enrolment.as_ref() == enrolment);
            let spec = match known {
                Some(spec) => spec.clone(),
                None => self.farewell(&name, keys, enrolment, now)?,
            };
            self.farewells.insert(name.clone(), spec.clone());
            farewells.push((self.sibling(&name), spec));
        }
        Ok(farewells)
    }

    /// Returns all that was signed last, under whatever name: what peers are told.
    pub fn words(&self) -> impl Iterator<Item = &AdvertisementSpec> {
        self.spoken.iter().chain(self.farewells.values())
    }

    /// Remembers that a broker took the withdrawal of `gateway`, if one was due.
    ///
    /// # Errors
    /// [`StoreError`] when that cannot be written; it is withdrawn once more then.
    pub fn note_farewell(&mut self, gateway: &str) -> Result<bool, StoreError> {
        let Some(name) = self.due().find(|it| it.to_string() == gateway).map(|it| it.gateway)
        else {
            return Ok(false);
        };
        let mut kept = self.kept.clone();
        kept.bygone.due.remove(&name);
        kept.withdrawn |= name == self.gateway.gateway;
        self.save(&kept)?;
        self.kept = kept;
        Ok(true)
    }

    fn farewell(
        &mut self,
        name: &GatewayName,
        keys: &Keys,
        enrolment: Option<&Signed>,
        now: UnixTime,
    ) -> Result<AdvertisementSpec, AuthorError> {
        let (gateway, now) = (self.sibling(name), self.last_words_at(now));
        let generation = sign::next_generation(self.kept.generation.max(self.above), now);
        let kept = Kept { generation: Some(generation), ..self.kept.clone() };
        self.save(&kept)?;
        self.kept = kept;
        let request = CertRequest {
            id: &self.id,
            gateway: &gateway,
            key: keys.gateway.public(),
            generation,
            revoked: revocations(&self.kept.bygone.told(now)),
        };
        let cert = sign::gateway_cert(&keys.identity, &request, now);
        let draft = Draft {
            id: &self.id,
            gateway: &gateway,
            cert: &cert,
            enrolment,
            sequence: 1,
            state: State::Active,
            networks: Networks::default(),
            probe4: None,
            tunnels: Vec::new(),
            agent: env!("CARGO_PKG_VERSION"),
        };
        Ok(sign::advertisement(&keys.gateway, &draft.withdrawn(), now)?)
    }

    fn sibling(&self, name: &GatewayName) -> GatewayId {
        GatewayId { member: self.gateway.member.clone(), gateway: name.clone() }
    }
}
