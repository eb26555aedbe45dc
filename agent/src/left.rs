//! Owns the mark of a host that left on purpose: its `token_file` is not used again until somebody
//! joins it. Does not own leaving.

use sealane_broker::store::{Store, StoreError};

/// The file's name.
const FILE: &str = "left";

/// Notes that this host left.
///
/// # Errors
/// [`StoreError`] when it cannot be written; the next start would join again.
pub fn mark(store: &Store) -> Result<(), StoreError> {
    store.save(FILE, b"left on purpose; `sealane join` makes this host a member again\n")
}

/// Forgets it: this host is joined.
///
/// # Errors
/// [`StoreError`] when it cannot be removed.
pub fn clear(store: &Store) -> Result<(), StoreError> {
    store.remove(FILE)
}

/// Says whether this host left and nobody joined it since. A mark that cannot be read is one.
pub fn is_marked(store: &Store) -> bool {
    !matches!(store.load(FILE), Ok(None))
}
