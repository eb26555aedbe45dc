//! Owns the broker's Prometheus metrics. Does not own who may read them.

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

/// Labels of a finished request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) code: u16,
}

/// Labels of a stored kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Stored {
    pub(crate) resource: &'static str,
}

/// Every metric, registered.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) requests: Family<Request, Counter>,
    pub(crate) commit_duration_seconds: Histogram,
    pub(crate) objects: Family<Stored, Gauge>,
    pub(crate) watches: Gauge,
    pub(crate) stalled_watches: Counter,
    pub(crate) history_events: Gauge,
    pub(crate) resource_version: Gauge,
    pub(crate) connections: Gauge,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("sealane_broker"),
            requests: Family::default(),
            commit_duration_seconds: Histogram::new(exponential_buckets(0.0005, 2.0, 14)),
            objects: Family::default(),
            watches: Gauge::default(),
            stalled_watches: Counter::default(),
            history_events: Gauge::default(),
            resource_version: Gauge::default(),
            connections: Gauge::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("requests", "Finished requests", self.requests.clone());
        registry.register(
            "commit_duration_seconds",
            "Time to make a group of writes durable",
            self.commit_duration_seconds.clone(),
        );
        registry.register("objects", "Stored objects", self.objects.clone());
        registry.register("watches", "Open watches", self.watches.clone());
        registry.register(
            "stalled_watches",
            "Watches closed because their reader stopped reading",
            self.stalled_watches.clone(),
        );
        registry.register(
            "history_events",
            "Changes kept for watches",
            self.history_events.clone(),
        );
        registry.register(
            "resource_version",
            "Newest resource version",
            self.resource_version.clone(),
        );
        registry.register("connections", "Open connections", self.connections.clone());
    }

    /// OpenMetrics text.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
