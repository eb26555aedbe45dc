//! Owns `clusterset.yaml`: the signed list of members as a Kubernetes manifest. What is read back
//! is verified before anything is built on it.

use sealane_api::clusterset::{ClusterSet, ListPosition};
use sealane_api::keys::{SigningSeed, VerifyKey};
use sealane_api::kinds::{self, ClusterSetSpec, GROUP, Genesis, VERSION};
use sealane_api::names::{CLUSTERSET_OBJECT, ClusterSetId};
use sealane_api::reason::{Reason, Rejected};
use sealane_api::sign;
use sealane_api::signed::Signed;
use sealane_api::time::UnixTime;
use sealane_api::verify::clusterset::{Against, Judged, judge};
use serde_json::{Value, json};

/// A list that is sound and signed by the root key of its own genesis.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// What a broker is given.
    pub spec: ClusterSetSpec,
    /// What it says.
    pub list: ClusterSet,
}

/// Why a text is no manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Not YAML, or YAML of something else.
    #[error("it is not a ClusterSet manifest ({0})")]
    Form(String),
    /// The list in it is not to be believed.
    #[error(transparent)]
    Rejected(#[from] Rejected),
}

impl Manifest {
    /// Signs a list and verifies the result as every member will.
    pub fn sign(
        root: &SigningSeed,
        genesis: Genesis,
        links: Vec<Signed>,
        list: &ClusterSet,
    ) -> Result<Self, Rejected> {
        Self::believe(sign::clusterset(root, genesis, links, list))
    }

    /// Signs the next version of this list, changed by `edit`, for as long a life as before.
    pub fn next(
        &self,
        root: &SigningSeed,
        now: UnixTime,
        edit: impl FnOnce(&mut ClusterSet),
    ) -> Result<Self, Rejected> {
        let mut list = self.list.clone();
        let life = list.expires.0.saturating_sub(list.issued.0);
        list.position.version += 1;
        list.issued = now;
        list.expires = now.plus_seconds(life);
        edit(&mut list);
        Self::sign(root, self.spec.genesis.clone(), self.spec.links.clone(), &list)
    }

    /// Takes over a `spec` after verifying it as a member that begins with its genesis would.
    pub fn believe(spec: ClusterSetSpec) -> Result<Self, Rejected> {
        let key = |text: &str| VerifyKey::parse(text).map_err(|_| Reason::WeakKey.about("genesis"));
        let (root, recovery) = (key(&spec.genesis.root)?, key(&spec.genesis.recovery)?);
        let anchor = ClusterSetId::of_genesis(&root, &recovery);
        let minimum = ListPosition { link_index: 0, version: 1 };
        match judge(Against { anchor: &anchor, minimum, held: None }, &spec)? {
            Judged::Newer(list) => Ok(Self { spec, list }),
            Judged::Unchanged => Err(Reason::ClusterSetFork.about("nothing is held here")),
        }
    }

    /// Reads a manifest's text.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let object: Value =
            serde_saphyr::from_str(text).map_err(|error| ManifestError::Form(error.to_string()))?;
        let (kind, version) = (object.get("kind"), object.get("apiVersion"));
        let expected = format!("{GROUP}/{VERSION}");
        if kind != Some(&json!("ClusterSet")) || version != Some(&json!(expected)) {
            return Err(ManifestError::Form(format!("expected a ClusterSet of {expected}")));
        }
        Ok(Self::believe(kinds::spec(&object)?)?)
    }

    /// Returns the manifest's text: plain YAML, for Git and for kubectl.
    pub fn text(&self) -> Result<String, ManifestError> {
        let spec = serde_json::to_value(&self.spec)
            .map_err(|error| ManifestError::Form(error.to_string()))?;
        let mut metadata = json!({ "name": CLUSTERSET_OBJECT });
        if let Some(broker) = self.list.brokers.first() {
            metadata["namespace"] = json!(broker.namespace);
        }
        let object = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"),
            "kind": "ClusterSet",
            "metadata": metadata,
            "spec": spec,
        });
        serde_saphyr::to_string(&object).map_err(|error| ManifestError::Form(error.to_string()))
    }
}
