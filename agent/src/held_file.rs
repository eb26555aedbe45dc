//! Owns `held.json`, what was accepted of others between restarts, and whether the disk has it yet.
//! Nothing counts that is not on disk. Does not judge what is in it.

use std::collections::BTreeMap;

use sealane_api::held::Held;
use sealane_api::names::{ClusterSetId, GatewayId};
use sealane_api::remote::RemoteGateway;
use sealane_broker::store::{Store, StoreError};

/// The file's name.
const FILE: &str = "held.json";

/// What is held cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file is not what this program writes.
    #[error("{path}: {cause}; restore it, or remove it to learn everything again from the broker")]
    Damaged {
        /// The file.
        path: String,
        /// Where it is wrong.
        cause: String,
    },
    /// The file was written for another clusterset.
    #[error("{path}: of clusterset {held}, but this host joined {joined}; remove it")]
    Foreign {
        /// The file.
        path: String,
        /// Whose it is.
        held: String,
        /// Whose it should be.
        joined: String,
    },
}

/// How the disk compares with what is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It has all of it.
    Same,
    /// Something was accepted since the last write.
    Behind,
    /// It refused the last write.
    Refused,
}

/// The file, and the gateways as it has them.
pub struct HeldFile {
    store: Store,
    standing: Standing,
    /// Why the last write was refused; stays until one is not.
    trouble: Option<String>,
    gateways: BTreeMap<GatewayId, RemoteGateway>,
}

impl HeldFile {
    /// Reads the file; no `Held` when there is none.
    ///
    /// # Errors
    /// [`TrustError`] when the file is there and cannot be used.
    pub fn open(store: Store, anchor: &ClusterSetId) -> Result<(Self, Option<Held>), TrustError> {
        let held = match store.load(FILE)? {
            Some(bytes) => Some(Self::parse(&store, &bytes, anchor)?),
            None => None,
        };
        let (standing, trouble, gateways) = (Standing::Same, None, BTreeMap::new());
        Ok((Self { store, standing, trouble, gateways }, held))
    }

    fn parse(store: &Store, bytes: &[u8], anchor: &ClusterSetId) -> Result<Held, TrustError> {
        let path = || store.path(FILE).display().to_string();
        let held: Held = serde_json::from_slice(bytes)
            .map_err(|error| TrustError::Damaged { path: path(), cause: error.to_string() })?;
        if held.anchor != *anchor {
            let (held, joined) = (held.anchor.to_string(), anchor.to_string());
            return Err(TrustError::Foreign { path: path(), held, joined });
        }
        Ok(held)
    }

    /// Removes the file.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be removed.
    pub fn remove(store: &Store) -> Result<(), StoreError> {
        store.remove(FILE)
    }

    /// Notes that the disk lags behind what is believed, so that the next [`HeldFile::write`] is due.
    pub fn lags(&mut self) {
        self.standing = Standing::Behind;
    }

    /// Has a write that was refused tried once more.
    pub fn try_again(&mut self) {
        if !self.is_current() {
            self.standing = Standing::Behind;
        }
    }

    /// Says whether there is something to write.
    pub fn is_due(&self) -> bool {
        self.standing == Standing::Behind
    }

    /// Says whether the disk has all that is believed.
    pub fn is_current(&self) -> bool {
        self.standing == Standing::Same
    }

    /// Writes what is believed; says whether the disk has it now.
    pub fn write(&mut self, held: &Held) -> bool {
        // Maps with text keys, strings and integers always serialise.
        let bytes = serde_json::to_vec(held).unwrap_or_default();
        let refused = self.store.save(FILE, &bytes).err().map(|error| error.to_string());
        match (&self.trouble, &refused) {
            (None, Some(cause)) => {
                tracing::warn!(%cause, "what is believed cannot be saved; nothing new counts");
            }
            (Some(_), None) => tracing::info!("what is believed is saved again"),
            _ => {}
        }
        self.standing = if refused.is_none() { Standing::Same } else { Standing::Refused };
        self.trouble = refused;
        self.is_current()
    }

    /// Remembers the gateways as the disk has them now.
    pub fn remember(&mut self, gateways: Vec<RemoteGateway>) {
        self.gateways = gateways.into_iter().map(|it| (it.id.clone(), it)).collect();
    }

    /// Returns a gateway as the disk has it: not newer, and none that it has not.
    pub fn as_written(&self, believed: RemoteGateway) -> Option<RemoteGateway> {
        let position = |it: &RemoteGateway| (it.identity, it.generation, it.sequence);
        let kept = self.gateways.get(&believed.id)?;
        Some(if position(kept) == position(&believed) { believed } else { kept.clone() })
    }

    /// Returns why the last write was refused, if it was.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }
}
