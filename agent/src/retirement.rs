//! Owns what a host still has to say that carried lanes and is a node now: its withdrawal, until a
//! broker has taken it. Does not talk to the broker.

use sealane_api::kinds::AdvertisementSpec;
use sealane_api::names::{ClusterSetId, GatewayId};
use sealane_api::signed::Signed;
use sealane_api::time::UnixTime;
use sealane_broker::store::{Store, StoreError};

use crate::advertise::{Author, AuthorError};
use crate::keys::Keys;
use crate::session::SessionError;

/// A gateway that is none any more, and has not been heard to say so.
pub struct Retirement {
    keys: Keys,
    author: Author,
    said: Option<AdvertisementSpec>,
}

impl Retirement {
    /// Finds out from the disk whether this host has a withdrawal to make; `None` when it never spoke
    /// as a gateway of this clusterset, or a broker took its last word.
    ///
    /// # Errors
    /// [`SessionError`] when something on disk cannot be used.
    pub fn of(store: &Store, id: &ClusterSetId) -> Result<Option<Self>, SessionError> {
        let Some(author) = Author::of_unwithdrawn(store.clone(), id.clone())? else {
            return Ok(None);
        };
        // Without the keys nobody would believe the withdrawal.
        let keys = Keys::load(store)?.filter(|keys| author.is_certified_for(keys));
        Ok(keys.map(|keys| Self { keys, author, said: None }))
    }

    /// Returns the name under which this host advertised.
    pub fn gateway(&self) -> &GatewayId {
        self.author.gateway()
    }

    /// Returns the withdrawal; it is signed once.
    ///
    /// # Errors
    /// [`AuthorError`] when numbers cannot be written first; nothing is signed then.
    pub fn last_word(
        &mut self,
        enrolment: Option<&Signed>,
        now: UnixTime,
    ) -> Result<AdvertisementSpec, AuthorError> {
        if let Some(said) = &self.said {
            return Ok(said.clone());
        }
        let spec = self.author.withdraw(&self.keys, enrolment, now)?;
        self.said = Some(spec.clone());
        Ok(spec)
    }

    /// Remembers for later runs that a broker took the withdrawal.
    ///
    /// # Errors
    /// [`StoreError`] when that cannot be written; it is withdrawn once more then.
    pub fn conclude(mut self) -> Result<(), StoreError> {
        self.author.note_withdrawn()
    }
}
