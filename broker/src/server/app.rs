//! Owns what all requests share: the store, the gate, limits, metrics and the stop signal.
//! Does not own any behaviour of its own.

use super::{gate::ClusterSetGate, limit::Limits, limit::Meter, metrics::Metrics, store::Store};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// Shared by every connection.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) store: Arc<Store>,
    pub(crate) gate: Arc<dyn ClusterSetGate>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) meter: Arc<Meter>,
    pub(crate) metrics: Arc<Metrics>,
    /// Listed as a namespace even while it is empty.
    pub(crate) namespace: Arc<str>,
    pub(crate) bookmark_interval: Duration,
    /// Cancelled when the broker stops: watches end.
    pub(crate) stopping: CancellationToken,
}

/// The connection that a request came by.
#[derive(Debug, Clone, Default)]
pub(crate) struct Connection {
    /// Cancelled to close it, with all its streams.
    pub(crate) cut: CancellationToken,
    /// Cancelled once a request on it had a good token.
    pub(crate) known: CancellationToken,
}
