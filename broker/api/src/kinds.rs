//! The kinds of `sealane.dev/v1alpha1` as an API server stores them, and their definitions (CRDs).
//! Everything in an object but its signed payloads is unsigned: hints and display only.

use crate::reason::{Reason, Rejected};
use crate::signed::Signed;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, ValidationRule,
};
use kube_core::CustomResourceExt as _;
use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

/// API group of every kind of ours.
pub const GROUP: &str = "sealane.dev";
/// API version of every kind of ours.
pub const VERSION: &str = "v1alpha1";

/// Annotation of a ClusterSet by which an administrator has a broker take the other side of a fork of root
/// links; its value is the number of links of that side. It says nothing to receivers.
pub const ACCEPT_LINK: &str = "sealane.dev/accept-link";

/// Keys that a clusterset began with, base64url; their hash is its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Genesis {
    /// First root key.
    #[schemars(length(equal = 43))]
    pub root: String,
    /// First recovery key.
    #[schemars(length(equal = 43))]
    pub recovery: String,
}

/// The list of members, signed by the root key.
#[expect(clippy::duplicated_attributes, reason = "each printer column has a name and a path")]
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "sealane.dev",
    version = "v1alpha1",
    kind = "ClusterSet",
    namespaced,
    shortname = "slcs",
    category = "sealane",
    doc = "The signed list of the members of a clusterset.",
    derive = "PartialEq",
    crates(kube_core = "::kube_core"),
    printcolumn(name = "Members", type_ = "integer", json_path = ".spec.view.members"),
    printcolumn(name = "Version", type_ = "integer", json_path = ".spec.view.version"),
    printcolumn(name = "Expires", type_ = "string", json_path = ".spec.view.expires"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct ClusterSetSpec {
    /// The members, signed by the current root key.
    pub signed: Signed,
    /// Keys that the clusterset began with.
    pub genesis: Genesis,
    /// Appointments of later root keys, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub links: Vec<Signed>,
    /// Display only.
    #[serde(default, deserialize_with = "display_only", skip_serializing_if = "Option::is_none")]
    pub view: Option<ClusterSetView>,
}

/// What `kubectl get` shows of a ClusterSet. Unsigned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterSetView {
    /// Version of the list.
    pub version: i64,
    /// Number of members.
    pub members: i64,
    /// Expiry, RFC 3339.
    #[schemars(length(max = 64))]
    pub expires: String,
}

/// What one gateway tells the others, signed by its key.
#[expect(clippy::duplicated_attributes, reason = "each printer column has a name and a path")]
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "sealane.dev",
    version = "v1alpha1",
    kind = "Advertisement",
    namespaced,
    shortname = "slad",
    category = "sealane",
    doc = "What one gateway of a member tells the other members.",
    derive = "PartialEq",
    crates(kube_core = "::kube_core"),
    printcolumn(name = "Member", type_ = "string", json_path = ".spec.member"),
    printcolumn(name = "Gateway", type_ = "string", json_path = ".spec.gateway"),
    printcolumn(name = "State", type_ = "string", json_path = ".spec.view.state"),
    printcolumn(name = "Networks", type_ = "string", json_path = ".spec.view.networks"),
    printcolumn(name = "Expires", type_ = "string", json_path = ".spec.view.expires"),
    printcolumn(name = "Version", type_ = "string", json_path = ".spec.view.agent", priority = 1),
    printcolumn(
        name = "Addresses",
        type_ = "string",
        json_path = ".spec.view.addresses",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct AdvertisementSpec {
    /// Hint: the member.
    #[schemars(length(max = 63))]
    pub member: String,
    /// Hint: the gateway.
    #[schemars(length(max = 150))]
    pub gateway: String,
    /// The gateway's certificate, signed by an identity key of the member.
    pub cert: Signed,
    /// Names the member's identity key, signed by its join key, until root pins the identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrolment: Option<Signed>,
    /// The advertisement, signed by the gateway's key.
    pub signed: Signed,
    /// Display only.
    #[serde(default, deserialize_with = "display_only", skip_serializing_if = "Option::is_none")]
    pub view: Option<AdvertisementView>,
}

/// What `kubectl get` shows of an Advertisement. Unsigned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AdvertisementView {
    /// `active`, `draining` or `withdrawn`.
    #[schemars(length(max = 16))]
    pub state: String,
    /// Every advertised network.
    #[schemars(length(max = 64))]
    pub networks: Vec<String>,
    /// Remote addresses of the tunnels, as `address:port`.
    #[schemars(length(max = 32))]
    pub addresses: Vec<String>,
    /// Sequence number.
    pub sequence: i64,
    /// Expiry, RFC 3339.
    #[schemars(length(max = 64))]
    pub expires: String,
    /// Version of the agent that wrote it.
    #[schemars(length(max = 32))]
    pub agent: String,
}

