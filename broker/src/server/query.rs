//! Owns the query parameters of reads: selectors, paging, versions, watch options, and the
//! continue token. Does not own what they lead to.

use super::{
    failure::{Cause, Failure},
    selector::Selector,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Query parameters as sent; unknown ones are ignored, as an API server does.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Query {
    label_selector: String,
    field_selector: String,
    limit: Option<usize>,
    #[serde(rename = "continue")]
    continuation: String,
    resource_version: String,
    resource_version_match: String,
    watch: String,
    allow_watch_bookmarks: String,
    send_initial_events: String,
    timeout_seconds: Option<u64>,
    pub(crate) include_object: String,
    pub(crate) dry_run: String,
    pub(crate) field_manager: String,
    pub(crate) field_validation: String,
}

/// Which state a list shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    Now,
    /// Not older than this revision.
    Since(u64),
    Exactly(u64),
}

/// A list request.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) selector: Selector,
    /// 0 is unlimited.
    pub(crate) limit: usize,
    pub(crate) at: At,
    /// Namespace and name after which the list goes on.
    pub(crate) after: Option<(String, String)>,
}

/// A watch request.
#[derive(Debug)]
pub(crate) struct Watching {
    pub(crate) selector: Selector,
    pub(crate) start: Start,
    pub(crate) bookmarks: bool,
    pub(crate) timeout: Duration,
}

/// Where a watch starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// After this revision.
    After(u64),
    /// With an `ADDED` event for all there is.
    WithState,
    /// The same, then a bookmark that says so.
    WithStateMarked,
}

/// Longest watch, and what a request without a timeout gets.
const WATCH_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// Where a list stopped. Opaque to clients; checked as hostile all the same.
#[derive(Debug, Serialize, Deserialize)]
struct Continuation {
    revision: u64,
    namespace: String,
    name: String,
}

/// The token that continues a list of `revision` after this object.
pub(crate) fn continue_token(revision: u64, namespace: &str, name: &str) -> String {
    let place =
        serde_json::json!({"revision": revision, "namespace": namespace, "name": name}).to_string();
    URL_SAFE_NO_PAD.encode(place)
}

fn truthy(text: &str) -> bool {
    matches!(text, "true" | "1" | "True" | "t")
}

impl Query {
    pub(crate) fn is_watch(&self) -> bool {
        truthy(&self.watch)
    }

    fn revision(&self) -> Result<Option<u64>, Failure> {
        match self.resource_version.as_str() {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                Failure::bad_request(format!("resourceVersion {text:.40}: not a number"))
            }),
        }
    }

    pub(crate) fn listing(&self) -> Result<Listing, Failure> {
        let selector = Selector::parse(&self.label_selector, &self.field_selector)?;
        let limit = self.limit.unwrap_or(0);
        if !self.continuation.is_empty() {
            let broken = || Failure::bad_request("continue: not a token of this server");
            let json = URL_SAFE_NO_PAD.decode(&self.continuation).map_err(|_| broken())?;
            let place: Continuation = serde_json::from_slice(&json).map_err(|_| broken())?;
            let after = Some((place.namespace, place.name));
            return Ok(Listing { selector, limit, at: At::Exactly(place.revision), after });
        }
        let at = match (self.revision()?, self.resource_version_match.as_str()) {
            (None | Some(0), "" | "NotOlderThan") => At::Now,
            (Some(revision), "" | "NotOlderThan") => At::Since(revision),
            (Some(revision), "Exact") if revision > 0 => At::Exactly(revision),
            (_, other) => {
                let fault = format!("{other:.20}: Exact and NotOlderThan need a resourceVersion");
                let causes = vec![Cause::new("resourceVersionMatch", fault)];
                return Err(Failure::invalid("ListOptions", "", causes));
            }
        };
        Ok(Listing { selector, limit, at, after: None })
    }

    pub(crate) fn watching(&self) -> Result<Watching, Failure> {
        let invalid = |field: &str, why: &str| {
            Failure::invalid("ListOptions", "", vec![Cause::new(field, why)])
        };
        let bookmarks = truthy(&self.allow_watch_bookmarks);
        let revision = self.revision()?.filter(|revision| *revision > 0);
        let matching = self.resource_version_match.as_str();
        let start = match (self.send_initial_events.as_str(), revision) {
            ("", None) if matching.is_empty() => Start::WithState,
            ("", Some(revision)) if matching.is_empty() => Start::After(revision),
            ("", _) => {
                let why = "forbidden for a watch without sendInitialEvents";
                return Err(invalid("resourceVersionMatch", why));
            }
            _ if matching != "NotOlderThan" => {
                let why = "sendInitialEvents wants resourceVersionMatch=NotOlderThan";
                return Err(invalid("resourceVersionMatch", why));
            }
            (text, _) if truthy(text) && bookmarks => Start::WithStateMarked,
            (text, _) if truthy(text) => Start::WithState,
            (_, Some(revision)) => Start::After(revision),
            (_, None) => Start::WithState,
        };
        let timeout = self.timeout_seconds.filter(|seconds| *seconds > 0).map(Duration::from_secs);
        Ok(Watching {
            selector: Selector::parse(&self.label_selector, &self.field_selector)?,
            start,
            bookmarks,
            timeout: timeout.map_or(WATCH_TIMEOUT, |timeout| timeout.min(WATCH_TIMEOUT)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_continue_token_leads_back_to_its_place() {
        let query = Query { continuation: continue_token(7, "ns", "a.b"), ..Query::default() };
        let listing = query.listing().unwrap();
        assert_eq!(listing.at, At::Exactly(7));
        assert_eq!(listing.after, Some(("ns".into(), "a.b".into())));
        let bent = Query { continuation: "bm9wZQ".into(), ..Query::default() };
        assert_eq!(bent.listing().unwrap_err().code.as_u16(), 400);
    }

    #[test]
    fn streaming_lists_need_the_match_that_kubernetes_asks_for() {
        let send = |matching: &str| Query {
            send_initial_events: "true".into(),
            allow_watch_bookmarks: "true".into(),
            resource_version_match: matching.into(),
            ..Query::default()
        };
        assert_eq!(send("NotOlderThan").watching().unwrap().start, Start::WithStateMarked);
        assert_eq!(send("").watching().unwrap_err().code.as_u16(), 422);
    }
}
