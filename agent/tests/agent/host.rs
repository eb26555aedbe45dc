//! An agent's loop with a hand that changes no host, and a broker in this process. Owns no claims.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sealane_agent::admin::{Answer, Ask, Question};
use sealane_agent::clock::Wall;
use sealane_agent::config::{Config, Supervision};
use sealane_agent::config_file;
use sealane_agent::event::Event;
use sealane_agent::hand::{Errand, Pass, Wish};
use sealane_agent::keys::Ring;
use sealane_agent::metrics::Metrics;
use sealane_agent::run::{Agent, Connections};
use sealane_agent::vigil::Vigil;
use sealane_api::clusterset::BrokerAddress;
use sealane_api::kinds::ClusterSetSpec;
use sealane_api::time::UnixTime;
use sealane_api::token::Token;
use sealane_broker::access::{self, Broker as Client};
use sealane_broker::account;
use sealane_broker::board::{GROUP, Kind, VERSION};
use sealane_broker::publish;
use sealane_broker::server::config::Config as BrokerConfig;
use sealane_broker::server::serve::Server;
use sealane_broker::server::signature_gate::SignatureGate;
use sealane_broker::store::Store;
use sealane_state::facts::{LinkFacts, Observation};
use sealane_state::link::Backend;
use sealane_state::rule::Family;
use sealane_view::membership::JoinRequest;
use sealane_view::status::StatusDocument;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::fixture::token;

/// Nothing here takes near this long; a test that waits for it has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(40);

/// Waits for a condition, never longer than [`DEADLINE`].
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(DEADLINE, wait).await.is_ok(), "never came true: {what}");
}

pub(crate) fn now() -> UnixTime {
    UnixTime(Wall::of_system().now())
}

/// Settings of the gateway `me.host`.
pub(crate) fn config(state: &Path) -> Config {
    let text = "node = 'host'\ngateway = true\n[networks]\npods = ['10.4.0.0/16', '10.9.0.0/16']\n";
    let mut config = config_file::parse(text, Supervision::Agent).unwrap();
    config.paths.state = state.to_owned();
    config.paths.runtime = state.join("run");
    config
}

/// What a host with one uplink shows; nothing on it is ours.
pub(crate) fn bare_host() -> Observation {
    let addresses = ["192.0.2.10/24", "2001:db8::10/64"].map(|net| net.parse().unwrap());
    let addresses = addresses.into();
    let uplink = LinkFacts { index: 2, mtu: 1500, running: true, addresses, ours: false };
    let mut seen = Observation::default();
    seen.facts.links = BTreeMap::from([("eth0".parse().unwrap(), uplink)]);
    seen.facts.backends = BTreeSet::from([Backend::Userspace]);
    seen.facts.families = BTreeSet::from([Family::V4, Family::V6]);
    seen
}

/// Whether an agent with these settings would use its token at start.
pub(crate) fn joins_by_itself(config: &Config) -> bool {
    agent(config.clone(), Wall::of_system()).0.joins_by_itself()
}

/// An agent that does not run, and the other ends of its channels.
fn agent(config: Config, wall: Wall) -> (Agent, Ends) {
    let store = Store::open(&config.paths.state).unwrap();
    let (events, inbox) = mpsc::channel(1024);
    let (errand, errands) = mpsc::channel(16);
    let none = Wish::default();
    let (wish, wished) = watch::channel(none);
    let metrics = Arc::new(Metrics::new());
    let connections = Connections {
        wish,
        errands: errand,
        events: events.clone(),
        ring: Arc::new(Ring::default()),
        metrics: metrics.clone(),
        wall,
    };
    let agent = Agent::new(config, store, connections).unwrap();
    (agent, Ends { events, inbox, metrics, wished, errands })
}

struct Ends {
    events: mpsc::Sender<Event>,
    inbox: mpsc::Receiver<Event>,
    metrics: Arc<Metrics>,
    wished: watch::Receiver<Wish>,
    errands: mpsc::Receiver<Errand>,
}

/// A running agent.
pub(crate) struct Host {
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) wish: watch::Receiver<Wish>,
    pub(crate) running: JoinHandle<()>,
    errands: mpsc::Receiver<Errand>,
    hand: JoinHandle<()>,
}

impl Host {
    /// Starts the loop; its hand does at once whatever is wished.
    pub(crate) fn start(state: &Path) -> Self {
        Self::with(config(state))
    }

    pub(crate) fn with(config: Config) -> Self {
        let mut host = Self::unseen(config);
        let (events, mut wish) = (host.events.clone(), host.wish.clone());
        host.hand = tokio::spawn(async move {
            loop {
                let wanted = wish.borrow_and_update().host.clone();
                let mut seen = bare_host();
                seen.ours = wanted.as_deref().cloned().unwrap_or_default();
                let pass = Pass::idle(seen, wanted);
                if events.send(Event::Host(pass)).await.is_err() || wish.changed().await.is_err() {
                    return;
                }
            }
        });
        host
    }

