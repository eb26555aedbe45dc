//! Owns watches: from a revision on, every change that the caller's selector sees, as frames.
//! Does not own history or the HTTP response around the frames.

use super::{
    account::Caller,
    app::{App, Connection},
    clock,
    failure::Failure,
    history::Event,
    limit::Pass,
    object::Object,
    query::{Start, Watching},
    rendering::Rendering,
    resource::Resource,
    store::State,
};
use axum::body::Bytes;
use serde_json::json;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};

/// Changes copied out of the history at once: what a slow reader can hold in memory.
const BATCH: usize = 64;
/// How long before its timeout a watch marks where it is, for the one that goes on from there; as an
/// API server does.
const FAREWELL: Duration = Duration::from_secs(2);
/// How often a quiet watch checks whether its credential still holds.
const CREDENTIAL_CHECK: Duration = Duration::from_secs(5);

/// One open watch.
pub(crate) struct Watch {
    pub(crate) app: App,
    pub(crate) caller: Arc<Caller>,
    pub(crate) resource: &'static Resource,
    pub(crate) namespace: Option<String>,
    pub(crate) rendering: Rendering,
    pub(crate) request: Watching,
    pub(crate) connection: Connection,
    pub(crate) pass: Pass,
}

/// Why a watch ends.
enum End {
    /// In good order: timeout, shutdown, or the reader left.
    Closed,
    /// With an `ERROR` event.
    Failed(Failure),
    /// The reader stopped reading.
    Stalled,
}

impl Watch {
    /// Starts the watch; frames arrive until it ends.
    pub(crate) fn start(self) -> mpsc::Receiver<Bytes> {
        let (frames, reader) = mpsc::channel(1);
        tokio::spawn(self.run(frames));
        reader
    }

    async fn run(self, frames: mpsc::Sender<Bytes>) {
        let deadline = Instant::now() + self.request.timeout;
        let end = tokio::select! {
            end = self.feed(&frames, deadline) => end,
            () = tokio::time::sleep_until(deadline) => End::Closed,
            () = self.app.stopping.cancelled() => End::Closed,
            () = frames.closed() => End::Closed,
        };
        match end {
            End::Closed => {}
            End::Failed(failure) => {
                let frame = json!({"type": "ERROR", "object": failure.status()});
                let _ = timeout(Duration::from_secs(1), frames.send(line(&frame))).await;
            }
            End::Stalled => {
                self.app.metrics.stalled_watches.inc();
                tracing::warn!(caller = %self.caller.username(), "watch not read, connection closed");
                self.connection.cut.cancel();
            }
        }
        drop(self.pass);
    }

    async fn feed(&self, frames: &mpsc::Sender<Bytes>, deadline: Instant) -> End {
        let mut revisions = self.app.store.revisions();
        let mut cursor = match self.begin(frames).await {
            Ok(cursor) => cursor,
            Err(end) => return end,
        };
        let interval = self.app.bookmark_interval;
        let last = deadline.checked_sub(FAREWELL).unwrap_or(deadline);
        let mut due = last.min(Instant::now() + interval);
        loop {
            revisions.mark_unchanged();
            match self.advance(cursor, frames).await {
                Ok(Some(next)) => {
                    cursor = next;
                    continue;
                }
                Ok(None) => {}
                Err(end) => return end,
            }
            let now = Instant::now();
            if now >= due {
                due = if due < last { last.min(now + interval) } else { deadline };
                if self.request.bookmarks
                    && let Err(end) = self.send(frames, self.bookmark(cursor, false)).await
                {
                    return end;
                }
            }
            let pause = CREDENTIAL_CHECK.min(due.saturating_duration_since(now));
            if let Ok(Err(_)) = timeout(pause, revisions.changed()).await {
                return End::Closed;
            }
        }
    }

