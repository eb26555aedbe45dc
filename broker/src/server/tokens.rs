//! Owns the TokenRequest endpoint: a new bearer token for a service account. Does not own the
//! token's format (`account`).

use super::{
    account::{DEFAULT_LIFETIME, LIFETIMES, Subject, issue},
    clock,
    draft::Draft,
    failure::{Cause, Failure},
    object::{Key, Object},
};
use serde_json::{Value, json};

/// Issues a token for the account under `key`; older ones live on for the overlap.
pub(crate) fn request(draft: &mut Draft<'_>, key: &Key, body: &Value) -> Result<Value, Failure> {
    let held: std::sync::Arc<Object> =
        draft.object(key).ok_or_else(|| Failure::not_found("serviceaccounts", &key.name))?;
    let spec = &body["spec"];
    let refused = |field: &str, why: String| {
        Err(Failure::invalid("TokenRequest", &key.name, vec![Cause::new(field, why)]))
    };
    if !spec["boundObjectRef"].is_null() {
        return refused("spec.boundObjectRef", "bound tokens are not supported".into());
    }
    if spec["audiences"].as_array().is_some_and(|audiences| !audiences.is_empty()) {
        return refused("spec.audiences", "audiences are not supported".into());
    }
    let wish = match &spec["expirationSeconds"] {
        Value::Null => Some(DEFAULT_LIFETIME),
        other => other.as_u64(),
    };
    let Some(wish) = wish.filter(|wish| wish >= LIFETIMES.start()) else {
        let why = format!("must be at least {} seconds", LIFETIMES.start());
        return refused("spec.expirationSeconds", why);
    };
    // Too long a wish is shortened, as an API server does.
    let seconds = wish.min(*LIFETIMES.end());
    let uid = held.value()["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    let (namespace, name) = (key.namespace.clone(), key.name.clone());
    let expires = draft.now + seconds;
    for older in draft.tokens_of(key) {
        if !older.is_live(draft.now) {
            draft.remove_token(&older.id);
        } else if let Some(shortened) = older.overlapped(draft.now) {
            draft.put_token(shortened);
        }
    }
    let (token, record) = issue(Subject::Account { namespace, name, uid }, Some(expires));
    draft.put_token(record);
    Ok(json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "metadata": {
            "name": key.name,
            "namespace": key.namespace,
            "creationTimestamp": clock::rfc3339(draft.now),
        },
        "spec": {"audiences": [], "expirationSeconds": seconds},
        "status": {"token": token.as_str(), "expirationTimestamp": clock::rfc3339(expires)},
    }))
}
