//! Owns label and field selectors: their syntax and whether an object matches.
//! Does not own lists or watches.

use super::{failure::Failure, object::Object};
use std::collections::BTreeMap;

/// Both selectors of a request; the default matches everything.
#[derive(Debug, Default, Clone)]
pub(crate) struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<(Field, bool, String)>,
}

#[derive(Debug, Clone, Copy)]
enum Field {
    Name,
    Namespace,
}

#[derive(Debug, Clone)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Missing(String),
}

impl Selector {
    /// Parses the query parameters `labelSelector` and `fieldSelector`; empty means all.
    pub(crate) fn parse(labels: &str, fields: &str) -> Result<Self, Failure> {
        Ok(Self {
            labels: split_outside_parentheses(labels)
                .into_iter()
                .map(requirement)
                .collect::<Result<_, _>>()?,
            fields: fields
                .split(',')
                .filter(|term| !term.trim().is_empty())
                .map(field_term)
                .collect::<Result<_, _>>()?,
        })
    }

    pub(crate) fn matches(&self, object: &Object) -> bool {
        self.labels.iter().all(|requirement| requirement.holds(&object.labels))
            && self.fields.iter().all(|(field, equal, wanted)| {
                let found = match field {
                    Field::Name => &object.key.name,
                    Field::Namespace => &object.key.namespace,
                };
                (found == wanted) == *equal
            })
    }
}

impl Requirement {
    fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Self::In(key, values) => labels.get(key).is_some_and(|found| values.contains(found)),
            Self::NotIn(key, values) => labels.get(key).is_none_or(|found| !values.contains(found)),
            Self::Exists(key) => labels.contains_key(key),
            Self::Missing(key) => !labels.contains_key(key),
        }
    }
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0_u32);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).collect()
}

fn requirement(term: &str) -> Result<Requirement, Failure> {
    let one = |key: &str, value: &str| (key.trim().to_owned(), vec![value.trim().to_owned()]);
    if let Some((key, value)) = term.split_once("!=") {
        let (key, values) = one(key, value);
        return Ok(Requirement::NotIn(key, values));
    }
    if let Some((key, value)) = term.split_once('=') {
        let (key, values) = one(key, value.strip_prefix('=').unwrap_or(value));
        return Ok(Requirement::In(key, values));
    }
    if let Some(key) = term.strip_prefix('!') {
        return Ok(Requirement::Missing(key.trim().to_owned()));
    }
    let Some((head, list)) = term.split_once('(') else {
        return if term.contains(char::is_whitespace) {
            Err(Failure::bad_request(format!("label selector {term:?} is not understood")))
        } else {
            Ok(Requirement::Exists(term.to_owned()))
        };
    };
    let values = list
        .strip_suffix(')')
        .map(|list| list.split(',').map(|value| value.trim().to_owned()).collect());
    match (head.split_whitespace().collect::<Vec<_>>().as_slice(), values) {
        ([key, "in"], Some(values)) => Ok(Requirement::In((*key).to_owned(), values)),
        ([key, "notin"], Some(values)) => Ok(Requirement::NotIn((*key).to_owned(), values)),
        _ => Err(Failure::bad_request(format!("label selector {term:?} is not understood"))),
    }
}

fn field_term(term: &str) -> Result<(Field, bool, String), Failure> {
    let unclear = || Failure::bad_request(format!("field selector {term:?} is not understood"));
    let (name, equal, value) = if let Some((name, value)) = term.split_once("!=") {
        (name, false, value)
    } else {
        let (name, value) = term.split_once('=').ok_or_else(unclear)?;
        (name, true, value.strip_prefix('=').unwrap_or(value))
    };
    let field = match name.trim() {
        "metadata.name" => Field::Name,
        "metadata.namespace" => Field::Namespace,
        other => {
            let message = format!(
                "field selector {other:?} is not supported: metadata.name and metadata.namespace are"
            );
            return Err(Failure::bad_request(message));
        }
    };
    Ok((field, equal, value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(selector: &str) -> bool {
        let labels: BTreeMap<String, String> =
            [("env", "prod"), ("tier", "edge")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        Selector::parse(selector, "").unwrap().labels.iter().all(|term| term.holds(&labels))
    }

    #[test]
    fn label_selectors_mean_what_kubernetes_says() {
        for good in [
            "",
            "env=prod",
            "env==prod,tier",
            "env in (prod, test)",
            "env notin (a,b)",
            "!x",
            "x!=y",
        ] {
            assert!(holds(good), "{good}");
        }
        for bad in ["env=test", "x", "!env", "env in (a,b)", "env notin (prod)", "env!=prod"] {
            assert!(!holds(bad), "{bad}");
        }
        assert!(Selector::parse("env in prod", "").is_err());
        assert!(Selector::parse("", "spec.member=a").is_err());
    }
}
