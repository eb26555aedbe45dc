//! Owns answers that are too large to be handed over at once: how many a credential may hold, and for
//! how long. Does not own what they say.

use super::{app::Connection, limit::Pass};
use axum::body::{Body, Bytes};
use futures::stream;
use std::{convert::Infallible, time::Duration};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Handed over at once; also the largest answer that is not counted.
pub(crate) const CHUNK_BYTES: usize = 64 << 10;

/// A body whose pass ends with its last byte. Whoever has not taken it all after `patience` loses
/// the connection.
pub(crate) fn held(body: Vec<u8>, pass: Pass, connection: Connection, patience: Duration) -> Body {
    let taken = CancellationToken::new();
    let guard = taken.clone().drop_guard();
    tokio::spawn(async move {
        if timeout(patience, taken.cancelled()).await.is_err() {
            tracing::debug!("a large answer was not read in time");
            connection.cut.cancel();
        }
    });
    let state = (Bytes::from(body), pass, guard);
    Body::from_stream(stream::unfold(state, |(mut left, pass, guard)| async move {
        let chunk = left.split_to(left.len().min(CHUNK_BYTES));
        (!chunk.is_empty()).then_some((Ok::<_, Infallible>(chunk), (left, pass, guard)))
    }))
}
