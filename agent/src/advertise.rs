//! Owns this gateway's own word: its certificate, the sequence, and the advertisement as last
//! signed. Writes numbers to disk before it signs with them; does not talk to the broker.

pub mod bygone;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::iter;
use std::net::{Ipv4Addr, SocketAddr};

use sealane_api::advertisement::{Candidate, Networks, State, TunnelPayload};
use sealane_api::cidr::{self, Cidr};
use sealane_api::clusterset::ClusterSet;
use sealane_api::held::Position;
use sealane_api::keys::VerifyKey;
use sealane_api::kinds::AdvertisementSpec;
use sealane_api::names::{ClusterSetId, GatewayId, GatewayName};
use sealane_api::reason::Rejected;
use sealane_api::sign::{self, CertRequest, Draft, TunnelOwner, TunnelSettings};
use sealane_api::signed::Signed;
use sealane_api::time::{DAY_SECONDS, UnixTime};
use sealane_broker::store::{Store, StoreError};
use serde::{Deserialize, Serialize};

use self::bygone::Bygone;
use crate::keys::Keys;
use crate::trust::OwnWord;

/// The file of numbers that must never go back.
const FILE: &str = "gateway.json";
/// An advertisement is signed anew after this long, though nothing changed.
const RENEW_AFTER_SECONDS: u64 = 10 * DAY_SECONDS;
/// A certificate is renewed when it has less than this left.
const CERTIFICATE_LEFT_SECONDS: u64 = 30 * DAY_SECONDS;
/// Most candidates an advertisement takes.
pub const MOST_CANDIDATES: usize = 16;
/// A new certificate because of a higher position is taken this seldom: a host that was copied with
/// its keys would otherwise race with its copy for ever.
const CATCH_UP_SECONDS: u64 = 60;
/// The largest integer that payloads carry.
const LARGEST_NUMBER: u64 = (1 << 53) - 1;

/// Numbers and certificate of this gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// Generation of the last certificate.
    generation: Option<u64>,
    /// The certificate.
    certificate: Option<Certificate>,
    /// Sequence of the last advertisement under it.
    sequence: u64,
    /// The latest time at which an advertisement was signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    spoke: Option<UnixTime>,
    /// Whether a broker took a withdrawal, and nothing was signed since.
    #[serde(default, skip_serializing_if = "is_false")]
    withdrawn: bool,
    /// Names that nobody speaks under any more.
    #[serde(default, skip_serializing_if = "Bygone::is_empty")]
    bygone: Bygone,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Certificate {
    clusterset: ClusterSetId,
    gateway: GatewayId,
    signed: Signed,
    key: VerifyKey,
    identity: VerifyKey,
    expires: UnixTime,
    /// What it revokes: the lowest generation that lives, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    revoked: BTreeMap<GatewayName, u64>,
}

/// What this gateway wants to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Networks as configured.
    pub networks: Networks<Cidr>,
    /// IPv4 address at which this gateway answers probes, inside its networks.
    pub probe4: Option<Ipv4Addr>,
    /// Slot of the tunnel entry in use.
    pub slot: u8,
    /// Slot of the other one, while there are two.
    pub second_slot: Option<u8>,
    /// Largest inner packet in bytes.
    pub mtu: u16,
    /// Addresses to be reached by, best first; those beyond the limit are left out.
    pub candidates: Vec<Candidate>,
}

/// The author of this gateway's advertisement.
pub struct Author {
    id: ClusterSetId,
    gateway: GatewayId,
    store: Store,
    kept: Kept,
    last: Option<(Wish, UnixTime, AdvertisementSpec)>,
    spoken: Option<AdvertisementSpec>,
    /// Withdrawals under names that are of the past, as signed in this run.
    farewells: BTreeMap<GatewayName, AdvertisementSpec>,
    /// Generation of a word under our name and keys that is not ours.
    above: Option<u64>,
    caught_up: Option<UnixTime>,
}

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum AuthorError {
    /// A number could not be written before its use.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file is not what this program writes.
    #[error(
        "{path}: {cause}; remove it: a certificate of a later generation takes its place, and what was revoked is to be revoked again"
    )]
    Damaged {
        /// The file.
        path: String,
        /// Where it is wrong.
        cause: String,
    },
    /// The certificate does not serve.
    #[error("certificate: {0}")]
    Certificate(#[from] Rejected),
    /// The name that this host is to speak under was revoked.
    #[error(
        "the name {gateway} was revoked on this host; admit it again with `sealane gateway allow {}`, or set another `node`",
        gateway.gateway
    )]
    NameRevoked {
        /// The name.
        gateway: GatewayId,
    },
    /// The name to be revoked is the one that this host speaks under.
    #[error(
        "{gateway} is the name that this host speaks under; to replace its keys: `sealane gateway rotate`; if they were copied: `sealane token create --cluster {} --rekey`",
        gateway.member
    )]
    NameInUse {
        /// The name.
        gateway: GatewayId,
    },
    /// A certificate takes no more revocations.
    #[error("16 names are revoked already; admit one again with `sealane gateway allow`")]
    TooManyRevoked,
}

