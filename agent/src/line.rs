//! Owns the line to the broker: the standing watch, what its state is, and the one object that this
//! gateway keeps there. Judges nothing that comes over it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use sealane_api::clusterset::BrokerAddress;
use sealane_api::names::GatewayId;
use sealane_broker::access::{AccessError, Broker};
use sealane_broker::board::{BoardEvent, Kind};
use sealane_broker::mirror;
use sealane_broker::publish::{self, Found, PublishError, Retry};
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::event::Event;
use crate::membership::Membership;

/// First wait after a refused write; doubled up to [`LONGEST_WAIT`].
const SHORTEST_WAIT: Duration = Duration::from_millis(250);
/// Longest wait between writes of the same word.
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// The state of the line, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LineState {
    /// The broker in use or last tried.
    pub url: String,
    /// Whether its watch runs.
    pub connected: bool,
    /// Unix seconds since when `connected` has its value.
    pub since: u64,
    /// The last error.
    pub last_error: Option<String>,
}

/// What this gateway keeps on the broker.
#[derive(Debug, Clone, PartialEq)]
struct Word {
    name: String,
    spec: Value,
    /// Grows when the broker may have lost the word.
    turn: u64,
}

/// The line to the broker; closed when dropped.
pub struct BrokerLine {
    /// What people see of it.
    pub state: LineState,
    brokers: Vec<Broker>,
    unusable: Vec<String>,
    addresses: BTreeSet<IpAddr>,
    listed: Vec<BrokerAddress>,
    word: watch::Sender<Option<Word>>,
    hushed: Option<Word>,
    events: mpsc::Sender<Event>,
    writer: JoinHandle<()>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for BrokerLine {
    fn drop(&mut self) {
        self.writer.abort();
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl BrokerLine {
    /// Opens the line: follows the brokers that the ClusterSet lists, then those of the token.
    pub fn open(
        membership: &Membership,
        listed: &[BrokerAddress],
        events: mpsc::Sender<Event>,
    ) -> Self {
        let (brokers, errors) = membership.clients(listed);
        let unusable: Vec<String> = errors.iter().map(AccessError::to_string).collect();
        let (board, mut seen) = mpsc::channel(256);
        let (word, words) = watch::channel(None);
        let told = events.clone();
        let tasks = vec![
            tokio::spawn(mirror::follow(brokers.clone(), board)),
            tokio::spawn(async move {
                while let Some(event) = seen.recv().await {
                    if told.send(Event::Board(event)).await.is_err() {
                        return;
                    }
                }
            }),
        ];
        let writer = tokio::spawn(keep_word(brokers.clone(), words, events.clone()));
        let url = brokers.first().map(|broker| broker.url.clone()).unwrap_or_default();
        let hosts = listed.iter().chain(&membership.brokers).filter_map(|it| host_of(&it.url));
        Self {
            state: LineState { url, last_error: unusable.first().cloned(), ..LineState::default() },
            addresses: hosts.collect(),
            brokers,
            unusable,
            word,
            hushed: None,
            // Before a first ClusterSet the token speaks; nothing changes when the list says the same.
            listed: if listed.is_empty() { membership.brokers.clone() } else { listed.to_vec() },
            events,
            writer,
            tasks,
        }
    }

    /// Notes what the watch tells of the broker itself.
    pub fn note(&mut self, event: &BoardEvent, now: u64) {
        let (url, connected, error) = match event {
            BoardEvent::Reachable(url) => (url, true, None),
            BoardEvent::Unreachable { url, cause } => (url, false, Some(cause.clone())),
            _ => return,
        };
        if self.state.connected != connected || self.state.since == 0 {
            self.state.since = now;
            match &error {
                None => tracing::info!(broker = %url, "broker connected"),
                Some(cause) => tracing::warn!(broker = %url, %cause, "broker away"),
            }
        }
        self.state.url.clone_from(url);
        self.state.connected = connected;
        self.state.last_error = error.or(self.state.last_error.take());
    }

    /// Says what the broker should hold under our name.
    pub fn say(&self, own: &GatewayId, spec: Value) {
        self.word.send_if_modified(|word| {
            if word.as_ref().is_some_and(|held| held.spec == spec) {
                return false;
            }
            *word = Some(Word { name: own.to_string(), spec, turn: 0 });
            true
        });
    }

    /// Has our word checked on the broker: it may be gone or overwritten.
    pub fn say_again(&self) {
        self.word.send_if_modified(|word| word.as_mut().map(|held| held.turn += 1).is_some());
    }

    /// Says whether the line was opened for these brokers.
    pub fn is_for(&self, listed: &[BrokerAddress]) -> bool {
        self.listed == listed
    }

    /// Stops keeping our word on the broker, since a last one follows; wait for the writer to end
    /// before that is written, or it may be overwritten by the word before it.
    pub fn hush(&mut self) -> JoinHandle<()> {
        self.hushed = self.word.send_replace(None);
        self.writer.abort();
        let idle = tokio::spawn(std::future::ready(()));
        std::mem::replace(&mut self.writer, idle)
    }

    /// Keeps the word from before [`BrokerLine::hush`] again.
    pub fn speak_on(&mut self) {
        let words = self.word.subscribe();
        self.writer = tokio::spawn(keep_word(self.brokers.clone(), words, self.events.clone()));
        self.word.send_replace(self.hushed.take());
    }

    /// Returns the brokers, for a last word.
    pub fn brokers(&self) -> Vec<Broker> {
        self.brokers.clone()
    }

    /// Returns the addresses of brokers that are given as numbers.
    pub fn addresses(&self) -> BTreeSet<IpAddr> {
        self.addresses.clone()
    }

    /// Returns why some brokers are not used at all.
    pub fn unusable(&self) -> &[String] {
        &self.unusable
    }
}

/// Writes a last word on the first broker that takes it.
///
/// # Errors
/// The error of the last broker that was tried.
pub async fn say_last(
    brokers: &[Broker],
    own: &GatewayId,
    spec: &Value,
) -> Result<(), PublishError> {
    let mut last = Err(PublishError {
        name: own.to_string(),
        url: "none".to_owned(),
        cause: "no usable broker".to_owned(),
        retry: Retry::OnChange,
    });
    for broker in brokers {
        last =
            publish::publish(broker, Kind::Advertisement, &own.to_string(), spec).await.map(drop);
        if last.is_ok() {
            break;
        }
    }
    last
}

/// Returns the error of a last word that no broker took in time.
pub fn too_late(own: &GatewayId) -> PublishError {
    PublishError {
        name: own.to_string(),
        url: "any".to_owned(),
        cause: "no answer in time".to_owned(),
        retry: Retry::Soon,
    }
}

async fn keep_word(
    brokers: Vec<Broker>,
    mut words: watch::Receiver<Option<Word>>,
    events: mpsc::Sender<Event>,
) {
    let mut wait = SHORTEST_WAIT;
    let mut last_spec = None;
    loop {
        let word = words.borrow_and_update().clone();
        let Some(word) = word else {
            if words.changed().await.is_err() {
                return;
            }
            continue;
        };
        let known = last_spec.replace(word.spec.clone()) == Some(word.spec.clone());
        let result = write(&brokers, &word).await;
        // Another hand put something else in the place of our word: that is no race to win.
        let contested = known && matches!(result, Ok(Found::Other));
        let failed = result.is_err();
        if events.send(Event::Published(result.map(drop))).await.is_err() {
            return;
        }
        if failed || contested {
            let pause = wait.mul_f64(rand::random_range(0.5..=1.0));
            wait = (wait * 2).min(LONGEST_WAIT);
            tokio::time::sleep(pause).await;
        } else if !known {
            wait = SHORTEST_WAIT;
        }
        if !failed && words.changed().await.is_err() {
            return;
        }
    }
}

/// Writes a word on the first broker that takes it.
async fn write(brokers: &[Broker], word: &Word) -> Result<Found, PublishError> {
    let mut result = Ok(Found::Same);
    for broker in brokers {
        result = publish::publish(broker, Kind::Advertisement, &word.name, &word.spec).await;
        if result.is_ok() {
            break;
        }
    }
    result
}

fn host_of(url: &str) -> Option<IpAddr> {
    let uri: axum::http::Uri = url.parse().ok()?;
    uri.host()?.trim_matches(['[', ']']).parse().ok()
}
