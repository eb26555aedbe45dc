//! Owns what being a member is made of while the agent runs: membership, keys, belief, own word and
//! the line to the broker. Exists from joining to leaving.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use sealane_api::advertisement::Networks;
use sealane_api::cidr::Cidr;
use sealane_api::keys::PairKey;
use sealane_api::kinds::AdvertisementSpec;
use sealane_api::names::{ClusterSetId, GatewayId};
use sealane_api::psk::{self, LaneEnd};
use sealane_api::remote::{LocalFacts, RemoteGateway};
use sealane_api::time::UnixTime;
use sealane_broker::store::{Store, StoreError};
use sealane_plan::name::{LaneId, MemberId};
use sealane_state::wireguard::{PskFingerprint, PublicKey};
use tokio::sync::mpsc;

use crate::advertise::{self, Author, AuthorError};
use crate::config::{Config, Role};
use crate::endpoints::Endpoints;
use crate::event::Event;
use crate::facts;
use crate::held_file::TrustError;
use crate::keys::{Keys, KeysError, Ring};
use crate::line::BrokerLine;
use crate::membership::{Membership, MembershipError};
use crate::resolver;
use crate::retirement::Retirement;
use crate::rotation::{Moment, Rotation, RotationError};
use crate::trust::Trust;

/// One membership, at work.
pub struct Session {
    /// What joining left behind.
    pub membership: Membership,
    /// The clusterset.
    pub id: ClusterSetId,
    /// This host's name in it.
    pub own: GatewayId,
    /// Private keys; `None` on nodes without lanes.
    pub keys: Option<Keys>,
    /// The replacement of the tunnel keys; `None` on nodes without lanes.
    pub rotation: Option<Rotation>,
    /// What is believed of others.
    pub trust: Trust,
    /// The author of our advertisement; `None` on nodes without lanes.
    pub author: Option<Author>,
    /// What is to be said once more by a node that carried lanes.
    pub retirement: Option<Retirement>,
    /// The broker.
    pub line: BrokerLine,
    /// Lanes that carry traffic by the last plan.
    pub choices: BTreeMap<MemberId, PublicKey>,
    /// Secrets lent to the host.
    pub ring: Arc<Ring>,
    events: mpsc::Sender<Event>,
    resolvers: BTreeSet<IpAddr>,
    reserved_before: BTreeSet<IpAddr>,
    /// Lanes whose pre-shared key was derived already, with the pair key that it came from.
    derived: BTreeMap<LaneId, (PairKey, PskFingerprint)>,
}

