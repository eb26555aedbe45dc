//! Owns what is true in a run: the administrator's keys and lists, every member's keys, and every word
//! that its owner signed. No simulated host can look here; invariants and the administrator do.

use std::collections::{BTreeMap, BTreeSet};

use sealane_api::cidr::Cidr;
use sealane_api::clusterset::{ClusterSet, JoinKey, ListPosition, MemberEntry};
use sealane_api::keys::{SigningSeed, VerifyKey};
use sealane_api::kinds::{AdvertisementSpec, ClusterSetSpec, Genesis};
use sealane_api::names::{ClusterId, ClusterSetId, GatewayId};
use sealane_api::sign;
use sealane_api::time::{DAY_SECONDS, UnixTime};
use sealane_api::token::Token;
use sealane_state::wireguard::PublicKey;
use zeroize::Zeroizing;

use super::chance::Chance;

/// Unix time at which every run begins.
pub const BEGIN: UnixTime = UnixTime(1_800_000_000);

/// The administrator, and the record of everything that was rightly signed.
pub struct Truth {
    root: SigningSeed,
    recovery: SigningSeed,
    /// The list in force.
    pub list: ClusterSet,
    /// Every list that root signed, by its payload.
    pub lists: BTreeMap<String, ClusterSet>,
    /// Every word, by the gateway and the payload that it signed.
    pub words: BTreeSet<(GatewayId, String)>,
    /// Whose each tunnel key is.
    pub tunnels: BTreeMap<PublicKey, GatewayId>,
}

impl Truth {
    /// Begins a clusterset without members.
    pub fn begin(chance: &mut Chance) -> Self {
        let root = SigningSeed::from_bytes(Zeroizing::new(chance.key()));
        let recovery = SigningSeed::from_bytes(Zeroizing::new(chance.key()));
        let id = ClusterSetId::of_genesis(&root.public(), &recovery.public());
        Self {
            root,
            recovery,
            list: ClusterSet::first(id, BEGIN),
            lists: BTreeMap::new(),
            words: BTreeSet::new(),
            tunnels: BTreeMap::new(),
        }
    }

    /// Returns the clusterset's name.
    #[must_use]
    pub fn id(&self) -> &ClusterSetId {
        &self.list.id
    }

    /// Returns the keys that the clusterset began with.
    #[must_use]
    pub fn genesis(&self) -> Genesis {
        Genesis {
            root: self.root.public().to_string(),
            recovery: self.recovery.public().to_string(),
        }
    }

    /// Changes the list and signs its next version.
    pub fn sign_next(
        &mut self,
        now: UnixTime,
        change: impl FnOnce(&mut ClusterSet),
    ) -> ClusterSetSpec {
        self.list = self.list.next(now);
        change(&mut self.list);
        let spec = sign::clusterset(&self.root, self.genesis(), Vec::new(), &self.list);
        self.lists.insert(spec.signed.payload.clone(), self.list.clone());
        spec
    }

    /// Returns what a host of `member` joins with.
    #[must_use]
    pub fn token(&self, member: &ClusterId, minimum: ListPosition) -> Token {
        Token {
            root: self.root.public(),
            recovery: self.recovery.public(),
            minimum,
            member: member.clone(),
            join: None,
            brokers: Vec::new(),
            credential: Zeroizing::new("credential".to_owned()),
            credential_expires: None,
        }
    }

    /// Records a word as signed by the gateway that it names.
    pub fn record(&mut self, gateway: &GatewayId, spec: &AdvertisementSpec) {
        self.words.insert((gateway.clone(), spec.signed.payload.clone()));
    }
}

/// How root knows a member.
pub enum Known {
    /// By its identity key.
    Pinned(VerifyKey),
    /// By the join key of its token.
    Joining(VerifyKey),
}

/// Returns the entry of a member.
#[must_use]
pub fn entry(known: Known, cidrs: Vec<Cidr>) -> MemberEntry {
    let granting = MemberEntry::granting(cidrs);
    match known {
        Known::Pinned(key) => MemberEntry { keys: vec![key], ..granting },
        Known::Joining(key) => {
            let before = BEGIN.plus_seconds(7 * DAY_SECONDS);
            MemberEntry { join: Some(JoinKey { key, before }), ..granting }
        }
    }
}
