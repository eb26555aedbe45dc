//! Owns how a patch body changes an object: merge patch, JSON patch, server-side apply.
//! Does not own validation or storage of the result.

use super::{clock, failure::Failure, resource::Resource};
use json_patch::{Patch, PatchOperation, merge};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// JSON patch operations in one request.
const OPERATIONS: usize = 64;

/// A patch, parsed by its content type.
#[derive(Debug)]
pub(crate) enum Change {
    Merge(Value),
    Json(Patch),
    Apply(Value),
}

const WANTED: &str = "application/apply-patch+yaml, application/merge-patch+json or \
                      application/json-patch+json";

impl Change {
    pub(crate) fn parse(
        resource: &Resource,
        content_type: &str,
        body: &[u8],
    ) -> Result<Self, Failure> {
        match content_type {
            // What clients send for core kinds. Of those only maps can be written here, and for
            // maps both patches are the same.
            "application/strategic-merge-patch+json" if resource.group.is_empty() => {
                Ok(Self::Merge(json_body(body)?))
            }
            "application/merge-patch+json" => Ok(Self::Merge(json_body(body)?)),
            "application/apply-patch+yaml" => Ok(Self::Apply(yaml_body(body)?)),
            "application/json-patch+json" => bounded(json_body(body)?).map(Self::Json),
            other => Err(Failure::unsupported_media_type(other, WANTED)),
        }
    }

    /// The object after the change. `held` is the object as stored.
    pub(crate) fn applied_to(
        &self,
        held: &Value,
        resource: &Resource,
        manager: &str,
        now: u64,
    ) -> Result<Value, Failure> {
        match self {
            Self::Merge(change) => {
                let mut object = held.clone();
                merge(&mut object, change);
                Ok(object)
            }
            Self::Json(change) => {
                let mut object = held.clone();
                json_patch::patch(&mut object, change)
                    .map_err(|error| Failure::bad_request(format!("json patch: {error}")))?;
                Ok(object)
            }
            Self::Apply(change) => Ok(apply(held, change, resource, manager, now)),
        }
    }
}

/// A JSON object.
pub(crate) fn json_body(body: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(body)
        .map_err(|error| Failure::bad_request(format!("the body is not JSON: {error}")))
}

/// A YAML (so also JSON) object.
pub(crate) fn yaml_body(body: &[u8]) -> Result<Value, Failure> {
    if let Ok(value) = serde_json::from_slice(body) {
        return Ok(value);
    }
    let text = std::str::from_utf8(body)
        .map_err(|error| Failure::bad_request(format!("the body is not UTF-8: {error}")))?;
    serde_saphyr::from_str(text)
        .map_err(|error| Failure::bad_request(format!("the body is not YAML: {error}")))
}

/// Copies could double the document with each operation, so they are refused.
fn bounded(value: Value) -> Result<Patch, Failure> {
    let patch: Patch = serde_json::from_value(value)
        .map_err(|error| Failure::bad_request(format!("json patch: {error}")))?;
    if patch.0.len() > OPERATIONS {
        return Err(Failure::too_large(format!("json patch: more than {OPERATIONS} operations")));
    }
    if patch.0.iter().any(|operation| matches!(operation, PatchOperation::Copy(_))) {
        return Err(Failure::bad_request("json patch: copy is not supported"));
    }
    Ok(patch)
}

/// Server-side apply for kinds whose `spec` has one writer: a `spec` that is sent
/// replaces the held one whole; labels and annotations are owned key by key, and those that a
/// manager stops sending it takes away.
fn apply(held: &Value, change: &Value, resource: &Resource, manager: &str, now: u64) -> Value {
    let mut object = held.clone();
    object["apiVersion"] = change["apiVersion"].clone();
    object["kind"] = change["kind"].clone();
    for field in resource.body_fields().filter(|field| !change[*field].is_null()) {
        object[field] = change[field].clone();
    }
    for part in ["labels", "annotations"] {
        let mut entries = object["metadata"][part].as_object().cloned().unwrap_or_default();
        for key in owned_keys(held, manager, part) {
            entries.remove(&key);
        }
        if let Some(applied) = change["metadata"][part].as_object() {
            entries.extend(applied.clone());
        }
        object["metadata"][part] = Value::Object(entries);
    }
    if !change["metadata"]["resourceVersion"].is_null() {
        object["metadata"]["resourceVersion"] = change["metadata"]["resourceVersion"].clone();
    }
    object["metadata"]["managedFields"] = managed(held, change, resource, manager, now);
    object
}

