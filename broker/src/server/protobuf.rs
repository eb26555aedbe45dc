//! Owns the three bodies that `kubectl` sends as Kubernetes protobuf and nothing else:
//! ServiceAccount, TokenRequest and SelfSubjectAccessReview. Field numbers are those of the upstream `generated.proto`.
//! Does not own answers, which are always JSON: every such client accepts it.

use super::failure::Failure;
use prost::Message;
use serde_json::{Value, json};
use std::collections::HashMap;

/// Content type of such a body.
pub(crate) const CONTENT_TYPE: &str = "application/vnd.kubernetes.protobuf";
/// What every such body starts with.
const MAGIC: &[u8] = b"k8s\0";

#[derive(Clone, PartialEq, Message)]
struct Unknown {
    #[prost(message, optional, tag = "1")]
    type_meta: Option<TypeMeta>,
    #[prost(bytes = "vec", tag = "2")]
    raw: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct TypeMeta {
    #[prost(string, tag = "1")]
    api_version: String,
    #[prost(string, tag = "2")]
    kind: String,
}

#[derive(Clone, PartialEq, Message)]
struct ObjectMeta {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "3")]
    namespace: String,
    #[prost(string, tag = "6")]
    resource_version: String,
    #[prost(map = "string, string", tag = "11")]
    labels: HashMap<String, String>,
    #[prost(map = "string, string", tag = "12")]
    annotations: HashMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
struct ServiceAccount {
    #[prost(message, optional, tag = "1")]
    metadata: Option<ObjectMeta>,
}

#[derive(Clone, PartialEq, Message)]
struct TokenRequest {
    #[prost(message, optional, tag = "2")]
    spec: Option<TokenRequestSpec>,
}

#[derive(Clone, PartialEq, Message)]
struct TokenRequestSpec {
    #[prost(string, repeated, tag = "1")]
    audiences: Vec<String>,
    #[prost(bytes = "vec", optional, tag = "3")]
    bound_object: Option<Vec<u8>>,
    #[prost(int64, optional, tag = "4")]
    expiration_seconds: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct AccessReview {
    #[prost(message, optional, tag = "2")]
    spec: Option<AccessReviewSpec>,
}

#[derive(Clone, PartialEq, Message)]
struct AccessReviewSpec {
    #[prost(message, optional, tag = "1")]
    resource: Option<ResourceAttributes>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceAttributes {
    #[prost(string, tag = "1")]
    namespace: String,
    #[prost(string, tag = "2")]
    verb: String,
    #[prost(string, tag = "3")]
    group: String,
    #[prost(string, tag = "5")]
    resource: String,
    #[prost(string, tag = "7")]
    name: String,
}

/// The body as the JSON it stands for.
pub(crate) fn body(bytes: &[u8]) -> Result<Value, Failure> {
    let broken = |why: &str| Failure::bad_request(format!("the body is not protobuf: {why}"));
    let bytes = bytes.strip_prefix(MAGIC).ok_or_else(|| broken("it lacks the k8s prefix"))?;
    let decode_error = |error: prost::DecodeError| broken(&error.to_string());
    let envelope = Unknown::decode(bytes).map_err(decode_error)?;
    let types = envelope.type_meta.unwrap_or_default();
    match types.kind.as_str() {
        "ServiceAccount" => {
            let account = ServiceAccount::decode(&*envelope.raw).map_err(decode_error)?;
            Ok(service_account(&types, account.metadata.unwrap_or_default()))
        }
        "TokenRequest" => {
            let request = TokenRequest::decode(&*envelope.raw).map_err(decode_error)?;
            Ok(token_request(&types, request.spec.unwrap_or_default()))
        }
        "SelfSubjectAccessReview" => {
            let review = AccessReview::decode(&*envelope.raw).map_err(decode_error)?;
            let asked = review.spec.unwrap_or_default().resource.unwrap_or_default();
            Ok(access_review(&types, &asked))
        }
        other => Err(Failure::unsupported_media_type(
            &format!("a {other:.60} as {CONTENT_TYPE}"),
            "application/json",
        )),
    }
}

fn service_account(types: &TypeMeta, metadata: ObjectMeta) -> Value {
    json!({
        "apiVersion": types.api_version,
        "kind": types.kind,
        "metadata": {
            "name": metadata.name,
            "namespace": metadata.namespace,
            "resourceVersion": metadata.resource_version,
            "labels": metadata.labels,
            "annotations": metadata.annotations,
        },
    })
}

fn token_request(types: &TypeMeta, spec: TokenRequestSpec) -> Value {
    json!({
        "apiVersion": types.api_version,
        "kind": types.kind,
        "spec": {
            "audiences": spec.audiences,
            "boundObjectRef": spec.bound_object.map(|_| "present"),
            "expirationSeconds": spec.expiration_seconds,
        },
    })
}

fn access_review(types: &TypeMeta, asked: &ResourceAttributes) -> Value {
    json!({
        "apiVersion": types.api_version,
        "kind": types.kind,
        "spec": {"resourceAttributes": {
            "namespace": asked.namespace,
            "verb": asked.verb,
            "group": asked.group,
            "resource": asked.resource,
            "name": asked.name,
        }},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(kind: &str, message: &impl Message) -> Vec<u8> {
        let type_meta = Some(TypeMeta { api_version: "v1".into(), kind: kind.into() });
        let envelope = Unknown { type_meta, raw: message.encode_to_vec() };
        [MAGIC, &envelope.encode_to_vec()].concat()
    }

    #[test]
    fn a_service_account_reads_as_its_json() {
        let metadata = ObjectMeta { name: "member-west".into(), ..ObjectMeta::default() };
        let account = ServiceAccount { metadata: Some(metadata) };
        let value = body(&sealed("ServiceAccount", &account)).unwrap();
        assert_eq!(
            (value["kind"].as_str(), value["metadata"]["name"].as_str()),
            (Some("ServiceAccount"), Some("member-west"))
        );
    }

    #[test]
    fn other_kinds_and_broken_bytes_are_refused() {
        let account = ServiceAccount { metadata: None };
        assert_eq!(body(&sealed("Pod", &account)).unwrap_err().code.as_u16(), 415);
        for broken in [&b"k8s\0\xff\xff"[..], b"{}", b""] {
            assert_eq!(body(broken).unwrap_err().code.as_u16(), 400);
        }
    }
}
