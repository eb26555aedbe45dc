//! Owns the table of kinds that the broker serves: names, printer columns, limits, shape checks.
//! A new kind is a new row. Does not own signatures: receivers verify those, and `gate` for sets.

use super::{failure::Cause, limit::Limits, name::is_label};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use sealane_api::kinds::{Advertisement, ClusterSet, ServiceAdvertisement};
use serde_json::Value;

/// One served kind.
#[derive(Debug)]
pub(crate) struct Resource {
    /// Empty for the core group.
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) singular: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) short_names: &'static [&'static str],
    pub(crate) categories: &'static [&'static str],
    pub(crate) description: &'static str,
    pub(crate) columns: &'static [Column],
    /// What may stand beside `metadata`, as (field, known fields inside it).
    pub(crate) body: &'static [(&'static str, &'static [&'static str])],
    pub(crate) writers: Writers,
    /// Bytes of the whole object as JSON.
    pub(crate) max_bytes: usize,
    /// Objects that one member may have, where members own them.
    pub(crate) most_of_member: fn(&Limits) -> usize,
    /// Checks the shape of an object with this name; empty when it is sound.
    pub(crate) faults: fn(&str, &Value) -> Vec<Cause>,
    /// Its definition on an API server, for the schema.
    pub(crate) definition: fn() -> Option<CustomResourceDefinition>,
}

/// Who may write objects of a kind, besides the administrator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writers {
    /// The member named in `spec.member`, below names that start with `<member>.`.
    OwningMember,
    /// Anyone of the namespace who brings a newer valid one.
    AnyoneWithProof,
    /// Nobody else.
    AdminOnly,
}

/// One column of `kubectl get`.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    /// `string`, `integer` or `date`.
    pub(crate) kind: &'static str,
    /// Path below the object; arrays are joined with commas, a time becomes an age or a deadline.
    pub(crate) path: &'static [&'static str],
    /// 0 shows always, 1 with `-o wide`.
    pub(crate) priority: u8,
    pub(crate) description: &'static str,
}

impl Resource {
    /// `group/version`, or `version` in the core group.
    pub(crate) fn api_version(&self) -> String {
        match self.group {
            "" => self.version.to_owned(),
            group => format!("{group}/{}", self.version),
        }
    }

    /// As error messages name it: `advertisements.sealane.dev`.
    pub(crate) fn qualified(&self) -> String {
        match self.group {
            "" => self.plural.to_owned(),
            group => format!("{}.{group}", self.plural),
        }
    }

    pub(crate) fn body_fields(&self) -> impl Iterator<Item = &'static str> {
        self.body.iter().map(|(field, _)| *field)
    }
}

/// The API group of our kinds.
pub(crate) const GROUP: &str = sealane_api::kinds::GROUP;
/// Its only version.
pub(crate) const VERSION: &str = sealane_api::kinds::VERSION;
/// The one `ClusterSet` of a namespace has this name.
pub(crate) const CLUSTER_SET_NAME: &str = sealane_api::names::CLUSTERSET_OBJECT;

const AGE: Column = Column {
    name: "Age",
    kind: "date",
    path: &["metadata", "creationTimestamp"],
    priority: 0,
    description: "time since the object was created",
};

