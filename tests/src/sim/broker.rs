//! Owns the bulletin board of a run, and how it fails: away, robbed, rolled back, hiding. Signs and
//! verifies nothing; notifying members is the world's.

use std::collections::{BTreeMap, BTreeSet};

use sealane_api::kinds::{AdvertisementSpec, ClusterSetSpec};
use sealane_broker::board::{BoardEvent, CLUSTER_SET_NAME, Kind, Sighting};
use serde_json::Value;

/// Kind and name of an object.
pub type Key = (Kind, String);

/// What stands on the board, who sees it, and what stood there before.
#[derive(Debug, Default)]
pub struct Board {
    objects: BTreeMap<Key, Value>,
    backup: BTreeMap<Key, Value>,
    /// Nobody reaches it.
    pub is_away: bool,
    /// Objects that it does not show.
    pub hidden: BTreeSet<Key>,
}

impl Board {
    /// Writes an object; `None` when that changes nothing that anybody may see.
    pub fn write(&mut self, key: Key, spec: Value) -> Option<BoardEvent> {
        if self.objects.get(&key) == Some(&spec) {
            return None;
        }
        let (kind, name) = key.clone();
        self.objects.insert(key.clone(), spec.clone());
        let seen = Sighting { name, spec, oversize: None };
        (!self.hidden.contains(&key)).then_some(BoardEvent::Written(kind, seen))
    }

    /// Writes the list.
    pub fn write_list(&mut self, spec: &ClusterSetSpec) -> Option<BoardEvent> {
        self.write((Kind::ClusterSet, CLUSTER_SET_NAME.to_owned()), value(spec))
    }

    /// Returns what stands under a name, hidden or not.
    #[must_use]
    pub fn object(&self, key: &Key) -> Option<&Value> {
        self.objects.get(key)
    }

    /// Returns all advertisements that stand there.
    pub fn words(&self) -> impl Iterator<Item = (&String, AdvertisementSpec)> {
        let words = self.objects.iter().filter(|((kind, _), _)| *kind == Kind::Advertisement);
        words.filter_map(|((_, name), spec)| {
            Some((name, serde_json::from_value(spec.clone()).ok()?))
        })
    }

    /// Returns the lists that a member is shown when it connects.
    #[must_use]
    pub fn shown(&self) -> [BoardEvent; 2] {
        [Kind::ClusterSet, Kind::Advertisement].map(|kind| {
            let shown = self.objects.iter().filter(|(key, _)| key.0 == kind);
            let shown = shown.filter(|(key, _)| !self.hidden.contains(key));
            let sighting = |(key, spec): (&Key, &Value)| Sighting {
                name: key.1.clone(),
                spec: spec.clone(),
                oversize: None,
            };
            BoardEvent::Listed(kind, shown.map(sighting).collect())
        })
    }

    /// Remembers what stands there, to be rolled back to.
    pub fn back_up(&mut self) {
        self.backup = self.objects.clone();
    }

    /// Goes back to what was remembered.
    pub fn roll_back(&mut self) {
        self.objects = self.backup.clone();
    }

    /// Loses everything.
    pub fn lose_all(&mut self) {
        self.objects.clear();
    }

    /// Loses one object.
    pub fn lose(&mut self, key: &Key) -> Option<BoardEvent> {
        self.objects.remove(key)?;
        Some(BoardEvent::Gone(key.0, key.1.clone()))
    }

    /// Returns the names of all objects.
    #[must_use]
    pub fn names(&self) -> Vec<Key> {
        self.objects.keys().cloned().collect()
    }
}

/// Returns an object as JSON: structs of text, numbers and lists always have that form.
#[must_use]
pub fn value(spec: &impl serde::Serialize) -> Value {
    serde_json::to_value(spec).unwrap_or_default()
}
