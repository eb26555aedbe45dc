//! Owns what was seen on a broker, unjudged. Nothing here is trusted: `sealane-api` verifies it.

use kube::api::ApiResource;
use serde_json::Value;

use crate::trouble::Trouble;

/// API group of all our kinds.
pub const GROUP: &str = sealane_api::kinds::GROUP;
/// API version of all our kinds.
pub const VERSION: &str = sealane_api::kinds::VERSION;
/// Name of the one ClusterSet object.
pub const CLUSTER_SET_NAME: &str = sealane_api::names::CLUSTERSET_OBJECT;

/// The kinds on a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `clustersets`.
    ClusterSet,
    /// `advertisements`.
    Advertisement,
}

impl Kind {
    /// Returns the REST coordinates of the kind.
    pub fn resource(self) -> ApiResource {
        let (kind, plural) = match self {
            Self::ClusterSet => ("ClusterSet", "clustersets"),
            Self::Advertisement => ("Advertisement", "advertisements"),
        };
        ApiResource {
            group: GROUP.to_owned(),
            version: VERSION.to_owned(),
            api_version: format!("{GROUP}/{VERSION}"),
            kind: kind.to_owned(),
            plural: plural.to_owned(),
        }
    }
}

/// An object as the broker showed it. Labels, owners and other metadata are left out: they are
/// unsigned and mean nothing here.
#[derive(Debug, Clone, PartialEq)]
pub struct Sighting {
    /// `metadata.name`.
    pub name: String,
    /// `spec`, whatever it is; `Null` when the object has none or it is [oversize](Self::oversize).
    pub spec: Value,
    /// Bytes of a `spec` that no honest writer sends; it was not kept. Refuse it as `TooLarge`.
    pub oversize: Option<usize>,
}

/// What happened on the broker, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum BoardEvent {
    /// All objects of a kind, after a (re)list. What is missing is *not* a statement.
    Listed(Kind, Vec<Sighting>),
    /// One object was written.
    Written(Kind, Sighting),
    /// One object went away. Not a statement either.
    Gone(Kind, String),
    /// The broker answers at this address.
    Reachable(String),
    /// The broker does not answer; it is tried again by itself.
    Unreachable {
        /// Which address was tried.
        url: String,
        /// What went wrong.
        trouble: Trouble,
    },
}
