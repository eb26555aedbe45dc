//! Owns the Prometheus metrics and their page. Measures nothing: it repeats what documents say.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use sealane_view::peers::{PathState, PeersDocument};
use sealane_view::status::{MemberState, StatusDocument};

use crate::upkeep;

/// Labels of a lane.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Lane {
    member: String,
    gateway: String,
    /// Two lanes lead to one gateway while it rotates its tunnel key.
    slot: u8,
}

/// Labels of a refusal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refused {
    kind: String,
    reason: String,
}

/// Labels of a count of members.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InState {
    state: &'static str,
}

type Real = Gauge<f64, AtomicU64>;

/// All metrics of one agent.
pub struct Metrics {
    registry: Registry,
    /// Held while lanes are set anew, so that no page is made of half of them.
    turn: Mutex<()>,
    lane_up: Family<Lane, Gauge>,
    lane_rtt: Family<Lane, Real>,
    lane_loss: Family<Lane, Real>,
    lane_mtu: Family<Lane, Gauge>,
    lane_received: Family<Lane, Counter>,
    lane_sent: Family<Lane, Counter>,
    lane_handshake: Family<Lane, Gauge>,
    members: Family<InState, Gauge>,
    rejected: Family<Refused, Counter>,
    broker_connected: Gauge,
    broker_behind: Gauge,
    credential_expires: Real,
    clusterset_version: Gauge,
    clusterset_expires: Gauge,
    tunnel_key_since: Real,
    tunnel_key_moving: Gauge,
    problems: Gauge,
    host_changes: Counter,
    host_failures: Counter,
    plan_seconds: Real,
}