const fn shown(name: &'static str, path: &'static [&'static str]) -> Column {
    Column { name, kind: "string", path, priority: 0, description: "unsigned, for display only" }
}

const fn wide(name: &'static str, path: &'static [&'static str]) -> Column {
    Column { priority: 1, ..shown(name, path) }
}

/// Every kind, in the order of discovery.
pub(crate) static RESOURCES: &[Resource] =
    &[CLUSTER_SETS, ADVERTISEMENTS, SERVICE_ADVERTISEMENTS, SERVICE_ACCOUNTS];

const CLUSTER_SETS: Resource = Resource {
    group: GROUP,
    version: VERSION,
    plural: "clustersets",
    singular: "clusterset",
    kind: "ClusterSet",
    short_names: &["slcs"],
    categories: &["sealane"],
    description: "The root-signed list of members: keys, networks and namespaces of each.",
    columns: &[
        shown("Members", &["spec", "view", "members"]),
        shown("Version", &["spec", "view", "version"]),
        shown("Expires", &["spec", "view", "expires"]),
        AGE,
    ],
    body: &[("spec", &["signed", "genesis", "links", "view"])],
    writers: Writers::AnyoneWithProof,
    max_bytes: 1_572_864,
    most_of_member: |_| usize::MAX,
    faults: cluster_set_faults,
    definition: || Some(ClusterSet::crd()),
};

const ADVERTISEMENTS: Resource = Resource {
    group: GROUP,
    version: VERSION,
    plural: "advertisements",
    singular: "advertisement",
    kind: "Advertisement",
    short_names: &["slad"],
    categories: &["sealane"],
    description: "What one gateway tells the other members, signed by its key.",
    columns: &[
        shown("Member", &["spec", "member"]),
        shown("Gateway", &["spec", "gateway"]),
        shown("State", &["spec", "view", "state"]),
        shown("Networks", &["spec", "view", "networks"]),
        shown("Expires", &["spec", "view", "expires"]),
        wide("Version", &["spec", "view", "agent"]),
        wide("Addresses", &["spec", "view", "addresses"]),
        AGE,
    ],
    body: &[("spec", &["member", "gateway", "cert", "enrolment", "signed", "view"])],
    writers: Writers::OwningMember,
    max_bytes: 40 * 1024,
    most_of_member: |limits| limits.objects_per_member,
    faults: advertisement_faults,
    definition: || Some(Advertisement::crd()),
};

const SERVICE_ADVERTISEMENTS: Resource = Resource {
    group: GROUP,
    version: VERSION,
    plural: "serviceadvertisements",
    singular: "serviceadvertisement",
    kind: "ServiceAdvertisement",
    short_names: &["slsv"],
    categories: &["sealane"],
    description: "What a member tells the others of one service. Reserved: no agent uses it yet.",
    columns: &[
        shown("Member", &["spec", "member"]),
        shown("Namespace", &["spec", "namespace"]),
        shown("Service", &["spec", "name"]),
        shown("Type", &["spec", "view", "type"]),
        shown("State", &["spec", "view", "state"]),
        shown("Ports", &["spec", "view", "ports"]),
        shown("Expires", &["spec", "view", "expires"]),
        wide("Addresses", &["spec", "view", "addresses"]),
        AGE,
    ],
    body: &[("spec", &["member", "namespace", "name", "cert", "enrolment", "signed", "view"])],
    writers: Writers::OwningMember,
    max_bytes: 40 * 1024,
    most_of_member: |limits| limits.services_per_member,
    faults: service_faults,
    definition: || Some(ServiceAdvertisement::crd()),
};

const SERVICE_ACCOUNTS: Resource = Resource {
    group: "",
    version: "v1",
    plural: "serviceaccounts",
    singular: "serviceaccount",
    kind: "ServiceAccount",
    short_names: &["sa"],
    categories: &[],
    description: "A caller of the broker; member-<ClusterId> speaks for that member.",
    columns: &[AGE],
    body: &[],
    writers: Writers::AdminOnly,
    max_bytes: 16 * 1024,
    most_of_member: |_| usize::MAX,
    faults: |_, _| Vec::new(),
    definition: || None,
};

fn cluster_set_faults(name: &str, value: &Value) -> Vec<Cause> {
    let mut faults = signed_faults("spec.signed", &value["spec"]["signed"]);
    if name != CLUSTER_SET_NAME {
        faults.push(Cause::new("metadata.name", format!("must be {CLUSTER_SET_NAME:?}")));
    }
    if !value["spec"]["genesis"].is_object() {
        faults.push(Cause::new("spec.genesis", "required: {root, recovery}"));
    }
    faults
}

fn advertisement_faults(name: &str, value: &Value) -> Vec<Cause> {
    let spec = &value["spec"];
    let mut faults = said_faults(spec);
    let gateway = spec["gateway"].as_str().unwrap_or_default();
    if gateway.is_empty() || gateway.len() > 150 || !super::name::is_subdomain(gateway) {
        let wanted = "required: an RFC 1123 subdomain of at most 150 characters";
        faults.push(Cause::new("spec.gateway", wanted));
    }
    let member = spec["member"].as_str().unwrap_or_default();
    named(faults, name, &format!("{member}.{gateway}"))
}

fn service_faults(name: &str, value: &Value) -> Vec<Cause> {
    let spec = &value["spec"];
    let mut faults = said_faults(spec);
    let part = |field: &str| spec[field].as_str().unwrap_or_default();
    for field in ["namespace", "name"] {
        if !is_label(part(field)) {
            faults.push(Cause::new(format!("spec.{field}"), "required: an RFC 1123 label"));
        }
    }
    let wanted = ["member", "namespace", "name"].map(part).join(".");
    named(faults, name, &wanted)
}

/// What is wrong with the parts of everything that a member says.
fn said_faults(spec: &Value) -> Vec<Cause> {
    const SPEC_BYTES: usize = 32 * 1024;
    let mut faults = signed_faults("spec.signed", &spec["signed"]);
    faults.extend(signed_faults("spec.cert", &spec["cert"]));
    if !spec["enrolment"].is_null() {
        faults.extend(signed_faults("spec.enrolment", &spec["enrolment"]));
    }
    if !is_label(spec["member"].as_str().unwrap_or_default()) {
        faults.push(Cause::new("spec.member", "required: an RFC 1123 label"));
    }
    if spec.to_string().len() > SPEC_BYTES {
        faults.push(Cause::new("spec", "more than 32 KiB"));
    }
    faults
}

/// Adds, where nothing else is wrong, that an object does not have the name that its hints give.
fn named(mut faults: Vec<Cause>, name: &str, wanted: &str) -> Vec<Cause> {
    if faults.is_empty() && name != wanted {
        faults.push(Cause::new("metadata.name", format!("must be {wanted}")));
    }
    faults
}

fn signed_faults(path: &str, signed: &Value) -> Vec<Cause> {
    ["payload", "signature"]
        .into_iter()
        .filter(|field| signed[*field].as_str().is_none_or(str::is_empty))
        .map(|field| Cause::new(format!("{path}.{field}"), "required: standard base64"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_table_says_what_the_definitions_say() {
        for resource in RESOURCES {
            let Some(definition) = (resource.definition)() else { continue };
            let (names, version) = (definition.spec.names, &definition.spec.versions[0]);
            assert_eq!(resource.kind, names.kind);
            assert_eq!(resource.plural, names.plural);
            assert_eq!(resource.short_names, names.short_names.unwrap());
            assert_eq!(resource.categories, names.categories.unwrap());
            let defined: Vec<(String, String, i32)> = version
                .additional_printer_columns
                .iter()
                .flatten()
                .map(|column| {
                    (column.name.clone(), column.json_path.clone(), column.priority.unwrap_or(0))
                })
                .collect();
            let shown: Vec<(String, String, i32)> = resource
                .columns
                .iter()
                .map(|column| {
                    let path = format!(".{}", column.path.join("."));
                    (column.name.to_owned(), path, i32::from(column.priority))
                })
                .collect();
            assert_eq!(shown, defined);
        }
    }

    fn advertisement() -> Value {
        let signed = json!({"payload": "e30=", "signature": "AA=="});
        json!({"spec": {"member": "west", "gateway": "gw.1", "cert": signed, "signed": signed}})
    }

    #[test]
    fn a_sound_advertisement_has_no_faults() {
        assert_eq!(advertisement_faults("west.gw.1", &advertisement()), []);
    }

    #[test]
    fn an_advertisement_under_another_name_is_refused() {
        let faults = advertisement_faults("east.gw.1", &advertisement());
        assert_eq!(faults, [Cause::new("metadata.name", "must be west.gw.1")]);
    }

    #[test]
    fn a_service_is_named_by_member_namespace_and_name() {
        let signed = json!({"payload": "e30=", "signature": "AA=="});
        let mut value = json!({"spec": {
            "member": "west", "namespace": "shop", "name": "cart", "cert": signed, "signed": signed,
        }});
        assert_eq!(service_faults("west.shop.cart", &value), []);
        let faults = service_faults("west.shop.till", &value);
        assert_eq!(faults, [Cause::new("metadata.name", "must be west.shop.cart")]);
        value["spec"]["namespace"] = json!("shop.till");
        let faults = service_faults("west.shop.till.cart", &value);
        assert_eq!(faults, [Cause::new("spec.namespace", "required: an RFC 1123 label")]);
    }

    #[test]
    fn a_missing_signature_is_named() {
        let mut value = advertisement();
        value["spec"]["cert"] = json!({"payload": "e30="});
        let faults = advertisement_faults("west.gw.1", &value);
        assert_eq!(faults[0].field, "spec.cert.signature");
    }
}
