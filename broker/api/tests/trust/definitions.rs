//! What an API server is told about our kinds.

use sealane_api::kinds;
use serde_json::{Value, json};

fn definition(kind: &str) -> Value {
    let all = serde_json::to_value(kinds::definitions()).unwrap();
    let found = all.as_array().unwrap().iter().find(|crd| crd["spec"]["names"]["kind"] == kind);
    found.unwrap_or_else(|| panic!("no {kind}")).clone()
}

#[test]
fn kinds_are_namespaced_and_have_short_names() {
    let kinds =
        [("ClusterSet", "slcs"), ("Advertisement", "slad"), ("ServiceAdvertisement", "slsv")];
    for (kind, short) in kinds {
        let spec = &definition(kind)["spec"];
        assert_eq!(spec["group"], "sealane.dev");
        assert_eq!(spec["scope"], "Namespaced");
        assert_eq!(spec["names"]["shortNames"], json!([short]));
        assert_eq!(spec["names"]["categories"], json!(["sealane"]));
        assert_eq!(spec["versions"][0]["name"], "v1alpha1");
    }
}

#[test]
fn names_are_bound_to_specs_by_rules() {
    let rule = |kind| {
        let schema = &definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        schema["x-kubernetes-validations"][0]["rule"].clone()
    };
    assert_eq!(rule("ClusterSet"), "self.metadata.name == 'sealane'");
    assert_eq!(
        rule("Advertisement"),
        "self.metadata.name == self.spec.member + '.' + self.spec.gateway"
    );
    assert_eq!(
        rule("ServiceAdvertisement"),
        "self.metadata.name == self.spec.member + '.' + self.spec.__namespace__ + '.' + self.spec.name"
    );
}

#[test]
fn schemas_are_structural() {
    for kind in ["ClusterSet", "Advertisement", "ServiceAdvertisement"] {
        let schema = &definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        assert_typed(kind, schema);
    }
}

/// Every node of a structural schema has a type, and none refers elsewhere.
fn assert_typed(path: &str, schema: &Value) {
    assert!(schema["type"].is_string(), "{path} has no type: {schema}");
    assert!(schema.get("$ref").is_none(), "{path} refers elsewhere");
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        assert_typed(&format!("{path}.{name}"), property);
    }
    if let Some(items) = schema.get("items") {
        assert_typed(&format!("{path}[]"), items);
    }
}

#[test]
fn people_see_members_and_networks() {
    let columns = |kind| {
        let columns = definition(kind)["spec"]["versions"][0]["additionalPrinterColumns"].clone();
        let names = columns.as_array().unwrap().iter().map(|column| column["name"].clone());
        names.collect::<Vec<_>>()
    };
    assert_eq!(columns("ClusterSet"), ["Members", "Version", "Expires", "Age"]);
    assert!(columns("Advertisement").contains(&json!("Networks")));
    for column in ["Member", "Namespace", "Service", "Type", "State", "Ports", "Expires", "Age"] {
        assert!(columns("ServiceAdvertisement").contains(&json!(column)), "{column}");
    }
}
