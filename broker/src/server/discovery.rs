//! Owns what clients ask before anything else: versions, groups, kinds, verbs, OpenAPI.
//! Does not own the table they describe (`resource`).

use super::{
    namespaces::NAMESPACES,
    resource::{GROUP, RESOURCES, Resource, VERSION},
};
use serde_json::{Map, Value, json};

/// The Kubernetes version whose protocol is spoken; clients only compare it.
const PROTOCOL: (&str, &str) = ("1", "33");

/// `/version`.
pub(crate) fn version() -> Value {
    let (major, minor) = PROTOCOL;
    json!({
        "major": major,
        "minor": minor,
        "gitVersion": format!("v{major}.{minor}.0+sealane-broker-{}", env!("CARGO_PKG_VERSION")),
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    })
}

/// `/api`.
pub(crate) fn core_versions() -> Value {
    json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
}

/// `/apis`.
pub(crate) fn groups() -> Value {
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [group()]})
}

/// `/apis/sealane.dev`.
pub(crate) fn group() -> Value {
    let version = json!({"groupVersion": format!("{GROUP}/{VERSION}"), "version": VERSION});
    json!({
        "kind": "APIGroup",
        "apiVersion": "v1",
        "name": GROUP,
        "versions": [version],
        "preferredVersion": version,
    })
}

/// `/api/v1` or `/apis/sealane.dev/v1alpha1`.
pub(crate) fn resources(group: &str) -> Value {
    const VERBS: &[&str] =
        &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
    let kind = |resource: &Resource, namespaced: bool, verbs: &[&str]| {
        json!({
            "name": resource.plural,
            "singularName": resource.singular,
            "namespaced": namespaced,
            "kind": resource.kind,
            "verbs": verbs,
            "shortNames": resource.short_names,
            "categories": resource.categories,
        })
    };
    let mut kinds: Vec<Value> = RESOURCES
        .iter()
        .filter(|resource| resource.group == group)
        .map(|resource| kind(resource, true, VERBS))
        .collect();
    let group_version =
        if group.is_empty() { "v1".to_owned() } else { format!("{group}/{VERSION}") };
    if group.is_empty() {
        kinds.insert(0, kind(&NAMESPACES, false, &["get", "list"]));
        kinds.push(json!({
            "name": "serviceaccounts/token",
            "singularName": "",
            "namespaced": true,
            "group": "authentication.k8s.io",
            "version": "v1",
            "kind": "TokenRequest",
            "verbs": ["create"],
        }));
    }
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": kinds})
}

/// `/openapi/v2` as JSON: nothing is described there. Clients that only speak this version find no
/// schema for our kinds and leave validation to the server.
pub(crate) fn openapi_v2() -> Value {
    json!({
        "swagger": "2.0",
        "info": {"title": "sealane-broker", "version": env!("CARGO_PKG_VERSION")},
        "paths": {},
    })
}

/// `/openapi/v3`.
pub(crate) fn openapi_index() -> Value {
    let path = format!("apis/{GROUP}/{VERSION}");
    let url = format!("/openapi/v3/{path}?hash={}", env!("CARGO_PKG_VERSION"));
    json!({"paths": {path: {"serverRelativeURL": url}}})
}

/// `/openapi/v3/apis/sealane.dev/v1alpha1`: schemas for `kubectl explain`, and the query parameter
/// that tells `kubectl apply` that the server validates.
pub(crate) fn openapi() -> Value {
    let (mut schemas, mut paths) = (Map::new(), Map::new());
    for resource in RESOURCES.iter().filter(|resource| resource.group == GROUP) {
        let identity = json!({"group": GROUP, "version": VERSION, "kind": resource.kind});
        let Some(mut properties) = schema_properties(resource) else { continue };
        for (field, description) in [
            ("apiVersion", "Version of this representation."),
            ("kind", "The kind of this object."),
        ] {
            properties[field] = json!({"type": "string", "description": description});
        }
        properties["metadata"] =
            json!({"type": "object", "description": "Standard object metadata."});
        let schema = json!({
            "type": "object",
            "description": resource.description,
            "properties": properties,
            "required": ["spec"],
            "x-kubernetes-group-version-kind": [identity],
        });
        schemas.insert(format!("dev.sealane.{VERSION}.{}", resource.kind), schema);
        let plural = resource.plural;
        let parameter = |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}});
        let patch = json!({
            "operationId": format!("patch{}", resource.kind),
            "parameters": [parameter("dryRun"), parameter("fieldManager"), parameter("fieldValidation")],
            "responses": {"200": {"description": "OK"}},
            "x-kubernetes-action": "patch",
            "x-kubernetes-group-version-kind": identity,
        });
        paths.insert(
            format!("/apis/{GROUP}/{VERSION}/namespaces/{{namespace}}/{plural}/{{name}}"),
            json!({"patch": patch}),
        );
    }
    json!({
        "openapi": "3.0.0",
        "info": {"title": "sealane-broker", "version": env!("CARGO_PKG_VERSION")},
        "paths": paths,
        "components": {"schemas": schemas},
    })
}

/// The body fields in the schema of the kind's definition.
fn schema_properties(resource: &Resource) -> Option<Value> {
    let definition = (resource.definition)()?;
    let version = definition.spec.versions.into_iter().next()?;
    let schema = serde_json::to_value(version.schema?.open_api_v3_schema?).ok()?;
    Some(schema["properties"].clone())
}