impl Kept {
    fn load(store: &Store) -> Result<Self, AuthorError> {
        let Some(bytes) = store.load(FILE)? else { return Ok(Self::default()) };
        serde_json::from_slice(&bytes).map_err(|error| {
            let path = store.path(FILE).display().to_string();
            AuthorError::Damaged { path, cause: error.to_string() }
        })
    }
}

impl Author {
    /// Begins with the numbers on disk.
    ///
    /// # Errors
    /// [`AuthorError`] when the file is there and cannot be used.
    pub fn load(store: Store, id: ClusterSetId, gateway: GatewayId) -> Result<Self, AuthorError> {
        let kept = Kept::load(&store)?;
        Ok(Self::over(id, gateway, store, kept))
    }

    /// Begins with the numbers on disk, under the name that they were last used with, only to withdraw
    /// what was said; `None` when nothing was said in this clusterset that is not withdrawn.
    ///
    /// # Errors
    /// [`AuthorError`] when the file is there and cannot be used.
    pub fn of_unwithdrawn(store: Store, id: ClusterSetId) -> Result<Option<Self>, AuthorError> {
        let mut kept = Kept::load(&store)?;
        let said = kept.certificate.as_ref().filter(|it| it.clusterset == id);
        let Some(gateway) = said.map(|it| it.gateway.clone()) else { return Ok(None) };
        if !kept.withdrawn {
            kept.bygone.leave(&gateway.gateway);
        }
        let author = Self::over(id, gateway, store, kept);
        let is_silent = author.due().next().is_none();
        Ok(if is_silent { None } else { Some(author) })
    }

    fn over(id: ClusterSetId, gateway: GatewayId, store: Store, kept: Kept) -> Self {
        let (last, spoken, above, caught_up) = (None, None, None, None);
        let farewells = BTreeMap::new();
        Self { id, gateway, store, kept, last, spoken, farewells, above, caught_up }
    }

    /// Returns the name under which it writes.
    pub fn gateway(&self) -> &GatewayId {
        &self.gateway
    }

    /// Says whether the certificate on disk is for these keys.
    pub fn is_certified_for(&self, keys: &Keys) -> bool {
        let (key, identity) = (keys.gateway.public(), keys.identity.public());
        self.kept.certificate.as_ref().is_some_and(|it| it.key == key && it.identity == identity)
    }

    /// Forgets what is on disk.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be removed.
    pub fn remove(store: &Store) -> Result<(), StoreError> {
        store.remove(FILE)
    }

    /// Returns what was signed last, a withdrawal included.
    pub fn spoken(&self) -> Option<&AdvertisementSpec> {
        self.spoken.as_ref()
    }

    /// Says whether that was a withdrawal.
    pub fn has_withdrawn(&self) -> bool {
        self.spoken.is_some() && self.last.is_none()
    }

    /// Takes notice of what stands on the broker under our name, signed with our keys. If it is above
    /// our numbers, or says something else under the same ones, our state was lost or copied: the
    /// next advertisement is under a new certificate, which outranks it.
    pub fn met(&mut self, word: &OwnWord) {
        let Position { generation, sequence, .. } = word.position;
        let said = (self.kept.generation.unwrap_or(0), self.kept.sequence);
        let is_other =
            self.last.as_ref().is_some_and(|(_, _, spec)| spec.signed != word.spec.signed);
        let is_foreign = match (generation, sequence).cmp(&said) {
            Ordering::Less => false,
            Ordering::Equal => is_other,
            Ordering::Greater => true,
        };
        if is_foreign && self.above.is_none_or(|known| known < generation) {
            tracing::warn!(gateway = %self.gateway, generation, sequence,
                "our name and keys were used elsewhere: old state, or a copy of this host");
            self.above = Some(generation);
        }
    }

