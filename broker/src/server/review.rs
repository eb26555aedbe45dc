//! Owns the self reviews: `kubectl auth whoami` and `kubectl auth can-i`. Does not own the rules.

use super::{
    access::{Attempt, authorize},
    account::Caller,
    resource::RESOURCES,
};
use serde_json::{Value, json};

/// `SelfSubjectReview`: who the caller is.
pub(crate) fn whoami(caller: &Caller) -> Value {
    json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "SelfSubjectReview",
        "metadata": {},
        "status": {"userInfo": {"username": caller.username(), "groups": caller.groups()}},
    })
}

/// `SelfSubjectAccessReview`: whether the caller may do what `body` says.
pub(crate) fn can_i(caller: &Caller, body: &Value) -> Value {
    let asked = &body["spec"]["resourceAttributes"];
    let text = |field: &str| asked[field].as_str().unwrap_or_default();
    let resource = RESOURCES
        .iter()
        .find(|resource| resource.group == text("group") && resource.plural == text("resource"));
    let (namespace, name) = (text("namespace"), text("name"));
    let (allowed, reason) = match resource {
        None => (caller.is_admin(), "not a kind of this broker".to_owned()),
        Some(resource) => {
            let attempt = Attempt {
                verb: text("verb"),
                resource,
                namespace: (!namespace.is_empty()).then_some(namespace),
                name: (!name.is_empty()).then_some(name),
            };
            match authorize(caller, attempt) {
                Ok(()) => (true, String::new()),
                Err(failure) => (false, failure.message),
            }
        }
    };
    json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "metadata": {},
        "spec": body["spec"],
        "status": {"allowed": allowed, "reason": reason},
    })
}
