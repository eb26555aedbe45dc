//! Owns the syntax of names, labels and annotations (RFC 1123, Kubernetes object metadata).
//! Does not own which names a caller may use.

use super::failure::Cause;
use serde_json::{Map, Value};

/// RFC 1123 label: 1 to 63 of `a-z0-9-`, first and last alphanumeric.
pub(crate) fn is_label(text: &str) -> bool {
    let inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
    (1..=63).contains(&text.len())
        && text.as_bytes().iter().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// RFC 1123 subdomain: labels joined by dots, 253 characters at most.
pub(crate) fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

/// `[prefix/]name`: the key of a label or an annotation.
fn is_qualified_key(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_subdomain(prefix) && is_label_value(name) && !name.is_empty(),
        None => is_label_value(text) && !text.is_empty(),
    }
}

/// At most 63 of `A-Za-z0-9-_.`, first and last alphanumeric; may be empty.
fn is_label_value(text: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
        && edge(bytes.first())
        && edge(bytes.last())
}

/// What is wrong with the parts of `metadata` that a client may write.
pub(crate) fn metadata_faults(metadata: &Map<String, Value>) -> Vec<Cause> {
    let mut faults = Vec::new();
    for field in ["labels", "annotations"] {
        let path = format!("metadata.{field}");
        match metadata.get(field) {
            None | Some(Value::Null) => {}
            Some(Value::Object(entries)) => faults.extend(entry_faults(&path, entries)),
            Some(_) => faults.push(Cause::new(path, "must be a map of strings")),
        }
    }
    if metadata.get("finalizers").is_some_and(|list| list.as_array().is_none_or(|l| !l.is_empty()))
    {
        faults.push(Cause::new("metadata.finalizers", "finalizers are not supported here"));
    }
    faults
}

fn entry_faults(path: &str, entries: &Map<String, Value>) -> Vec<Cause> {
    const ANNOTATION_BYTES: usize = 256 * 1024;
    let mut faults = Vec::new();
    let mut bytes = 0;
    for (key, value) in entries {
        let Some(text) = value.as_str() else {
            faults.push(Cause::new(format!("{path}[{key:.80}]"), "must be a string"));
            continue;
        };
        bytes += key.len() + text.len();
        if !is_qualified_key(key) {
            faults.push(Cause::new(format!("{path}[{key:.80}]"), "not a qualified name"));
        } else if path.ends_with("labels") && !is_label_value(text) {
            faults.push(Cause::new(format!("{path}[{key}]"), "not a label value"));
        }
    }
    if bytes > ANNOTATION_BYTES {
        faults.push(Cause::new(path, "more than 256 KiB"));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_follow_rfc_1123() {
        for good in ["a", "a-1", "west.gw-1.example"] {
            assert!(is_subdomain(good), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a..b", "b\u{435}", "a/b", &"a".repeat(64)] {
            assert!(!is_subdomain(bad), "{bad}");
        }
    }

    #[test]
    fn odd_metadata_is_named_field_by_field() {
        let metadata = json!({"labels": {"a b": "x", "ok": "-"}, "annotations": {"n": 1}, "finalizers": ["x"]});
        let fields: Vec<String> = metadata_faults(metadata.as_object().unwrap())
            .into_iter()
            .map(|cause| cause.field)
            .collect();
        assert_eq!(
            fields,
            [
                "metadata.labels[a b]",
                "metadata.labels[ok]",
                "metadata.annotations[n]",
                "metadata.finalizers"
            ]
        );
    }
}
