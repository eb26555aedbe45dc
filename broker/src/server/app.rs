//! Owns what all requests share, and what those of one connection do: the store, the gate, limits,
//! metrics, the stop signal; whose connection it is. Does not own what any of them does.

use super::{
    failure::Failure, gate::ClusterSetGate, limit::Held, limit::Limits, limit::Meter, limit::Pass,
    metrics::Metrics, store::Store,
};
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};
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
    /// Cancelled once a request on it had a good token, and its caller may have one more.
    pub(crate) known: CancellationToken,
    /// That caller's right to it.
    pub(crate) pass: Arc<OnceLock<Pass>>,
}

impl Connection {
    /// Makes it the caller's of its first request with a good token.
    pub(crate) fn claim(&self, caller: &str, meter: &Arc<Meter>) -> Result<(), Failure> {
        if !self.known.is_cancelled() {
            let pass = meter.open(caller, Held::Connection)?;
            // Of two first requests at once one pass is enough; the other ends here.
            let _ = self.pass.set(pass);
            self.known.cancel();
        }
        Ok(())
    }
}