/// Why a membership cannot be taken up.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The membership file.
    #[error(transparent)]
    Membership(#[from] MembershipError),
    /// Key files.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// What is held.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// Own numbers.
    #[error(transparent)]
    Author(#[from] AuthorError),
    /// The replacement of keys.
    #[error(transparent)]
    Rotation(#[from] RotationError),
    /// The node's name does not serve as a gateway's.
    #[error("{0}; set `node` in the configuration")]
    Name(String),
}

impl Session {
    /// Takes up the membership on disk; `None` when this host has joined nothing.
    ///
    /// # Errors
    /// [`SessionError`] when something on disk cannot be used.
    pub fn resume(
        store: &Store,
        config: &Config,
        ring: &Arc<Ring>,
        events: &mpsc::Sender<Event>,
        now: UnixTime,
    ) -> Result<Option<Self>, SessionError> {
        let Some(membership) = Membership::load(store)? else { return Ok(None) };
        let id = membership.clusterset();
        let gateway = sealane_api::names::GatewayName::parse(&config.node)
            .map_err(|error| SessionError::Name(error.to_string()))?;
        let own = GatewayId { member: membership.member.clone(), gateway };
        let (keys, rotation, author, retirement) = match config.role {
            Role::Gateway => {
                let mut keys = Keys::load_or_make(store)?;
                let rotation = Rotation::resume(
                    store.clone(),
                    &mut keys,
                    Moment { wall: now, uptime: Instant::now() },
                )?;
                ring.lend_tunnel(&keys);
                let author = Author::load(store.clone(), id.clone(), own.clone())?;
                (Some(keys), Some(rotation), Some(author), None)
            }
            Role::Node => (None, None, None, retirement(store, &id)),
        };
        let trust = Trust::load(store.clone(), &membership, now, &LocalFacts::named(own.clone()))?;
        let listed = trust.receiver().clusterset().map(|set| set.brokers.clone());
        let line = BrokerLine::open(&membership, &listed.unwrap_or_default(), events.clone());
        Ok(Some(Self {
            membership,
            id,
            own,
            keys,
            rotation,
            trust,
            author,
            retirement,
            line,
            choices: BTreeMap::new(),
            ring: ring.clone(),
            events: events.clone(),
            resolvers: resolver::configured(),
            reserved_before: BTreeSet::new(),
            derived: BTreeMap::new(),
        }))
    }

    /// Returns who writes here, be it no more than withdrawals; none on nodes that have nothing to say.
    pub fn writer(&self) -> Option<&Author> {
        self.author.as_ref().or(self.retirement.as_ref().map(|it| &it.author))
    }

    /// Returns all that this host said last, under whatever name.
    pub fn words(&self) -> impl Iterator<Item = &AdvertisementSpec> {
        self.writer().into_iter().flat_map(Author::words)
    }

    /// Remembers for later runs that a broker took the withdrawal of a name of the past.
    pub fn note_farewell(&mut self, gateway: &str) {
        let retired = self.retirement.as_mut().map(|it| &mut it.author);
        let Some(author) = self.author.as_mut().or(retired) else { return };
        match author.note_farewell(gateway) {
            Ok(true) => tracing::info!(%gateway, "withdrawn"),
            Ok(false) => {}
            Err(error) => tracing::warn!(%gateway, %error, "a restart withdraws once more"),
        }
    }

    /// Forgets everything that joining and being a member left on disk.
    ///
    /// # Errors
    /// The first file that cannot be removed; the others are gone.
    pub fn forget(store: &Store, ring: &Ring) -> Result<(), StoreError> {
        ring.clear();
        let results = [
            Membership::remove(store),
            Keys::remove(store),
            Trust::remove(store),
            Author::remove(store),
            Rotation::remove(store),
            Endpoints::remove(store),
        ];
        results.into_iter().collect()
    }

    /// Returns our networks as granted, and those that are configured but not granted.
    pub fn granted(&self, config: &Config) -> (Networks<Cidr>, Vec<Cidr>) {
        let wanted = facts::configured_networks(config);
        advertise::granted(&wanted, &self.own, self.trust.receiver().clusterset())
    }

    /// Returns addresses that no lane may swallow: those of brokers and name servers.
    pub fn reserved(&self) -> BTreeSet<IpAddr> {
        self.line.addresses().union(&self.resolvers).copied().collect()
    }

    /// Takes the name servers in use; says whether what is reserved changed since this was last
    /// asked, be it by them or by what the names of brokers lead to.
    pub fn resolves_by(&mut self, resolvers: BTreeSet<IpAddr>) -> bool {
        self.resolvers = resolvers;
        let reserved = self.reserved();
        let changed = self.reserved_before != reserved;
        self.reserved_before = reserved;
        changed
    }

    /// Opens the line to the brokers anew when the list in force names others than it was opened with.
    pub fn follow_listed_brokers(&mut self) {
        let listed = self.trust.receiver().clusterset().map(|set| set.brokers.clone());
        let listed = listed.unwrap_or_default();
        if self.line.followed() != self.membership.all_brokers(&listed) {
            tracing::info!(brokers = listed.len(), "the ClusterSet names other brokers");
            self.line.reopen(&self.membership, &listed, self.events.clone());
        }
    }

    /// Opens the line to the brokers anew, as its connections may be dead.
    pub fn redial(&mut self) {
        let listed = self.trust.receiver().clusterset().map(|set| set.brokers.clone());
        self.line.reopen(&self.membership, &listed.unwrap_or_default(), self.events.clone());
    }

    /// Takes another access to the brokers, and opens the line with it; nothing else is touched.
    pub fn reach_brokers_by(&mut self, membership: Membership) {
        self.membership = membership;
        self.redial();
    }

    /// Derives the pre-shared key of every lane, lends it, and returns the fingerprints.
    pub fn lend_psks(&mut self, remotes: &[RemoteGateway]) -> BTreeMap<LaneId, PskFingerprint> {
        let Some(keys) = &self.keys else { return BTreeMap::new() };
        let own = keys.wireguard();
        let ours = LaneEnd {
            wireguard: keys.tunnel.public().wireguard(),
            pair: keys.pair.public(),
            owner: &self.own,
        };
        let mut derived = BTreeMap::new();
        for remote in remotes {
            for tunnel in &remote.tunnels {
                let lane = LaneId { own, remote: PublicKey(tunnel.key.0) };
                if let Some(known) = self.derived.get(&lane).filter(|it| it.0 == tunnel.pair) {
                    derived.insert(lane, *known);
                    continue;
                }
                let theirs =
                    LaneEnd { wireguard: tunnel.key, pair: tunnel.pair, owner: &remote.id };
                // A pair key that does not contribute was refused on arrival.
                if let Ok(psk) = psk::derive(&self.id, &keys.pair, ours, theirs) {
                    derived.insert(lane, (tunnel.pair, self.ring.lend_psk(&psk)));
                }
            }
        }
        // The hand may still be busy with the lanes of the last plan.
        let of = |lanes: &BTreeMap<LaneId, (PairKey, PskFingerprint)>| -> Vec<PskFingerprint> {
            lanes.values().map(|(_, fingerprint)| *fingerprint).collect()
        };
        let lent = of(&derived).into_iter().chain(of(&self.derived)).collect();
        self.ring.keep_psks(&lent);
        self.derived = derived;
        self.derived.iter().map(|(lane, (_, fingerprint))| (*lane, *fingerprint)).collect()
    }
}

/// A node works without its last word of a former life; what stands under that name expires.
fn retirement(store: &Store, id: &ClusterSetId) -> Option<Retirement> {
    Retirement::of(store, id).unwrap_or_else(|error| {
        tracing::warn!(%error, "what this host said as a gateway is not withdrawn: restart the agent once \
            that is mended; else it expires by itself");
        None
    })
}