/// What a member exports under one service name, signed by its services key.
#[expect(clippy::duplicated_attributes, reason = "each printer column has a name and a path")]
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "sealane.dev",
    version = "v1alpha1",
    kind = "ServiceAdvertisement",
    namespaced,
    shortname = "slsv",
    category = "sealane",
    doc = "What a member tells the others of one service. Reserved: no agent writes or reads it yet.",
    derive = "PartialEq",
    crates(kube_core = "::kube_core"),
    printcolumn(name = "Member", type_ = "string", json_path = ".spec.member"),
    printcolumn(name = "Namespace", type_ = "string", json_path = ".spec.namespace"),
    printcolumn(name = "Service", type_ = "string", json_path = ".spec.name"),
    printcolumn(name = "Type", type_ = "string", json_path = ".spec.view.type"),
    printcolumn(name = "State", type_ = "string", json_path = ".spec.view.state"),
    printcolumn(name = "Ports", type_ = "string", json_path = ".spec.view.ports"),
    printcolumn(name = "Expires", type_ = "string", json_path = ".spec.view.expires"),
    printcolumn(
        name = "Addresses",
        type_ = "string",
        json_path = ".spec.view.addresses",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct ServiceAdvertisementSpec {
    /// Hint: the member.
    #[schemars(length(max = 63))]
    pub member: String,
    /// Hint: the service's namespace.
    #[schemars(length(max = 63))]
    pub namespace: String,
    /// Hint: the service's name.
    #[schemars(length(max = 63))]
    pub name: String,
    /// The certificate of the services key, signed by an identity key of the member.
    pub cert: Signed,
    /// Names the member's identity key, signed by its join key, until root pins the identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrolment: Option<Signed>,
    /// The service, signed by the services key.
    pub signed: Signed,
    /// Display only.
    #[serde(default, deserialize_with = "display_only", skip_serializing_if = "Option::is_none")]
    pub view: Option<ServiceAdvertisementView>,
}

/// What `kubectl get` shows of a ServiceAdvertisement. Unsigned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceAdvertisementView {
    /// `ClusterSetIP` or `Headless`.
    #[serde(rename = "type")]
    #[schemars(length(max = 16))]
    pub service_type: String,
    /// `active`, `draining` or `withdrawn`.
    #[schemars(length(max = 16))]
    pub state: String,
    /// Every port, as `number/protocol`.
    #[schemars(length(max = 64))]
    pub ports: Vec<String>,
    /// Addresses of the service; none when it is headless.
    #[schemars(length(max = 64))]
    pub addresses: Vec<String>,
    /// Sequence number.
    pub sequence: i64,
    /// Expiry, RFC 3339.
    #[schemars(length(max = 64))]
    pub expires: String,
}

/// Reads a `spec` that a broker served. Read objects as dynamic ones and call this for each, so that
/// one bad object does not make a whole list unreadable.
///
/// # Errors
/// `Malformed` when a field that carries signed bytes or a hint is missing or of another type.
pub fn spec<T: DeserializeOwned>(object: &serde_json::Value) -> Result<T, Rejected> {
    let spec = object.get("spec").unwrap_or(&serde_json::Value::Null);
    T::deserialize(spec).map_err(|cause| {
        // The cause may quote the object, which anybody may have written.
        let quoted: String = cause.to_string().escape_debug().take(120).collect();
        Reason::Malformed.about(format!("spec: {quoted}"))
    })
}

/// Returns the definitions of every kind, CEL rules included, in the order a person reads them.
#[must_use]
pub fn definitions() -> Vec<CustomResourceDefinition> {
    let mut clusterset = ClusterSet::crd();
    let mut advertisement = Advertisement::crd();
    let mut service = ServiceAdvertisement::crd();
    require(
        &mut clusterset,
        "self.metadata.name == 'sealane'",
        "the one ClusterSet of a namespace is named sealane",
    );
    require(
        &mut advertisement,
        "self.metadata.name == self.spec.member + '.' + self.spec.gateway",
        "the name must be spec.member, a dot and spec.gateway",
    );
    // CEL reserves the word `namespace`; Kubernetes escapes fields of that name so.
    require(
        &mut service,
        "self.metadata.name == self.spec.member + '.' + self.spec.__namespace__ + '.' + self.spec.name",
        "the name must be spec.member, spec.namespace and spec.name with dots between",
    );
    vec![clusterset, advertisement, service]
}

/// Adds a CEL rule at the root of the schema, where `metadata.name` is in scope.
fn require(definition: &mut CustomResourceDefinition, rule: &str, message: &str) {
    for version in &mut definition.spec.versions {
        let schema = version.schema.get_or_insert_default();
        let root: &mut JSONSchemaProps = schema.open_api_v3_schema.get_or_insert_default();
        root.x_kubernetes_validations.get_or_insert_default().push(ValidationRule {
            rule: rule.to_owned(),
            message: Some(message.to_owned()),
            ..ValidationRule::default()
        });
    }
}

/// Unsigned fields never decide, so one of another shape reads as missing instead of refusing the object.
fn display_only<'de, D, T>(reader: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let value = serde_json::Value::deserialize(reader)?;
    Ok(T::deserialize(value).ok())
}