    /// Sends the initial state, if it was asked for; the answer is where to go on from.
    async fn begin(&self, frames: &mpsc::Sender<Bytes>) -> Result<u64, End> {
        if let Start::After(revision) = self.request.start {
            return Ok(revision);
        }
        let (revision, objects) = {
            let state = self.app.store.read();
            let objects: Vec<Arc<Object>> =
                state.objects.values().filter(|object| self.sees(object)).cloned().collect();
            (state.revision, objects)
        };
        for object in objects {
            self.send(frames, self.frame("ADDED", &object)).await?;
        }
        if self.request.start == Start::WithStateMarked {
            self.send(frames, self.bookmark(revision, true)).await?;
        }
        Ok(revision)
    }

    /// Sends the next changes after `cursor`; `None` when there are none yet.
    async fn advance(&self, cursor: u64, frames: &mpsc::Sender<Bytes>) -> Result<Option<u64>, End> {
        let events = self.events_after(cursor).map_err(End::Failed)?;
        let Some(last) = events.last().map(|event| event.revision) else { return Ok(None) };
        for event in events {
            if let Some(frame) = self.visible(&event) {
                self.send(frames, frame).await?;
            }
        }
        Ok(Some(last))
    }

    fn events_after(&self, cursor: u64) -> Result<Vec<Arc<Event>>, Failure> {
        let state = self.app.store.read();
        if !is_live(&state, &self.caller) {
            return Err(Failure::unauthorized());
        }
        let gone = || {
            Failure::expired(format!(
                "too old resource version: {cursor} ({})",
                state.history.floor.max(1)
            ))
        };
        // A revision from before this broker lost its disk must not wait for the numbers to
        // catch up with it.
        if cursor > state.revision {
            return Err(gone());
        }
        Ok(state.history.since(cursor).ok_or_else(gone)?.take(BATCH).cloned().collect())
    }

    fn sees(&self, object: &Object) -> bool {
        object.key.plural == self.resource.plural
            && self.namespace.as_ref().is_none_or(|wanted| object.key.namespace == *wanted)
            && self.request.selector.matches(object)
    }

    /// The frame of a change as this watch's selector sees it.
    fn visible(&self, event: &Event) -> Option<Bytes> {
        let was = event.before.as_deref().is_some_and(|before| self.sees(before));
        let is = !event.deleted && self.sees(&event.object);
        match (was, is) {
            (false, false) => None,
            (false, true) => Some(self.frame("ADDED", &event.object)),
            (true, true) => Some(self.frame("MODIFIED", &event.object)),
            (true, false) => Some(self.frame("DELETED", &event.object)),
        }
    }

    fn frame(&self, kind: &str, object: &Object) -> Bytes {
        let body = self.rendering.object(self.resource, object);
        let mut frame = Vec::with_capacity(body.len() + 40);
        frame.extend_from_slice(format!("{{\"type\":\"{kind}\",\"object\":").as_bytes());
        frame.extend_from_slice(&body);
        frame.extend_from_slice(b"}\n");
        frame.into()
    }

    fn bookmark(&self, revision: u64, ends_initial_events: bool) -> Bytes {
        let mut metadata =
            json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if ends_initial_events {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = json!({
            "apiVersion": self.resource.api_version(),
            "kind": self.resource.kind,
            "metadata": metadata,
        });
        line(&json!({"type": "BOOKMARK", "object": object}))
    }

    async fn send(&self, frames: &mpsc::Sender<Bytes>, frame: Bytes) -> Result<(), End> {
        match timeout(self.app.limits.watch_stall, frames.send(frame)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Closed),
            Err(_) => Err(End::Stalled),
        }
    }
}

/// Whether the token a request came with is still good.
pub(crate) fn is_live(state: &State, caller: &Caller) -> bool {
    state.tokens.get(&caller.token_id).is_some_and(|token| token.is_live(clock::now()))
}

fn line(value: &serde_json::Value) -> Bytes {
    format!("{value}\n").into()
}