fn is_owner(entry: &Value, manager: &str) -> bool {
    entry["manager"] == manager && entry["operation"] == "Apply"
}

fn owned_keys(held: &Value, manager: &str, part: &str) -> BTreeSet<String> {
    held["metadata"]["managedFields"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|entry| is_owner(entry, manager))
        .filter_map(|entry| entry["fieldsV1"]["f:metadata"][format!("f:{part}")].as_object())
        .flat_map(|keys| keys.keys().filter_map(|key| key.strip_prefix("f:").map(str::to_owned)))
        .collect()
}

fn managed(held: &Value, change: &Value, resource: &Resource, manager: &str, now: u64) -> Value {
    let mut fields = Map::new();
    for field in resource.body_fields().filter(|field| !change[*field].is_null()) {
        fields.insert(format!("f:{field}"), json!({}));
    }
    let mut metadata = Map::new();
    for part in ["labels", "annotations"] {
        if let Some(applied) = change["metadata"][part].as_object() {
            let keys = applied.keys().map(|key| (format!("f:{key}"), json!({}))).collect();
            metadata.insert(format!("f:{part}"), Value::Object(keys));
        }
    }
    if !metadata.is_empty() {
        fields.insert("f:metadata".to_owned(), Value::Object(metadata));
    }
    let before = held["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let fields = Value::Object(fields);
    if before.iter().any(|entry| is_owner(entry, manager) && entry["fieldsV1"] == fields) {
        return Value::Array(before);
    }
    let own = json!({
        "manager": manager,
        "operation": "Apply",
        "apiVersion": resource.api_version(),
        "time": clock::rfc3339(now),
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    });
    before.into_iter().filter(|entry| !is_owner(entry, manager)).chain([own]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::resource::RESOURCES;

    fn applied(held: &Value, change: &Value, manager: &str) -> Value {
        Change::Apply(change.clone()).applied_to(held, &RESOURCES[1], manager, 0).unwrap()
    }

    #[test]
    fn apply_takes_away_only_the_labels_it_brought() {
        let first = json!({"metadata": {"labels": {"a": "1"}}, "spec": {"x": 1}});
        let held = json!({"metadata": {"labels": {"human": "yes"}}});
        let held = applied(&held, &first, "agent");
        assert_eq!(held["metadata"]["labels"], json!({"a": "1", "human": "yes"}));
        let second = json!({"metadata": {"labels": {"b": "2"}}, "spec": {"y": 1}});
        let held = applied(&held, &second, "agent");
        assert_eq!(held["metadata"]["labels"], json!({"b": "2", "human": "yes"}));
        assert_eq!(held["spec"], json!({"y": 1}));
        assert_eq!(held["metadata"]["managedFields"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn the_same_apply_twice_changes_nothing() {
        let change = json!({"metadata": {"labels": {"a": "1"}}, "spec": {"x": 1}});
        let once = applied(&json!({}), &change, "agent");
        let twice = Change::Apply(change).applied_to(&once, &RESOURCES[1], "agent", 999).unwrap();
        assert_eq!(once, twice);
    }

    #[test]
    fn a_json_patch_cannot_multiply_the_document() {
        let copy = br#"[{"op":"copy","from":"/spec","path":"/spec/a"}]"#;
        assert!(Change::parse(&RESOURCES[1], "application/json-patch+json", copy).is_err());
        let many = json!(vec![json!({"op": "remove", "path": "/a"}); 65]).to_string();
        assert!(
            Change::parse(&RESOURCES[1], "application/json-patch+json", many.as_bytes()).is_err()
        );
    }

    #[test]
    fn a_strategic_merge_patch_is_refused_by_name() {
        let refused = Change::parse(&RESOURCES[1], "application/strategic-merge-patch+json", b"{}")
            .unwrap_err();
        assert_eq!(refused.code.as_u16(), 415);
    }
}