    /// Returns the advertisement for `wish`, signed anew only if the wish changed or time asks.
    ///
    /// # Errors
    /// [`AuthorError`] when numbers cannot be written first; nothing is signed then.
    pub fn advertise(
        &mut self,
        keys: &Keys,
        enrolment: Option<&Signed>,
        wish: Wish,
        now: UnixTime,
    ) -> Result<AdvertisementSpec, AuthorError> {
        let renewed = self.certify(keys, now)?;
        if let Some((said, at, spec)) = &self.last
            && !renewed
            && *said == wish
            && spec.enrolment.as_ref() == enrolment
            && now < at.plus_seconds(RENEW_AFTER_SECONDS)
        {
            return Ok(spec.clone());
        }
        let spec = self.sign(keys, enrolment, Some(&wish), now)?;
        self.last = Some((wish, now, spec.clone()));
        Ok(spec)
    }

    /// Returns the last word of this gateway.
    ///
    /// # Errors
    /// [`AuthorError`] when numbers cannot be written first; nothing is signed then.
    pub fn withdraw(
        &mut self,
        keys: &Keys,
        enrolment: Option<&Signed>,
        now: UnixTime,
    ) -> Result<AdvertisementSpec, AuthorError> {
        let now = self.last_words_at(now);
        self.certify(keys, now)?;
        self.last = None;
        self.sign(keys, enrolment, None, now)
    }

    /// Returns when last words are signed: they count for as long as what was said before, also where the
    /// clock was set back since, for there is nobody to say them again.
    fn last_words_at(&self, now: UnixTime) -> UnixTime {
        self.kept.spoke.map_or(now, |said| now.max(said))
    }

    /// Makes sure of a certificate for the present keys; says whether it is a new one.
    fn certify(&mut self, keys: &Keys, now: UnixTime) -> Result<bool, AuthorError> {
        if self.kept.bygone.has_revoked(&self.gateway.gateway) {
            return Err(AuthorError::NameRevoked { gateway: self.gateway.clone() });
        }
        let (key, identity) = (keys.gateway.public(), keys.identity.public());
        let revoked = self.kept.bygone.told(now);
        let fits = |held: &Certificate| {
            held.key == key
                && held.revoked == revoked
                && held.identity == identity
                && held.clusterset == self.id
                && held.gateway == self.gateway
                && now.plus_seconds(CERTIFICATE_LEFT_SECONDS) < held.expires
        };
        let is_outranked = self.above.is_some() && self.may_catch_up(now);
        let is_used_up = self.kept.sequence >= LARGEST_NUMBER;
        if !is_outranked && !is_used_up && self.kept.certificate.as_ref().is_some_and(fits) {
            return Ok(false);
        }
        let generation = sign::next_generation(self.kept.generation.max(self.above), now);
        let mut kept = Kept { generation: Some(generation), ..self.kept.clone() };
        self.take_name(&mut kept);
        self.save(&kept)?;
        let request = CertRequest {
            id: &self.id,
            gateway: &self.gateway,
            key,
            generation,
            revoked: bygone::revocations(&revoked),
        };
        let signed = sign::gateway_cert(&keys.identity, &request, now);
        let expires = now.plus_seconds(sealane_api::certificate::LIFE_SECONDS);
        let (clusterset, gateway) = (self.id.clone(), self.gateway.clone());
        kept.certificate =
            Some(Certificate { clusterset, gateway, signed, key, identity, expires, revoked });
        kept.sequence = 0;
        self.save(&kept)?;
        if self.kept.certificate.as_ref().is_some_and(|before| before.identity != identity) {
            // Nobody believes what the identity before has signed for much longer.
            self.farewells.clear();
        }
        self.kept = kept;
        self.farewells.remove(&self.gateway.gateway);
        if self.above.take().is_some() {
            self.caught_up = Some(now);
        }
        tracing::info!(gateway = %self.gateway, generation, "gateway key certified");
        Ok(true)
    }

