//! Owns the bounded list of past changes that watches and continued lists read.
//! Does not own its storage (`disk`) nor the waiting for new events (`watch`).

use super::object::{Key, Object};
use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
    sync::Arc,
    time::Duration,
};

/// How much history is kept; whichever bound is met first cuts.
#[derive(Debug, Clone, Copy)]
pub struct HistoryBounds {
    /// Changes.
    pub events: usize,
    /// Age of the oldest change.
    pub age: Duration,
    /// Bytes of JSON, old and new versions together.
    pub bytes: usize,
}

impl Default for HistoryBounds {
    fn default() -> Self {
        Self { events: 8_192, age: Duration::from_secs(3_600), bytes: 64 << 20 }
    }
}

/// One committed change.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) revision: u64,
    /// Unix seconds.
    pub(crate) at: u64,
    /// The new version; after a deletion the last one, sealed with the deletion's revision.
    pub(crate) object: Arc<Object>,
    pub(crate) deleted: bool,
    /// The version before, to undo the change and to see it leave a selector.
    pub(crate) before: Option<Arc<Object>>,
}

impl Event {
    fn bytes(&self) -> usize {
        self.object.json.len() + self.before.as_ref().map_or(0, |before| before.json.len())
    }
}

/// Changes in order of revision, without gaps above `floor`.
#[derive(Debug, Default)]
pub(crate) struct History {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    /// Everything up to and including this revision has been forgotten.
    pub(crate) floor: u64,
}

impl History {
    pub(crate) fn starting_at(floor: u64) -> Self {
        Self { floor, ..Self::default() }
    }

    pub(crate) fn push(&mut self, event: Arc<Event>) {
        self.bytes += event.bytes();
        self.events.push_back(event);
    }

    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    /// The changes after `revision`, oldest first; `None` when some of them are forgotten.
    pub(crate) fn since(&self, revision: u64) -> Option<impl Iterator<Item = &Arc<Event>>> {
        let start = self.events.partition_point(|event| event.revision <= revision);
        (revision >= self.floor).then(|| self.events.range(start..))
    }

    /// Drops what is out of bounds. The newest change always stays, so that a watch that is up to
    /// date is never cut by one large object.
    pub(crate) fn prune(&mut self, bounds: HistoryBounds, now: u64) {
        while let Some(oldest) = self.events.front()
            && self.events.len() > 1
            && (self.events.len() > bounds.events
                || self.bytes > bounds.bytes
                || oldest.at.saturating_add(bounds.age.as_secs()) < now)
        {
            self.bytes -= oldest.bytes();
            self.floor = oldest.revision;
            self.events.pop_front();
        }
    }

    /// `objects` of one kind as they were at `revision`; `None` when that is forgotten.
    pub(crate) fn rewind(
        &self,
        objects: &BTreeMap<Key, Arc<Object>>,
        plural: &'static str,
        revision: u64,
    ) -> Option<BTreeMap<Key, Arc<Object>>> {
        let first = Key { plural, namespace: String::new(), name: String::new() };
        let mut then: BTreeMap<Key, Arc<Object>> = objects
            .range((Bound::Included(first), Bound::Unbounded))
            .take_while(|(key, _)| key.plural == plural)
            .map(|(key, object)| (key.clone(), Arc::clone(object)))
            .collect();
        let changes: Vec<&Arc<Event>> = self.since(revision)?.collect();
        for event in changes.into_iter().rev().filter(|event| event.object.key.plural == plural) {
            match &event.before {
                Some(before) => then.insert(event.object.key.clone(), Arc::clone(before)),
                None => then.remove(&event.object.key),
            };
        }
        Some(then)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(name: &str, revision: u64) -> Arc<Object> {
        let key = Key { plural: "advertisements", namespace: "n".into(), name: name.into() };
        Arc::new(Object::seal(key, json!({"metadata": {"name": name}}), revision))
    }

    fn change(revision: u64, deleted: bool, before: Option<Arc<Object>>, at: u64) -> Arc<Event> {
        Arc::new(Event { revision, at, object: object("a", revision), deleted, before })
    }

    #[test]
    fn forgotten_changes_are_never_skipped_silently() {
        let mut history = History::starting_at(10);
        for revision in 11..=20 {
            history.push(change(revision, false, None, 0));
        }
        history.prune(HistoryBounds { events: 4, ..HistoryBounds::default() }, 0);
        assert!(history.since(15).is_none());
        let seen: Vec<u64> = history.since(16).unwrap().map(|event| event.revision).collect();
        assert_eq!(seen, [17, 18, 19, 20]);
        assert_eq!(history.since(20).unwrap().count(), 0);
    }

    #[test]
    fn age_and_bytes_bound_the_history_as_well() {
        for bounds in [
            HistoryBounds { age: Duration::from_secs(5), ..HistoryBounds::default() },
            HistoryBounds { bytes: 1, ..HistoryBounds::default() },
        ] {
            let mut history = History::default();
            (1..=9).for_each(|revision| history.push(change(revision, false, None, revision)));
            history.prune(bounds, 100);
            assert_eq!((history.len(), history.floor), (1, 8), "{bounds:?}");
        }
    }

    #[test]
    fn an_old_revision_can_be_listed_again() {
        let first = object("a", 1);
        let mut history = History::default();
        history.push(change(1, false, None, 0));
        history.push(change(2, true, Some(Arc::clone(&first)), 0));
        let now = BTreeMap::new();
        assert_eq!(history.rewind(&now, "advertisements", 2).unwrap().len(), 0);
        let then = history.rewind(&now, "advertisements", 1).unwrap();
        assert_eq!(then.values().next(), Some(&first));
        assert_eq!(history.rewind(&now, "advertisements", 0).unwrap().len(), 0);
    }
}
