//! Owns the form of what a broker sends, read with as little memory as it takes. Pure: does not own
//! connections.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::board::{Kind, Sighting};
use crate::trouble::Trouble;

/// Objects that one page may have.
const PAGE_OBJECTS: usize = 50_000;
/// Longest `metadata.name` of Kubernetes.
const NAME_BYTES: usize = 253;
/// Longest version or continue token that is carried on.
const PLACE_BYTES: usize = 4_096;
/// Largest `spec` that is kept: twice what receivers accept (32 KiB), and a ClusterSet of 1,000,000
/// bytes in base64 with its links.
const ADVERTISEMENT_BYTES: usize = 64 << 10;
const CLUSTER_SET_BYTES: usize = 2 << 20;
/// Objects, lists and commas in a `spec`. An honest one has a few hundred; each costs memory that
/// its bytes do not show.
const PARTS: usize = 1_024;
/// What the smallest map costs in memory.
const PART_WEIGHT: usize = 640;

/// A page of a list; its objects are not parsed.
#[derive(Deserialize)]
pub(crate) struct Page<'a> {
    pub(crate) metadata: PageMetadata,
    #[serde(borrow, default, deserialize_with = "items")]
    pub(crate) items: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PageMetadata {
    #[serde(deserialize_with = "place")]
    pub(crate) resource_version: String,
    #[serde(default, rename = "continue")]
    pub(crate) next: Option<String>,
}

/// An object; its `spec` is not parsed.
#[derive(Debug)]
pub(crate) struct Posted<'a> {
    pub(crate) name: String,
    pub(crate) resource_version: String,
    spec: Option<&'a RawValue>,
}

/// What an API server says instead of an object.
#[derive(Debug, Deserialize)]
pub(crate) struct Status {
    #[serde(default)]
    pub(crate) code: u16,
    #[serde(default)]
    message: String,
    #[serde(default)]
    details: Details,
}

#[derive(Debug, Default, Deserialize)]
struct Details {
    #[serde(default, rename = "retryAfterSeconds")]
    retry_after_seconds: u32,
}

impl Status {
    /// Seconds after which to ask again; 0 where nothing was said.
    pub(crate) fn retry_after_seconds(&self) -> u32 {
        self.details.retry_after_seconds
    }

    /// Returns what it means for people.
    pub(crate) fn trouble(&self) -> Trouble {
        Trouble::told(self.code, &self.message)
    }
}

/// One line of a watch.
#[derive(Debug)]
pub(crate) enum Line<'a> {
    Written(Posted<'a>),
    Gone(Posted<'a>),
    /// All up to this version was told.
    Bookmark(String),
    Error(Status),
}

/// Reads one line of a watch.
pub(crate) fn line(text: &str) -> serde_json::Result<Line<'_>> {
    #[derive(Deserialize)]
    struct Event<'a> {
        r#type: String,
        #[serde(borrow)]
        object: &'a RawValue,
    }
    #[derive(Deserialize)]
    struct Mark {
        metadata: PageMetadata,
    }
    let Event { r#type, object } = serde_json::from_str(text)?;
    match r#type.as_str() {
        "ADDED" | "MODIFIED" => Posted::parse(object).map(Line::Written),
        "DELETED" => Posted::parse(object).map(Line::Gone),
        "BOOKMARK" => serde_json::from_str(object.get())
            .map(|mark: Mark| Line::Bookmark(mark.metadata.resource_version)),
        "ERROR" => serde_json::from_str(object.get()).map(Line::Error),
        _ => Err(serde::de::Error::custom("unknown type of event")),
    }
}

impl<'a> Posted<'a> {
    pub(crate) fn parse(raw: &'a RawValue) -> serde_json::Result<Self> {
        #[derive(Deserialize)]
        struct Object<'a> {
            metadata: Metadata,
            #[serde(borrow)]
            spec: Option<&'a RawValue>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Metadata {
            name: String,
            #[serde(deserialize_with = "place")]
            resource_version: String,
        }
        let Object { metadata: Metadata { name, resource_version }, spec } =
            serde_json::from_str(raw.get())?;
        if name.is_empty() || name.len() > NAME_BYTES {
            return Err(serde::de::Error::custom("not a name"));
        }
        Ok(Self { name, resource_version, spec })
    }

    /// Returns about how many bytes the [`Sighting`] of this object takes.
    pub(crate) fn weight(&self, kind: Kind) -> usize {
        let spec = self.spec.filter(|spec| !is_oversize(spec, kind));
        let kept = spec.map_or(0, |spec| spec.get().len() + parts(spec) * PART_WEIGHT);
        kept + self.name.len() + PART_WEIGHT
    }

    /// Returns the object as it is shown to receivers.
    pub(crate) fn sighting(self, kind: Kind) -> Sighting {
        let Some(spec) = self.spec else {
            return Sighting { name: self.name, spec: Value::Null, oversize: None };
        };
        if is_oversize(spec, kind) {
            let oversize = Some(spec.get().len());
            return Sighting { name: self.name, spec: Value::Null, oversize };
        }
        let spec = serde_json::from_str(spec.get()).unwrap_or(Value::Null);
        Sighting { name: self.name, spec, oversize: None }
    }
}

