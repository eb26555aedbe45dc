//! Owns what this host remembers of having joined: the anchor, its member, the brokers and its
//! credential there. Does not own keys, nor what was accepted from others.

use sealane_api::clusterset::{BrokerAddress, ListPosition};
use sealane_api::keys::VerifyKey;
use sealane_api::names::{ClusterId, ClusterSetId};
use sealane_api::signed::Signed;
use sealane_api::time::UnixTime;
use sealane_api::token::Token;
use sealane_broker::access::{self, AccessError, Broker, Credential};
use sealane_broker::pin::SpkiPin;
use sealane_broker::store::{Store, StoreError};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// The file's name.
const FILE: &str = "membership.json";

/// What joining left behind. Holds the broker credential: wiped when dropped, never printed.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
pub struct Membership {
    #[zeroize(skip)]
    root: VerifyKey,
    #[zeroize(skip)]
    recovery: VerifyKey,
    /// The oldest list to believe.
    #[zeroize(skip)]
    pub minimum: ListPosition,
    /// Our member.
    #[zeroize(skip)]
    pub member: ClusterId,
    /// Brokers as the token named them, in order of preference.
    #[zeroize(skip)]
    pub brokers: Vec<BrokerAddress>,
    credential: String,
    /// When the brokers stop to take the credential, as the token says.
    #[zeroize(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_expires: Option<UnixTime>,
    /// The join key's word for our identity key, until root pins it.
    #[zeroize(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrolment: Option<Signed>,
    /// Who else enrolled with the same token, for people: a gateway under an identity.
    #[zeroize(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rival: Option<String>,
}

/// Why there is no membership where there should be one.
#[derive(Debug, thiserror::Error)]
pub enum MembershipError {
    /// The file could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file is not what this program writes.
    #[error(
        "{path}: {cause}; restore it, or empty the state directory and join with a new token (token create --rekey)"
    )]
    Damaged {
        /// The file.
        path: String,
        /// Where it is wrong.
        cause: String,
    },
}

impl Membership {
    /// Takes over a token; `enrolment` is what its join key signed, if it has one.
    pub fn of_token(token: &Token, enrolment: Option<Signed>) -> Self {
        Self {
            root: token.root,
            recovery: token.recovery,
            minimum: token.minimum,
            member: token.member.clone(),
            brokers: token.brokers.clone(),
            credential: token.credential.as_str().to_owned(),
            credential_expires: token.credential_expires,
            enrolment,
            rival: None,
        }
    }

    /// Returns the same membership with the access to the brokers that a later token of it gives. A
    /// token without a credential, or without a join key, leaves the one that was there.
    pub fn renewed(&self, token: &Token, enrolment: Option<Signed>) -> Self {
        let (credential, credential_expires) = match token.credential.as_str() {
            "" => (self.credential.clone(), self.credential_expires),
            credential => (credential.to_owned(), token.credential_expires),
        };
        // Another join key gives everybody another first.
        let rival = self.rival.clone().filter(|_| enrolment.is_none());
        Self {
            rival,
            root: self.root,
            recovery: self.recovery,
            minimum: self.minimum.max(token.minimum),
            member: self.member.clone(),
            brokers: token.brokers.clone(),
            credential,
            credential_expires,
            enrolment: enrolment.or_else(|| self.enrolment.clone()),
        }
    }

    /// Reads what an earlier run left; `None` before joining and after leaving.
    ///
    /// # Errors
    /// [`MembershipError`] when the file is there and cannot be used.
    pub fn load(store: &Store) -> Result<Option<Self>, MembershipError> {
        let Some(bytes) = store.load(FILE)? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| MembershipError::Damaged {
            path: store.path(FILE).display().to_string(),
            cause: error.to_string(),
        })
    }

    /// Keeps it for later runs.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be written.
    pub fn save(&self, store: &Store) -> Result<(), StoreError> {
        // Strings, integers and lists always serialise.
        let bytes = Zeroizing::new(serde_json::to_vec(self).unwrap_or_default());
        store.save(FILE, &bytes)
    }

    /// Forgets it.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be removed.
    pub fn remove(store: &Store) -> Result<(), StoreError> {
        store.remove(FILE)
    }

    /// Returns the clusterset that was joined.
    pub fn clusterset(&self) -> ClusterSetId {
        ClusterSetId::of_genesis(&self.root, &self.recovery)
    }

    /// Returns all brokers: those of the accepted ClusterSet first, then those of the token.
    pub fn all_brokers(&self, listed: &[BrokerAddress]) -> Vec<BrokerAddress> {
        let later = self.brokers.iter().filter(|address| !listed.contains(address));
        listed.iter().chain(later).cloned().collect()
    }

    /// Returns clients of the usable ones of these brokers, and why the others are not usable.
    pub fn clients(&self, brokers: &[BrokerAddress]) -> (Vec<Broker>, Vec<AccessError>) {
        let credential = Credential::new(self.credential.clone());
        let mut clients = Vec::new();
        let mut errors = Vec::new();
        for address in brokers {
            match client(address, &credential) {
                Ok(client) => clients.push(client),
                Err(error) => errors.push(error),
            }
        }
        (clients, errors)
    }
}

fn client(address: &BrokerAddress, credential: &Credential) -> Result<Broker, AccessError> {
    let pins = address
        .spki
        .iter()
        .map(|text| {
            sealane_api::keys::key_bytes(text).map(SpkiPin).map_err(|error| AccessError::BadUrl {
                url: address.url.clone(),
                cause: format!("pin {text:?}: {error}"),
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    access::BrokerAddress::parse(&address.url, &address.namespace, pins)?.client(credential)
}
