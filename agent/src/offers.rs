//! Owns what stands on the broker, parsed: the newest of each object, for as long as it stands there.
//! Believes nothing; how much there can be of it is the mirror's to bound.

use std::collections::{BTreeMap, BTreeSet};

use sealane_api::kinds::{self, AdvertisementSpec, ClusterSetSpec};
use sealane_api::reason::{Reason, Rejected};
use sealane_broker::board::{CLUSTER_SET_NAME, Kind, Sighting};
use serde_json::json;

/// Characters of a member's name, for display.
const MEMBER_CHARACTERS: usize = 63;

/// All objects that can be judged.
#[derive(Debug, Default)]
pub struct Offers {
    /// Kinds of which a whole list was seen since the broker was last out of sight.
    listed: BTreeSet<Kind>,
    clusterset: Option<ClusterSetSpec>,
    advertisements: BTreeMap<String, AdvertisementSpec>,
}

/// An object that cannot even be judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Member that it claims to come from; hostile text, for display only.
    pub member: String,
    /// What is wrong with it.
    pub rejected: Rejected,
}

impl Offers {
    /// Forgets all objects of a kind: a new list of them follows.
    pub fn clear(&mut self, kind: Kind) {
        self.listed.insert(kind);
        match kind {
            Kind::ClusterSet => self.clusterset = None,
            Kind::Advertisement => self.advertisements.clear(),
        }
    }

    /// Takes an object in place of the one that had its name; `false` when it is none of ours.
    ///
    /// # Errors
    /// [`Unreadable`]; nothing is offered under its name then.
    pub fn put(&mut self, kind: Kind, object: Sighting) -> Result<bool, Unreadable> {
        let Sighting { name, spec, oversize } = object;
        if kind == Kind::ClusterSet && name != CLUSTER_SET_NAME {
            return Ok(false);
        }
        self.remove(kind, &name);
        if let Some(size) = oversize {
            let rejected = Reason::TooLarge.about(format!("spec of {size} bytes"));
            return Err(Unreadable { member: String::new(), rejected });
        }
        let claimed = spec.get("member").and_then(|member| member.as_str()).unwrap_or_default();
        let member: String = claimed.chars().take(MEMBER_CHARACTERS).collect();
        let whole = json!({ "spec": spec });
        let parsed = match kind {
            Kind::ClusterSet => kinds::spec(&whole).map(|spec| self.clusterset = Some(spec)),
            Kind::Advertisement => {
                kinds::spec(&whole).map(|spec| drop(self.advertisements.insert(name, spec)))
            }
        };
        parsed.map(|()| true).map_err(|rejected| Unreadable { member, rejected })
    }

    /// Forgets an object that is not there any more.
    pub fn remove(&mut self, kind: Kind, name: &str) {
        match kind {
            Kind::ClusterSet if name == CLUSTER_SET_NAME => self.clusterset = None,
            Kind::ClusterSet => {}
            Kind::Advertisement => drop(self.advertisements.remove(name)),
        }
    }

    /// Notes that the broker is out of sight: what stands there may be something else by now.
    pub fn lose_sight(&mut self) {
        self.listed.clear();
    }

    /// Says whether what is missing here of a kind is missing on the broker.
    pub fn is_listed(&self, kind: Kind) -> bool {
        self.listed.contains(&kind)
    }

    /// Returns the list, if one stands there.
    pub fn clusterset(&self) -> Option<&ClusterSetSpec> {
        self.clusterset.as_ref()
    }

    /// Returns all advertisements, by object name.
    pub fn advertisements(&self) -> &BTreeMap<String, AdvertisementSpec> {
        &self.advertisements
    }
}
