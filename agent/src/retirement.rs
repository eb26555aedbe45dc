//! Owns what a host still has to say that carried lanes and is a node now: its withdrawals, until a
//! broker has taken each. Does not talk to the broker.

use sealane_api::names::ClusterSetId;
use sealane_broker::store::Store;

use crate::advertise::Author;
use crate::keys::Keys;
use crate::session::SessionError;

/// A gateway that is none any more, and has not been heard to say so.
pub struct Retirement {
    /// Those that it spoke with.
    pub keys: Keys,
    /// Who has nothing but withdrawals to write.
    pub author: Author,
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
        Ok(keys.map(|keys| Self { keys, author }))
    }
}
