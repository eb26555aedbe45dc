//! Owns one stored object: its key, its exact JSON, and the metadata the server sets itself.
//! Does not own storage, nor what a kind allows in `spec`.

use super::{
    clock,
    failure::{Cause, Failure},
    name::{is_subdomain, metadata_faults},
    resource::Resource,
};
use axum::body::Bytes;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Where an object lives. The order is that of lists: by namespace, then by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) plural: &'static str,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Key {
    pub(crate) fn new(resource: &Resource, namespace: &str, name: &str) -> Self {
        Self { plural: resource.plural, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// `plural/namespace/name`; no part can contain a slash.
    pub(crate) fn path(&self) -> String {
        format!("{}/{}/{}", self.plural, self.namespace, self.name)
    }
}

/// An object as it was committed; immutable, shared by lists, watches and history.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Object {
    pub(crate) key: Key,
    /// `metadata.resourceVersion`.
    pub(crate) revision: u64,
    pub(crate) labels: BTreeMap<String, String>,
    /// `metadata.creationTimestamp` in Unix seconds.
    pub(crate) created: u64,
    /// Compact JSON, resourceVersion included: lists and watches copy it as it is.
    pub(crate) json: Bytes,
}

impl Object {
    /// Takes over a complete object and writes `revision` into it.
    pub(crate) fn seal(key: Key, mut value: Value, revision: u64) -> Self {
        value["metadata"]["resourceVersion"] = Value::String(revision.to_string());
        let json = Bytes::from(value.to_string());
        Self::stored(key, &value, revision, json)
    }

    /// An object whose exact JSON is known already.
    pub(crate) fn stored(key: Key, value: &Value, revision: u64, json: Bytes) -> Self {
        let labels = string_map(&value["metadata"]["labels"]);
        let created = value["metadata"]["creationTimestamp"].as_str();
        let created = created.and_then(clock::parse_rfc3339).unwrap_or_default();
        Self { key, revision, labels, created, json }
    }

    /// The object as a tree, for the paths that change or print it.
    pub(crate) fn value(&self) -> Value {
        serde_json::from_slice(&self.json).unwrap_or_default()
    }
}

/// The string entries of a JSON object; everything else is left out.
fn string_map(value: &Value) -> BTreeMap<String, String> {
    value.as_object().map_or_else(BTreeMap::new, |entries| {
        entries
            .iter()
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect()
    })
}

/// `metadata` of a body, empty when it is missing.
pub(crate) fn metadata(value: &Value) -> Map<String, Value> {
    value["metadata"].as_object().cloned().unwrap_or_default()
}

/// Checks what the body says about itself against the path it was sent to, and returns the name.
pub(crate) fn addressed(
    resource: &Resource,
    namespace: &str,
    path_name: Option<&str>,
    value: &Value,
) -> Result<String, Failure> {
    let differs = |field: &str, found: &str, wanted: &str| {
        Failure::bad_request(format!("{field} is {found:?} in the body but {wanted:?} in the path"))
    };
    for (field, wanted) in [("kind", resource.kind), ("apiVersion", &resource.api_version())] {
        match value[field].as_str() {
            Some(found) if found == wanted => {}
            Some(found) => return Err(differs(field, found, wanted)),
            None => return Err(Failure::bad_request(format!("{field} is missing, want {wanted}"))),
        }
    }
    match value["metadata"]["namespace"].as_str() {
        Some(found) if !found.is_empty() && found != namespace => {
            return Err(differs("metadata.namespace", found, namespace));
        }
        _ => {}
    }
    let body_name = value["metadata"]["name"].as_str().filter(|name| !name.is_empty());
    match (path_name, body_name) {
        (Some(wanted), Some(found)) if found != wanted => {
            Err(differs("metadata.name", found, wanted))
        }
        (Some(name), _) | (None, Some(name)) => Ok(name.to_owned()),
        (None, None) => {
            let why = "name is required (generateName is not supported)";
            Err(Failure::invalid(resource.kind, "", vec![Cause::new("metadata.name", why)]))
        }
    }
}

/// Everything wrong with an object that is about to be stored, by the rules of every kind and of
/// its own.
pub(crate) fn faults(
    resource: &Resource,
    namespace: &str,
    name: &str,
    value: &Value,
) -> Vec<Cause> {
    let mut faults = metadata_faults(&metadata(value));
    if !is_subdomain(name) {
        faults.push(Cause::new("metadata.name", "not an RFC 1123 subdomain"));
    }
    if !super::name::is_label(namespace) {
        faults.push(Cause::new("metadata.namespace", "not an RFC 1123 label"));
    }
    faults.extend((resource.faults)(name, value));
    faults
}

/// A new object with the metadata that the server sets: uid, creation time, generation 1.
pub(crate) fn born(resource: &Resource, key: &Key, value: &Value, now: u64) -> Value {
    let identity =
        Identity { uid: uuid(rand::random()), created: clock::rfc3339(now), generation: 1 };
    assemble(resource, key, value, &identity)
}

/// The successor of `held`: same identity, generation raised when the spec changed.
pub(crate) fn succeeds(resource: &Resource, key: &Key, held: &Value, value: &Value) -> Value {
    let changed = resource.body_fields().any(|field| held[field] != value[field]);
    let generation = held["metadata"]["generation"].as_u64().unwrap_or(1) + u64::from(changed);
    let identity = Identity {
        uid: held["metadata"]["uid"].as_str().unwrap_or_default().to_owned(),
        created: held["metadata"]["creationTimestamp"].as_str().unwrap_or_default().to_owned(),
        generation,
    };
    assemble(resource, key, value, &identity)
}

struct Identity {
    uid: String,
    created: String,
    generation: u64,
}

fn assemble(resource: &Resource, key: &Key, value: &Value, identity: &Identity) -> Value {
    let mut metadata = json!({
        "name": key.name,
        "namespace": key.namespace,
        "uid": identity.uid,
        "creationTimestamp": identity.created,
        "generation": identity.generation,
    });
    for field in ["labels", "annotations", "ownerReferences", "managedFields"] {
        let found = &value["metadata"][field];
        let empty = found.as_object().is_some_and(Map::is_empty)
            || found.as_array().is_some_and(Vec::is_empty);
        if !found.is_null() && !empty {
            metadata[field] = found.clone();
        }
    }
    let mut object = json!({
        "apiVersion": resource.api_version(),
        "kind": resource.kind,
        "metadata": metadata,
    });
    for field in resource.body_fields() {
        if !value[field].is_null() {
            object[field] = value[field].clone();
        }
    }
    object
}

/// RFC 9562 version 4 text of 16 random bytes.
fn uuid(random: [u8; 16]) -> String {
    let number = u128::from_be_bytes(random);
    let number = (number & !(0xf << 76) | (4 << 76)) & !(0b11 << 62) | (0b10 << 62);
    let hex = format!("{number:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_are_version_4() {
        assert_eq!(uuid([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(uuid([0; 16]), "00000000-0000-4000-8000-000000000000");
    }
}