    /// Starts the loop on a host that nobody has looked at.
    pub(crate) fn unseen(config: Config) -> Self {
        Self::unseen_at(config, Wall::of_system())
    }

    /// The same by a clock of the test's own.
    pub(crate) fn unseen_at(config: Config, wall: Wall) -> Self {
        Self::running(agent(config, wall))
    }

    /// The same, when the hand was last heard of so long ago.
    pub(crate) fn unseen_for(config: Config, silence: Duration) -> Self {
        let (mut agent, ends) = agent(config, Wall::of_system());
        agent.vigil = Vigil::from(Instant::now().checked_sub(silence).unwrap());
        Self::running((agent, ends))
    }

    fn running((agent, ends): (Agent, Ends)) -> Self {
        let Ends { events, inbox, metrics, wished, errands } = ends;
        let running = tokio::spawn(agent.run(inbox));
        let hand = tokio::spawn(async {});
        Self { events, metrics, wish: wished, running, errands, hand }
    }

    pub(crate) async fn ask(&self, question: Question) -> Answer {
        let (reply, answer) = oneshot::channel();
        assert!(self.events.send(Event::Ask(Ask { question, reply })).await.is_ok());
        tokio::time::timeout(DEADLINE, answer).await.unwrap().unwrap()
    }

    pub(crate) async fn join(&self, text: &str) -> Answer {
        self.ask(Question::Join(JoinRequest { token: text.to_owned() })).await
    }

    pub(crate) async fn status(&self) -> StatusDocument {
        serde_json::from_value(self.ask(Question::Status).await.unwrap()).unwrap()
    }

    /// Stops it as a signal does.
    pub(crate) async fn stop(self) {
        assert!(self.events.send(Event::Stop).await.is_ok());
        tokio::time::timeout(DEADLINE, self.running).await.unwrap().unwrap();
        self.hand.abort();
        drop(self.errands);
    }
}

/// A broker in this process.
pub(crate) struct Broker {
    pub(crate) server: Server,
    pub(crate) admin: Client,
    pub(crate) directory: TempDir,
}

impl Broker {
    /// Starts one that holds a list.
    pub(crate) async fn holding(list: &ClusterSetSpec) -> Self {
        let broker = Self::on(tempfile::tempdir().unwrap(), ([127, 0, 0, 1], 0).into()).await;
        broker.apply(list).await;
        broker
    }

    pub(crate) async fn on(directory: TempDir, listen: SocketAddr) -> Self {
        let config = BrokerConfig { listen: vec![listen], ..BrokerConfig::new(directory.path()) };
        let server = Server::start(config, SignatureGate).await.unwrap();
        let admin = access::from_kubeconfig(server.admin_kubeconfig(), None).await.unwrap();
        Self { server, admin, directory }
    }

    pub(crate) async fn apply(&self, list: &ClusterSetSpec) {
        let spec = serde_json::to_value(list).unwrap();
        publish::publish(&self.admin, Kind::ClusterSet, "sealane", &spec).await.unwrap();
    }

    pub(crate) fn address(&self) -> BrokerAddress {
        let url = format!("https://localhost:{}", self.server.addresses()[0].port());
        serde_json::from_value(serde_json::json!({ "url": url, "spki": self.server.pins() }))
            .unwrap()
    }

    /// The text of a token for `me`.
    pub(crate) async fn token(&self) -> String {
        self.token_of_me().await.encode().to_string()
    }

    pub(crate) async fn token_of_me(&self) -> Token {
        let mut token = token(vec![self.address()]);
        let credential = account::issue(&self.admin, "me", 3600).await.unwrap();
        token.credential = credential.token;
        token.credential_expires = credential.expires.map(UnixTime);
        token
    }

    /// Removes an advertisement, as an administrator does with kubectl.
    pub(crate) async fn remove(&self, name: &str) {
        let Client { client, namespace, .. } = &self.admin;
        let path = format!("/apis/{GROUP}/{VERSION}/namespaces/{namespace}/advertisements/{name}");
        let request = axum::http::Request::delete(path).body(Vec::new()).unwrap();
        client.request_text(request).await.unwrap();
    }

    /// The state in our word on the broker; none while the broker cannot say.
    pub(crate) async fn state_of_me(&self) -> Option<String> {
        let spec = publish::read(&self.admin, Kind::Advertisement, "me.host").await.ok()??;
        let spec: sealane_api::kinds::AdvertisementSpec = serde_json::from_value(spec).unwrap();
        Some(crate::fixture::payload(&spec.signed)["state"].as_str().unwrap().to_owned())
    }

    /// What the broker holds of `me.host`: the payload of its advertisement.
    pub(crate) async fn word_of_me(&self) -> Option<Value> {
        let spec = publish::read(&self.admin, Kind::Advertisement, "me.host").await.unwrap()?;
        let spec: sealane_api::kinds::AdvertisementSpec = serde_json::from_value(spec).unwrap();
        Some(crate::fixture::payload(&spec.signed))
    }
}
