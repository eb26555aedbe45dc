//! Owns the view that one operation has of the state: reads see its own and its group's changes,
//! writes are collected. Does not own committing.

use super::{
    account::TokenRecord,
    clock,
    history::Event,
    object::{Key, Object},
    store::{Anchor, State},
};
use serde_json::Value;
use std::{collections::BTreeMap, ops::Bound, sync::Arc};

/// What a group of operations wants to change. `None` deletes.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) revision: u64,
    pub(crate) objects: BTreeMap<Key, Option<Arc<Object>>>,
    pub(crate) events: Vec<Arc<Event>>,
    pub(crate) tokens: BTreeMap<String, Option<Arc<TokenRecord>>>,
    pub(crate) anchors: BTreeMap<String, Arc<Anchor>>,
}

impl Changes {
    pub(crate) fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.tokens.is_empty() && self.anchors.is_empty()
    }

    fn absorb(&mut self, later: Self) {
        self.revision = later.revision;
        self.objects.extend(later.objects);
        self.events.extend(later.events);
        self.tokens.extend(later.tokens);
        self.anchors.extend(later.anchors);
    }

    /// Makes the committed changes visible.
    pub(crate) fn apply(self, state: &mut State) {
        state.revision = self.revision;
        patch(&mut state.objects, self.objects);
        patch(&mut state.tokens, self.tokens);
        state.anchors.extend(self.anchors);
        self.events.into_iter().for_each(|event| state.history.push(event));
    }
}

fn patch<K: Ord, V>(map: &mut BTreeMap<K, V>, changes: BTreeMap<K, Option<V>>) {
    for (key, change) in changes {
        match change {
            Some(value) => map.insert(key, value),
            None => map.remove(&key),
        };
    }
}

/// One operation's transaction.
pub(crate) struct Draft<'a> {
    state: &'a State,
    group: &'a mut Changes,
    own: Changes,
    /// Unix seconds; the same for the whole operation.
    pub(crate) now: u64,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(state: &'a State, group: &'a mut Changes) -> Self {
        let own = Changes { revision: group.revision, ..Changes::default() };
        Self { state, group, own, now: clock::now() }
    }

    /// Adds the operation's changes to its group.
    pub(crate) fn keep(self) {
        self.group.absorb(self.own);
    }

    /// Forgets the operation's changes so far (a dry run).
    pub(crate) fn forget(&mut self) {
        self.own = Changes { revision: self.group.revision, ..Changes::default() };
    }

    pub(crate) fn object(&self, key: &Key) -> Option<Arc<Object>> {
        [&self.own, &*self.group]
            .into_iter()
            .find_map(|changes| changes.objects.get(key))
            .map_or_else(|| self.state.objects.get(key).cloned(), Clone::clone)
    }

    /// Objects of the kind and namespace of `first` whose names start with its name.
    pub(crate) fn with_prefix(&self, first: &Key) -> Vec<Arc<Object>> {
        let inside = |key: &Key| {
            key.plural == first.plural
                && key.namespace == first.namespace
                && key.name.starts_with(&first.name)
        };
        let range = (Bound::Included(first.clone()), Bound::Unbounded);
        let mut found: BTreeMap<Key, Arc<Object>> = self
            .state
            .objects
            .range(range.clone())
            .take_while(|(key, _)| inside(key))
            .map(|(key, object)| (key.clone(), Arc::clone(object)))
            .collect();
        for changes in [&*self.group, &self.own] {
            let changed = changes.objects.range(range.clone()).take_while(|(key, _)| inside(key));
            patch(&mut found, changed.map(|(key, to)| (key.clone(), to.clone())).collect());
        }
        found.into_values().collect()
    }

    /// Objects of all kinds.
    pub(crate) fn total(&self) -> usize {
        let added = |changes: &Changes| {
            changes
                .objects
                .iter()
                .filter(|(key, to)| to.is_some() && !self.state.objects.contains_key(*key))
                .count()
        };
        self.state.objects.len() + added(self.group) + added(&self.own)
    }

    /// Stores a complete object under the next revision.
    pub(crate) fn put(&mut self, key: Key, value: Value) -> Arc<Object> {
        let before = self.object(&key);
        self.own.revision += 1;
        let object = Arc::new(Object::seal(key.clone(), value, self.own.revision));
        self.record(Arc::clone(&object), before, Some(Arc::clone(&object)));
        object
    }

    /// Deletes an object; the answer is its last version, sealed with the deletion's revision.
    pub(crate) fn remove(&mut self, key: &Key) -> Option<Arc<Object>> {
        let before = self.object(key)?;
        self.own.revision += 1;
        let last = Arc::new(Object::seal(key.clone(), before.value(), self.own.revision));
        self.record(Arc::clone(&last), Some(before), None);
        Some(last)
    }

    fn record(
        &mut self,
        object: Arc<Object>,
        before: Option<Arc<Object>>,
        to: Option<Arc<Object>>,
    ) {
        self.own.objects.insert(object.key.clone(), to.clone());
        self.own.events.push(Arc::new(Event {
            revision: self.own.revision,
            at: self.now,
            object,
            deleted: to.is_none(),
            before,
        }));
    }

    /// Every token of the account stored under `key`.
    pub(crate) fn tokens_of(&self, key: &Key) -> Vec<Arc<TokenRecord>> {
        let mut tokens = self.state.tokens.clone();
        patch(&mut tokens, self.group.tokens.clone());
        patch(&mut tokens, self.own.tokens.clone());
        tokens.into_values().filter(|token| token.subject.is_account(key)).collect()
    }

    /// Tokens of the administrator.
    pub(crate) fn admin_tokens(&self) -> Vec<Arc<TokenRecord>> {
        let admin = |token: &&Arc<TokenRecord>| token.subject == super::account::Subject::Admin;
        self.state.tokens.values().filter(admin).cloned().collect()
    }

    pub(crate) fn put_token(&mut self, token: TokenRecord) {
        self.own.tokens.insert(token.id.clone(), Some(Arc::new(token)));
    }

    pub(crate) fn remove_token(&mut self, id: &str) {
        self.own.tokens.insert(id.to_owned(), None);
    }

    pub(crate) fn anchor(&self, namespace: &str) -> Option<Arc<Anchor>> {
        [&self.own, &*self.group]
            .into_iter()
            .find_map(|changes| changes.anchors.get(namespace))
            .or_else(|| self.state.anchors.get(namespace))
            .cloned()
    }

    pub(crate) fn set_anchor(&mut self, namespace: &str, anchor: Anchor) {
        self.own.anchors.insert(namespace.to_owned(), Arc::new(anchor));
    }
}
