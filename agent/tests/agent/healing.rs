//! A broker that lost what it held, or was set back: what counts here goes on to count, and is put back.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sealane_broker::access;
use sealane_broker::board::{GROUP, Kind, VERSION};
use sealane_broker::publish;
use sealane_broker::server::config::Config as BrokerConfig;
use sealane_broker::server::gate::{ClusterSetGate, Offer, Refusal};
use sealane_broker::server::serve::Server;
use sealane_broker::server::signature_gate::SignatureGate;
use sealane_view::status::{ProblemView, Severity};
use serde_json::Value;

use crate::fixture::{list, next_list, signed};
use crate::host::{Broker, Host, eventually, now};

/// A member with its word on the broker.
async fn joined(place: &Path, broker: &Broker) -> Host {
    let host = Host::start(place);
    host.join(&broker.token().await).await.unwrap();
    eventually("our word is on the broker", || async { broker.state_of_me().await.is_some() })
        .await;
    host
}

async fn list_on(broker: &Broker) -> Option<Value> {
    publish::read(&broker.admin, Kind::ClusterSet, "sealane").await.ok().flatten()
}

async fn version_on(broker: &Broker) -> Option<u64> {
    list_on(broker).await?["view"]["version"].as_u64()
}

async fn version_in_force(host: &Host) -> Option<u64> {
    host.status().await.clusterset.map(|set| set.version)
}

async fn behind(host: &Host) -> Option<ProblemView> {
    let problems = host.status().await.problems;
    problems.into_iter().find(|problem| problem.reason == "BrokerBehind")
}

async fn delete_list(broker: &Broker) {
    let access::Broker { client, namespace, .. } = &broker.admin;
    let path = format!("/apis/{GROUP}/{VERSION}/namespaces/{namespace}/clustersets/sealane");
    let request = axum::http::Request::delete(path).body(Vec::new()).unwrap();
    client.request_text(request).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_was_emptied_has_list_and_word_back_from_a_member() {
    let broker = Broker::holding(&signed(&list(now()))).await;
    let place = tempfile::tempdir().unwrap();
    let host = joined(place.path(), &broker).await;
    let before = list_on(&broker).await.unwrap()["signed"].clone();
    delete_list(&broker).await;
    broker.remove("me.host").await;
    eventually("the list is back", || async {
        list_on(&broker).await.is_some_and(|spec| spec["signed"] == before)
    })
    .await;
    eventually("our word is back", || async { broker.state_of_me().await.is_some() }).await;
    eventually("nothing is left to say", || async { behind(&host).await.is_none() }).await;
    assert_eq!(version_in_force(&host).await, Some(5));
    host.stop().await;
    broker.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_was_set_back_has_the_newer_list_again_and_nobody_follows_it_back() {
    let broker = Broker::holding(&signed(&list(now()))).await;
    let place = tempfile::tempdir().unwrap();
    let host = joined(place.path(), &broker).await;
    let (address, token) = (broker.server.addresses()[0], broker.token().await);
    broker.server.stop().await;
    let backup = copy(broker.directory.path());
    let broker = Broker::on(broker.directory, address).await;
    broker.apply(&next_list(now(), |_| {})).await;
    eventually("the next list counts", || async { version_in_force(&host).await == Some(6) }).await;
    broker.server.stop().await;

    let broker = Broker::on(backup, address).await;
    eventually("the newer list is back", || async { version_on(&broker).await == Some(6) }).await;
    assert_eq!(version_in_force(&host).await, Some(6));
    eventually("our word is there", || async { broker.state_of_me().await.is_some() }).await;
    eventually("nothing is left to say", || async { behind(&host).await.is_none() }).await;
    drop(token);
    host.stop().await;
    broker.server.stop().await;
}

/// A folder with the same files.
fn copy(folder: &Path) -> tempfile::TempDir {
    let backup = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        std::fs::copy(entry.path(), backup.path().join(entry.file_name())).unwrap();
    }
    backup
}

/// A broker that takes lists of the administrator only as long as it is open, as an API server takes
/// them of nobody else.
async fn moody(open: Arc<AtomicBool>) -> Broker {
    let directory = tempfile::tempdir().unwrap();
    let listen: SocketAddr = ([127, 0, 0, 1], 0).into();
    let config = BrokerConfig { listen: vec![listen], ..BrokerConfig::new(directory.path()) };
    let gate = move |offer: &Offer<'_>| {
        if open.load(Ordering::Relaxed) {
            return SignatureGate.judge(offer);
        }
        let (reason, message) = ("NotYours".to_owned(), "told by the test".to_owned());
        Err(Refusal { reason, message })
    };
    let server = Server::start(config, gate).await.unwrap();
    let admin = access::from_kubeconfig(server.admin_kubeconfig(), None).await.unwrap();
    Broker { server, admin, directory }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_takes_the_list_from_no_member_is_told_with_what_the_administrator_does() {
    let open = Arc::new(AtomicBool::new(true));
    let broker = moody(open.clone()).await;
    let first = signed(&list(now()));
    broker.apply(&first).await;
    let place = tempfile::tempdir().unwrap();
    let host = joined(place.path(), &broker).await;
    open.store(false, Ordering::Relaxed);
    delete_list(&broker).await;
    eventually("it is said, with the refusal", || async {
        behind(&host).await.is_some_and(|problem| problem.cause.contains("told by the test"))
    })
    .await;
    let problem = behind(&host).await.unwrap();
    assert_eq!(problem.severity, Severity::Notice);
    assert!(problem.cause.contains("holds no list") && problem.cause.contains("version 5"));
    assert!(problem.next.contains("sealane clusterset apply"), "{problem:?}");
    let metric = |value: u8| {
        let page = host.metrics.page();
        page.lines().any(|line| line == format!("sealane_broker_behind {value}"))
    };
    eventually("the metric says so", || async { metric(1) }).await;
    assert_eq!(version_in_force(&host).await, Some(5));

    open.store(true, Ordering::Relaxed);
    broker.apply(&first).await;
    eventually("nothing is left to say", || async { behind(&host).await.is_none() }).await;
    eventually("nor on the metrics", || async { metric(0) }).await;
    host.stop().await;
    broker.server.stop().await;
}