fn is_oversize(spec: &RawValue, kind: Kind) -> bool {
    let most = match kind {
        Kind::ClusterSet => CLUSTER_SET_BYTES,
        Kind::Advertisement => ADVERTISEMENT_BYTES,
    };
    spec.get().len() > most || parts(spec) > PARTS
}

fn parts(spec: &RawValue) -> usize {
    spec.get().bytes().filter(|byte| matches!(byte, b'{' | b'[' | b',')).count()
}

fn place<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let place = String::deserialize(deserializer)?;
    if place.is_empty() || place.len() > PLACE_BYTES {
        return Err(serde::de::Error::custom("not a version"));
    }
    Ok(place)
}

fn items<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<&'de RawValue>, D::Error> {
    struct Items;
    impl<'de> Visitor<'de> for Items {
        type Value = Vec<&'de RawValue>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {PAGE_OBJECTS} objects")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
            let mut kept = Vec::new();
            while let Some(item) = items.next_element()? {
                if kept.len() == PAGE_OBJECTS {
                    return Err(serde::de::Error::invalid_length(PAGE_OBJECTS + 1, &self));
                }
                kept.push(item);
            }
            Ok(kept)
        }
    }
    deserializer.deserialize_any(Items)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn posted(text: &str) -> serde_json::Result<Sighting> {
        let raw: &RawValue = serde_json::from_str(text)?;
        Posted::parse(raw).map(|posted| posted.sighting(Kind::Advertisement))
    }

    fn with_spec(spec: &str) -> Sighting {
        let metadata = r#"{"name": "b.g1", "resourceVersion": "7", "labels": 5}"#;
        posted(&format!(r#"{{"metadata": {metadata}, "spec": {spec}, "status": []}}"#)).unwrap()
    }

    #[test]
    fn an_object_is_its_name_and_its_spec_whatever_that_is() {
        assert_eq!(with_spec(r#"{"a": 1}"#).spec, serde_json::json!({"a": 1}));
        assert_eq!(with_spec("null").spec, Value::Null);
        assert_eq!(with_spec("[7]").name, "b.g1");
    }

    #[test]
    fn what_has_no_name_or_version_is_no_object() {
        for metadata in [
            "{}",
            r#"{"name": 5, "resourceVersion": "1"}"#,
            r#"{"name": "", "resourceVersion": "1"}"#,
            r#"{"name": "b.g1"}"#,
            r#"{"name": "b.g1", "resourceVersion": ""}"#,
        ] {
            assert!(posted(&format!(r#"{{"metadata": {metadata}}}"#)).is_err(), "{metadata}");
        }
        let long = "x".repeat(NAME_BYTES + 1);
        let metadata = format!(r#"{{"name": "{long}", "resourceVersion": "1"}}"#);
        assert!(posted(&format!(r#"{{"metadata": {metadata}}}"#)).is_err());
    }

    #[test]
    fn a_spec_that_no_receiver_accepts_is_named_and_not_kept() {
        let large = format!(r#"{{"view": "{}"}}"#, "x".repeat(1_500_000));
        let sighting = with_spec(&large);
        assert_eq!((sighting.spec, sighting.oversize), (Value::Null, Some(large.len())));
        let many = format!("[{}{{}}]", "{},".repeat(PARTS));
        assert_eq!(with_spec(&many).oversize, Some(many.len()));
        let deep = "[".repeat(500) + &"]".repeat(500);
        assert_eq!(posted(&format!(r#"{{"metadata": {{}}, "spec": {deep}}}"#)).ok(), None);
    }

    #[test]
    fn a_page_is_bounded_and_empty_when_it_says_null() {
        let page = |items: &str| {
            let text = format!(r#"{{"metadata": {{"resourceVersion": "1"}}, "items": {items}}}"#);
            serde_json::from_str::<Page<'_>>(&text).map(|page| page.items.len()).ok()
        };
        assert_eq!(page("null"), Some(0));
        assert_eq!(page("[1, {}, null]"), Some(3));
        assert_eq!(page(&format!("[{}0]", "0,".repeat(PAGE_OBJECTS))), None);
        assert_eq!(page("7"), None);
    }

    #[test]
    fn lines_of_a_watch_are_told_apart() {
        let object = r#"{"metadata": {"name": "b.g1", "resourceVersion": "7"}}"#;
        let read = |kind: &str, object: &str| {
            format!("{:?}", line(&format!(r#"{{"type": "{kind}", "object": {object}}}"#)))
        };
        assert!(read("MODIFIED", object).starts_with("Ok(Written"));
        assert!(read("DELETED", object).starts_with("Ok(Gone"));
        assert!(read("BOOKMARK", object).starts_with(r#"Ok(Bookmark("7")"#));
        assert!(read("ERROR", r#"{"code": 410}"#).starts_with("Ok(Error"));
        assert!(read("ADDED", "{}").starts_with("Err"));
        assert!(read("REPLACED", object).starts_with("Err"));
    }

    #[test]
    fn a_brokers_words_reach_people_short_and_without_control_characters() {
        let message = format!("no\u{1b}[31m{}", "x".repeat(10_000));
        let told = Status { code: 403, message, details: Details::default() };
        let told = told.trouble().to_string();
        assert!(told.len() < 320 && !told.contains('\u{1b}') && told.ends_with("(403)"), "{told}");
    }
}