    /// Leaves the name that was spoken under before, if it was another one.
    fn take_name(&self, kept: &mut Kept) {
        let before = kept.certificate.as_ref().filter(|it| {
            it.clusterset == self.id && it.gateway.member == self.gateway.member && !kept.withdrawn
        });
        if let Some(name) = before.map(|it| it.gateway.gateway.clone()) {
            kept.bygone.leave(&name);
        }
        kept.bygone.take(&self.gateway.gateway);
    }

    fn sign(
        &mut self,
        keys: &Keys,
        enrolment: Option<&Signed>,
        wish: Option<&Wish>,
        now: UnixTime,
    ) -> Result<AdvertisementSpec, AuthorError> {
        let sequence = self.kept.sequence + 1;
        let spoke = self.kept.spoke.max(Some(now));
        let kept = Kept { sequence, spoke, withdrawn: false, ..self.kept.clone() };
        self.save(&kept)?;
        self.kept = kept;
        // `certify` ran before: a certificate is there.
        let missing = || Rejected::from(sealane_api::reason::Reason::BadEncoding);
        let certificate = self.kept.certificate.as_ref().ok_or_else(missing)?;
        let owner =
            TunnelOwner { id: &self.id, gateway: &self.gateway, gateway_key: certificate.key };
        let draft = Draft {
            id: &self.id,
            gateway: &self.gateway,
            cert: &certificate.signed,
            enrolment,
            sequence: self.kept.sequence,
            state: State::Active,
            networks: wish.map(|wish| wish.networks.clone()).unwrap_or_default(),
            probe4: wish.and_then(|wish| wish.probe4),
            tunnels: wish.map(|wish| entries(keys, owner, wish)).unwrap_or_default(),
            agent: env!("CARGO_PKG_VERSION"),
        };
        let draft = if wish.is_some() { draft } else { draft.withdrawn() };
        let spec = sign::advertisement(&keys.gateway, &draft, now)?;
        self.spoken = Some(spec.clone());
        Ok(spec)
    }

    /// Says whether the last time is long enough ago; a clock that was set back does not matter.
    fn may_catch_up(&self, now: UnixTime) -> bool {
        self.caught_up.is_none_or(|at| now < at || now >= at.plus_seconds(CATCH_UP_SECONDS))
    }

    fn save(&self, kept: &Kept) -> Result<(), StoreError> {
        // Strings and integers always serialise.
        self.store.save(FILE, &serde_json::to_vec(kept).unwrap_or_default())
    }
}

fn entries(keys: &Keys, owner: TunnelOwner<'_>, wish: &Wish) -> Vec<TunnelPayload> {
    let mut candidates = wish.candidates.clone();
    candidates.truncate(MOST_CANDIDATES);
    let settings = |slot| TunnelSettings { slot, mtu: wish.mtu, candidates: candidates.clone() };
    let second = keys.second.as_ref().zip(wish.second_slot);
    let second = second.map(|(it, slot)| sign::tunnel(&it.tunnel, &it.pair, owner, settings(slot)));
    let first = sign::tunnel(&keys.tunnel, &keys.pair, owner, settings(wish.slot));
    iter::once(first).chain(second).collect()
}

/// Parts networks into those inside our member's grant and those that root has not granted.
///
/// Before a first ClusterSet nothing is known to be granted, and everything is left out.
pub fn granted(
    wanted: &Networks<Cidr>,
    own: &GatewayId,
    clusterset: Option<&ClusterSet>,
) -> (Networks<Cidr>, Vec<Cidr>) {
    let grant = clusterset
        .and_then(|set| set.members.get(&own.member))
        .map(|entry| entry.cidrs.clone())
        .unwrap_or_default();
    let clip = |list: &[Cidr]| cidr::clip(list, &grant);
    let granted = Networks {
        pods: clip(&wanted.pods),
        services: clip(&wanted.services),
        external: clip(&wanted.external),
    };
    let refused = wanted
        .iter()
        .filter(|network| !grant.iter().any(|granted| granted.contains(network)))
        .copied()
        .collect();
    (granted, refused)
}

/// Returns a candidate of each address, in order.
pub fn candidates(
    kind: sealane_api::advertisement::CandidateKind,
    addresses: impl IntoIterator<Item = SocketAddr>,
) -> Vec<Candidate> {
    addresses
        .into_iter()
        .map(|address| Candidate { kind, addr: address.ip(), port: address.port() })
        .collect()
}
