//! Owns namespaces as the broker has them: those in use, read-only. A namespace exists as soon as
//! an object does. Does not own the objects.

use super::{
    account::Caller,
    app::App,
    clock,
    failure::Failure,
    object::Key,
    object::Object,
    rendering::Rendering,
    resource::{Column, Resource, Writers},
};
use serde_json::json;
use std::collections::BTreeMap;

/// For discovery and printing; no object of this kind is ever stored.
pub(crate) static NAMESPACES: Resource = Resource {
    group: "",
    version: "v1",
    plural: "namespaces",
    singular: "namespace",
    kind: "Namespace",
    short_names: &["ns"],
    categories: &[],
    description: "A namespace in use.",
    columns: &[
        Column {
            name: "Status",
            kind: "string",
            path: &["status", "phase"],
            priority: 0,
            description: "always Active",
        },
        Column {
            name: "Age",
            kind: "date",
            path: &["metadata", "creationTimestamp"],
            priority: 0,
            description: "time since its oldest object was created",
        },
    ],
    body: &[],
    writers: Writers::AdminOnly,
    max_bytes: 0,
    most_of_member: |_| usize::MAX,
    faults: |_, _| Vec::new(),
    definition: || None,
};

/// All namespaces in use and the default one; an account sees its own.
pub(crate) fn list(app: &App, caller: &Caller, rendering: Rendering) -> Vec<u8> {
    let (revision, found) = visible(app, caller);
    let metadata = json!({"resourceVersion": revision.to_string()});
    rendering.list(&NAMESPACES, metadata, found.values())
}

/// One namespace.
pub(crate) fn read(
    app: &App,
    caller: &Caller,
    name: &str,
    rendering: Rendering,
) -> Result<Vec<u8>, Failure> {
    let (_, found) = visible(app, caller);
    let namespace = found.get(name).ok_or_else(|| Failure::not_found("namespaces", name))?;
    Ok(rendering.object(&NAMESPACES, namespace))
}

fn visible(app: &App, caller: &Caller) -> (u64, BTreeMap<String, Object>) {
    let state = app.store.read();
    let mut born: BTreeMap<String, u64> = BTreeMap::new();
    born.insert(app.namespace.to_string(), clock::now());
    for object in state.objects.values() {
        let oldest = born.entry(object.key.namespace.clone()).or_insert(u64::MAX);
        *oldest = object.created.min(*oldest);
    }
    let found = born
        .into_iter()
        .filter(|(name, _)| caller.namespace().is_none_or(|own| own == name))
        .map(|(name, created)| (name.clone(), namespace(&name, created, state.revision)))
        .collect();
    (state.revision, found)
}

fn namespace(name: &str, created: u64, revision: u64) -> Object {
    let value = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": name,
            "creationTimestamp": clock::rfc3339(created),
            "labels": {"kubernetes.io/metadata.name": name},
        },
        "spec": {},
        "status": {"phase": "Active"},
    });
    Object::seal(Key::new(&NAMESPACES, "", name), value, revision)
}
