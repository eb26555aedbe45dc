//! Owns the scene of cases about brokers: a broker of either make, shared by the cases, a namespace of
//! the case's own, and objects that no receiver would believe but every broker takes.

use std::fmt::Debug;
use std::future::Future;
use std::sync::OnceLock;
use std::time::Duration;

use futures::TryStreamExt;
use kube::api::{DynamicObject, WatchEvent};
use kube::core::Status;
use kube::{Api, ResourceExt};
use sealane_broker::access::Broker;
use sealane_broker::board::Kind;
use sealane_tests::kubernetes::board::{Board, Make};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// Nothing here takes near this long; a test that waits for it has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Where a case is.
pub(crate) struct Room {
    pub(crate) board: &'static Board,
    pub(crate) namespace: String,
    pub(crate) admin: Broker,
}

/// Runs a case on the broker that all cases of its make share.
pub(crate) fn on<F: Future<Output = ()>>(make: Make, case: &str, run: impl FnOnce(Room) -> F) {
    static SHARED: [OnceLock<Option<Board>>; 2] = [OnceLock::new(), OnceLock::new()];
    let shared =
        SHARED[usize::from(make == Make::Embedded)].get_or_init(|| Board::start(make).unwrap());
    let Some(board) = shared else { return };
    let namespace = case.replace('_', "-").chars().take(40).collect::<String>();
    let namespace = namespace.trim_end_matches('-').to_owned();
    board.namespace(&namespace).unwrap();
    runtime().block_on(async {
        let admin = board.admin(&namespace).await.unwrap();
        run(Room { board, namespace, admin }).await;
    });
}

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

impl Room {
    pub(crate) fn advertisements(&self) -> Api<DynamicObject> {
        objects(&self.admin, Kind::Advertisement)
    }

    pub(crate) fn kubectl(&self, arguments: &str) -> Result<String, String> {
        let arguments = format!("-n {} {arguments}", self.namespace);
        self.board.kubectl(&arguments).map_err(|fault| fault.to_string())
    }
}

pub(crate) fn objects(broker: &Broker, kind: Kind) -> Api<DynamicObject> {
    Api::namespaced_with(broker.client.clone(), &broker.namespace, &kind.resource())
}

/// An Advertisement of a member's gateway; `word` tells versions apart.
pub(crate) fn advertisement(member: &str, gateway: &str, word: &str) -> DynamicObject {
    let signed = json!({"payload": word, "signature": "A".repeat(88)});
    let view = json!({
        "state": "active", "networks": ["10.1.0.0/16", "fd01::/48"], "addresses": ["203.0.113.1:51820"],
        "sequence": 1, "expires": "2030-01-01T00:00:00Z", "agent": "0.1.0",
    });
    let spec = json!({
        "member": member, "gateway": gateway, "cert": signed, "signed": signed, "view": view,
    });
    object("Advertisement", &format!("{member}.{gateway}"), &spec)
}

pub(crate) fn object(kind: &str, name: &str, spec: &Value) -> DynamicObject {
    serde_json::from_value(json!({
        "apiVersion": "sealane.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec,
    }))
    .unwrap()
}

/// What a broker said when it refused.
pub(crate) fn refusal<T: Debug>(answer: kube::Result<T>) -> Status {
    match answer {
        Err(kube::Error::Api(status)) => *status,
        other => panic!("not refused by the broker: {other:?}"),
    }
}

/// `TYPE name`, or the code of an error.
pub(crate) async fn next<S>(stream: &mut S) -> String
where
    S: futures::Stream<Item = kube::Result<WatchEvent<DynamicObject>>> + Unpin,
{
    let event = soon("a watch event", stream.try_next()).await.unwrap();
    match event.expect("the watch ended") {
        WatchEvent::Added(object) => format!("ADDED {}", object.name_any()),
        WatchEvent::Modified(object) => format!("MODIFIED {}", object.name_any()),
        WatchEvent::Deleted(object) => format!("DELETED {}", object.name_any()),
        WatchEvent::Bookmark(mark) => {
            assert!(!mark.metadata.resource_version.is_empty());
            let ends = mark.metadata.annotations.contains_key("k8s.io/initial-events-end");
            format!("BOOKMARK{}", if ends { " of the end of what there was" } else { "" })
        }
        WatchEvent::Error(status) => format!("ERROR {}", status.code),
    }
}

pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("took too long: {what}"))
}
