//! Owns what a person gives this agent instead of the broker: a list of members. Judges nothing itself.

use sealane_api::kinds::{self, ClusterSetSpec};
use sealane_view::membership::{ListDocument, ListRequest};
use serde_json::json;

use crate::admin::{Answer, Fault, Refusal};
use crate::answers;
use crate::facts;
use crate::run::Agent;

impl Agent {
    /// Takes a list from a person; it counts, and is told on, when it is on disk.
    pub fn take_list(&mut self, request: &ListRequest) -> Answer {
        let now = self.now();
        let refuse = |fault, cause: String, next: &str| {
            Refusal::new(fault, "the list was not accepted", cause, next)
        };
        let (Some(session), Some(seen)) = (&mut self.session, &self.seen) else {
            let cause = "this host is no member, or was not looked at yet".to_owned();
            return Err(refuse(Fault::State, cause, "join first: `sealane join`"));
        };
        let spec: ClusterSetSpec = kinds::spec(&json!({ "spec": request.spec }))
            .map_err(|error| refuse(Fault::Request, error.to_string(), error.reason.next_step()))?;
        let facts = facts::local(session, &self.config, seen);
        let outcome = session.trust.take_list(&spec, now, &facts).map_err(|rejected| {
            let next = rejected.reason.next_step();
            let cause = format!("{}: {}", rejected.reason.as_str(), rejected.reason.explanation());
            refuse(Fault::Request, cause, next)
        })?;
        let position = session.trust.receiver().clusterset().map(|set| set.position);
        let position = position.unwrap_or_default();
        let document = ListDocument {
            clusterset: session.id.to_string(),
            link_index: position.link_index,
            version: position.version,
            accepted: outcome.changed,
        };
        tracing::info!(version = position.version, links = position.link_index, "list by hand");
        self.note(outcome);
        // What a crash could take back is not said to be accepted.
        self.write_belief();
        if self.session.as_ref().is_some_and(|session| !session.trust.is_saved()) {
            let cause = "StateNotSaved: the disk did not take it".to_owned();
            return Err(refuse(Fault::State, cause, "free the disk, then give the list again"));
        }
        answers::document(&document)
    }
}