impl Metrics {
    /// Makes all metrics at zero.
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("sealane"),
            turn: Mutex::new(()),
            lane_up: Family::default(),
            lane_rtt: Family::default(),
            lane_loss: Family::default(),
            lane_mtu: Family::default(),
            lane_received: Family::default(),
            lane_sent: Family::default(),
            lane_handshake: Family::default(),
            members: Family::default(),
            rejected: Family::default(),
            broker_connected: Gauge::default(),
            broker_behind: Gauge::default(),
            credential_expires: Real::default(),
            clusterset_version: Gauge::default(),
            clusterset_expires: Gauge::default(),
            tunnel_key_since: Real::default(),
            tunnel_key_moving: Gauge::default(),
            problems: Gauge::default(),
            host_changes: Counter::default(),
            host_failures: Counter::default(),
            plan_seconds: Real::default(),
        };
        metrics.register_lanes();
        metrics.register_rest();
        metrics
    }

    fn register_lanes(&mut self) {
        let lanes = self.registry.sub_registry_with_prefix("lane");
        lanes.register("up", "1 when probes through the lane are answered", self.lane_up.clone());
        let help = "Smoothed round trip of probes";
        lanes.register_with_unit("rtt", help, Unit::Seconds, self.lane_rtt.clone());
        let help = "Share of the last hundred probes that was lost, 0 to 1";
        lanes.register("loss_ratio", help, self.lane_loss.clone());
        let help = "Largest packet that crosses whole, IP header included";
        lanes.register_with_unit("path_mtu", help, Unit::Bytes, self.lane_mtu.clone());
        let help = "Authenticated bytes received since the device was made";
        lanes.register_with_unit("received", help, Unit::Bytes, self.lane_received.clone());
        let help = "Bytes sent since the device was made";
        lanes.register_with_unit("sent", help, Unit::Bytes, self.lane_sent.clone());
        let help = "Unix time of the last completed handshake";
        let handshake = self.lane_handshake.clone();
        lanes.register_with_unit("last_handshake_timestamp", help, Unit::Seconds, handshake);
    }

    fn register_rest(&mut self) {
        let all = &mut self.registry;
        all.register("members", "Other members by state", self.members.clone());
        all.register("rejected", "Objects refused, each once per reason", self.rejected.clone());
        let help = "1 while the watch of the broker runs";
        all.register("broker_connected", help, self.broker_connected.clone());
        let help = "1 while the broker holds no list, or an older one than is in force here";
        all.register("broker_behind", help, self.broker_behind.clone());
        let help = "Version of the ClusterSet in force";
        all.register("clusterset_version", help, self.clusterset_version.clone());
        let help = "Unix time at which the ClusterSet expires";
        let expires = self.clusterset_expires.clone();
        all.register_with_unit("clusterset_expiry_timestamp", help, Unit::Seconds, expires);
        let help = "Unix time at which the broker stops to take this host's credential";
        let expires = self.credential_expires.clone();
        all.register_with_unit("broker_credential_expiry_timestamp", help, Unit::Seconds, expires);
        let help = "Unix time since when the tunnel key of this gateway is in use";
        let since = self.tunnel_key_since.clone();
        all.register_with_unit("tunnel_key_since_timestamp", help, Unit::Seconds, since);
        let help = "1 while the tunnel key of this gateway is being replaced";
        all.register("tunnel_key_replacement", help, self.tunnel_key_moving.clone());
        all.register("problems", "Problems shown by the status", self.problems.clone());
        let help = "Changes made to this host";
        all.register("host_changes", help, self.host_changes.clone());
        let help = "Changes that this host refused";
        all.register("host_change_failures", help, self.host_failures.clone());
        let help = "How long the last plan took";
        all.register_with_unit("plan_duration", help, Unit::Seconds, self.plan_seconds.clone());
        let build = Info::new([("version", upkeep::OWN_VERSION)]);
        all.register("build", "The agent that runs", build);
    }

    /// Counts a refusal; called once per object and reason.
    pub fn count_rejection(&self, kind: &str, reason: &str) {
        let labels = Refused { kind: kind.to_owned(), reason: reason.to_owned() };
        self.rejected.get_or_create(&labels).inc();
    }

    /// Counts what a pass over the host did.
    pub fn count_pass(&self, changed: usize, failed: usize) {
        self.host_changes.inc_by(changed as u64);
        self.host_failures.inc_by(failed as u64);
    }

    /// Notes how long a plan took.
    pub fn time_plan(&self, took: std::time::Duration) {
        self.plan_seconds.set(took.as_secs_f64());
    }

    /// Repeats what the documents say; lanes that are gone vanish.
    pub fn show(&self, status: &StatusDocument, peers: &PeersDocument) {
        let _turn = self.turn();
        self.show_members(status);
        self.lane_up.clear();
        self.lane_rtt.clear();
        self.lane_loss.clear();
        self.lane_mtu.clear();
        self.lane_received.clear();
        self.lane_sent.clear();
        self.lane_handshake.clear();
        for peer in &peers.peers {
            let lane = Lane {
                member: peer.member.clone(),
                gateway: peer.gateway.clone(),
                slot: peer.slot,
            };
            self.lane_up.get_or_create(&lane).set(i64::from(peer.state == PathState::Up));
            // The device counts; a counter that it began anew is one that Prometheus sees reset.
            let received = self.lane_received.get_or_create(&lane);
            received.inner().store(peer.received_bytes, Ordering::Relaxed);
            let sent = self.lane_sent.get_or_create(&lane);
            sent.inner().store(peer.sent_bytes, Ordering::Relaxed);
            set(&self.lane_handshake, &lane, peer.last_handshake_unix_seconds);
            set(&self.lane_mtu, &lane, peer.path_mtu_bytes.map(u64::from));
            if let Some(rtt) = peer.rtt_microseconds {
                self.lane_rtt.get_or_create(&lane).set(rtt as f64 / 1e6);
            }
            if let Some(loss) = peer.loss_permille {
                self.lane_loss.get_or_create(&lane).set(f64::from(loss) / 1e3);
            }
        }
    }

    fn show_members(&self, status: &StatusDocument) {
        let states = [
            (MemberState::Up, "up"),
            (MemberState::Degraded, "degraded"),
            (MemberState::Connecting, "connecting"),
            (MemberState::Down, "down"),
            (MemberState::Absent, "absent"),
            (MemberState::Unknown, "unknown"),
        ];
        for (state, label) in states {
            let count = status.members.iter().filter(|member| member.state == state).count();
            self.members.get_or_create(&InState { state: label }).set(count as i64);
        }
        let expires = status.broker.as_ref().and_then(|it| it.credential_expires_unix_seconds);
        // No comparison with NaN holds: an unknown end alarms nobody.
        self.credential_expires.set(expires.map_or(f64::NAN, |expires| expires as f64));
        let key = status.tunnel_key.as_ref();
        self.tunnel_key_since.set(key.map_or(f64::NAN, |key| key.since_unix_seconds as f64));
        let is_moving = key.is_some_and(|key| key.replacement.is_some());
        self.tunnel_key_moving.set(i64::from(is_moving));
        let connected = status.broker.as_ref().is_some_and(|broker| broker.connected);
        self.broker_connected.set(i64::from(connected));
        let behind = status.problems.iter().any(|problem| problem.reason == "BrokerBehind");
        self.broker_behind.set(i64::from(behind));
        self.problems.set(status.problems.len() as i64);
        let set = status.clusterset.as_ref();
        self.clusterset_version.set(set.map_or(0, |set| set.version as i64));
        self.clusterset_expires.set(set.map_or(0, |set| set.expires_unix_seconds as i64));
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        // Gauges are whole at any time, also when a holder of the lock panicked.
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the page in the OpenMetrics text format.
    pub fn page(&self) -> String {
        let _turn = self.turn();
        let mut page = String::new();
        // Writing to a `String` cannot fail; what an encoder refuses is left out.
        let _ = encode(&mut page, &self.registry);
        page
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn set(family: &Family<Lane, Gauge>, lane: &Lane, value: Option<u64>) {
    if let Some(value) = value {
        family.get_or_create(lane).set(i64::try_from(value).unwrap_or(i64::MAX));
    }
}

/// Serves `/metrics` until the process ends.
///
/// # Errors
/// Those of the system when the address cannot be listened on.
pub async fn serve(address: SocketAddr, metrics: Arc<Metrics>) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind(address).await?;
    let page = move || {
        let metrics = metrics.clone();
        async move {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            (StatusCode::OK, [(header::CONTENT_TYPE, kind)], metrics.page()).into_response()
        }
    };
    axum::serve(listener, Router::new().route("/metrics", get(page))).await
}
