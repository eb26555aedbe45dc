//! Owns the line to the broker: the standing watch, what its state is, the one object that this gateway
//! keeps there, and the list that is put back there. Judges nothing that comes over it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};
use std::time::Duration;

use sealane_api::clusterset::BrokerAddress;
use sealane_api::kinds::ClusterSetSpec;
use sealane_api::names::GatewayId;
use sealane_broker::access::{AccessError, Broker};
use sealane_broker::board::{BoardEvent, CLUSTER_SET_NAME, Kind};
use sealane_broker::mirror;
use sealane_broker::publish::{self, PublishError, Retry};
use sealane_broker::trouble::Trouble;
use serde_json::Value;
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinHandle;

use crate::event::Event;
use crate::membership::Membership;

/// First wait after a refused write; doubled up to [`LONGEST_WAIT`].
const SHORTEST_WAIT: Duration = Duration::from_millis(250);
/// Longest wait between writes of the same word.
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// Names of brokers are looked up this often: what they lead to must stay outside the lanes.
const LOOK_UP: Duration = Duration::from_secs(60);

/// Between two writes of our word: somebody else who writes it again and again gains nothing.
const PACE: Duration = Duration::from_millis(250);

/// How what is kept on the broker is written.
#[derive(Clone, Copy)]
struct Manner {
    /// Longest wait before the first write; drawn, so that many who write the same do not do so at once.
    apart: Duration,
    /// Wait after a refusal that only a person can end.
    refused: Duration,
    /// How the outcome is told.
    told: fn(String, Value, Result<(), PublishError>) -> Event,
}

const OUR_WORDS: Manner = Manner {
    apart: Duration::ZERO,
    refused: LONGEST_WAIT,
    told: |name, spec, result| Event::Published { name, spec, result },
};

/// Every member may have the list that the broker lost; a broker that takes it from none is not asked
/// again and again to read it.
const THE_LIST: Manner = Manner {
    apart: Duration::from_secs(2),
    refused: Duration::from_secs(600),
    told: |_, _, result| Event::Mended(result),
};

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
    /// Whether it answers and does not take our credential.
    pub is_refused: bool,
    /// Unix seconds at which a broker last took our word; `None` before.
    pub taken: Option<u64>,
    /// The signature of that word.
    pub taken_signature: Option<String>,
}

/// Addresses of brokers: those given as numbers, and what their names last led to.
type Addresses = Arc<RwLock<BTreeSet<IpAddr>>>;

/// Held while our object is written, so that a last word is never overtaken by one before it.
pub type Pen = Arc<Mutex<()>>;

/// What this gateway keeps on the broker, by name.
type Words = BTreeMap<String, Word>;

/// An object that this gateway keeps there.
#[derive(Debug, Clone, PartialEq)]
struct Word {
    kind: Kind,
    spec: Value,
    /// Grows when the broker may have lost the word.
    turn: u64,
}

/// The line to the broker; closed when dropped.
pub struct BrokerLine {
    /// What people see of it.
    pub state: LineState,
    followed: Vec<BrokerAddress>,
    brokers: Vec<Broker>,
    unusable: Vec<String>,
    addresses: Addresses,
    words: watch::Sender<Words>,
    list: watch::Sender<Words>,
    hushed: Words,
    pen: Pen,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for BrokerLine {
    fn drop(&mut self) {
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
        let followed = membership.all_brokers(listed);
        let (brokers, errors) = membership.clients(&followed);
        let pen = Pen::default();
        let unusable: Vec<String> = errors.iter().map(AccessError::to_string).collect();
        let (board, mut seen) = mpsc::channel(256);
        let (words, kept) = watch::channel(Words::new());
        let (list, lists) = watch::channel(Words::new());
        let told = events.clone();
        let addresses = Addresses::default();
        let hosts: Vec<String> = followed.iter().filter_map(|it| host_of(&it.url)).collect();
        let numbers = hosts.iter().filter_map(|host| host.parse::<IpAddr>().ok());
        write_lock(&addresses).extend(numbers);
        let tasks = vec![
            tokio::spawn(look_up(hosts, addresses.clone())),
            tokio::spawn(mirror::follow(brokers.clone(), board)),
            tokio::spawn(async move {
                while let Some(event) = seen.recv().await {
                    if told.send(Event::Board(event)).await.is_err() {
                        return;
                    }
                }
            }),
            tokio::spawn(keep(brokers.clone(), kept, events.clone(), pen.clone(), OUR_WORDS)),
            tokio::spawn(keep(brokers.clone(), lists, events, Pen::default(), THE_LIST)),
        ];
        let url = brokers.first().map(|broker| broker.url.clone()).unwrap_or_default();
        Self {
            state: LineState { url, last_error: unusable.first().cloned(), ..LineState::default() },
            addresses,
            followed,
            brokers,
            pen,
            unusable,
            words,
            list,
            hushed: Words::new(),
            tasks,
        }
    }

    /// Opens the line anew, with the brokers that the ClusterSet lists now; our words go with it.
    pub fn reopen(
        &mut self,
        membership: &Membership,
        listed: &[BrokerAddress],
        events: mpsc::Sender<Event>,
    ) {
        let words = self.words.borrow().clone();
        let hushed = std::mem::take(&mut self.hushed);
        let LineState { taken, taken_signature, since, .. } = std::mem::take(&mut self.state);
        *self = Self::open(membership, listed, events);
        (self.state.taken, self.state.since) = (taken, since);
        self.state.taken_signature = taken_signature;
        self.words.send_replace(words);
        self.hushed = hushed;
    }

    /// Returns all brokers that the line was opened with.
    pub fn followed(&self) -> &[BrokerAddress] {
        &self.followed
    }

    /// Notes what the watch tells of the broker itself.
    pub fn note(&mut self, event: &BoardEvent, now: u64) {
        let (url, connected, error) = match event {
            BoardEvent::Reachable(url) => (url, true, None),
            BoardEvent::Unreachable { url, trouble } => (url, false, Some(trouble)),
            _ => return,
        };
        if self.state.connected != connected || self.state.since == 0 {
            self.state.since = now;
            match &error {
                None => tracing::info!(broker = %url, "broker connected"),
                Some(Trouble::CredentialRefused) => tracing::warn!(broker = %url,
                    "the broker does not take our credential; lanes go on"),
                Some(Trouble::Away(cause)) => tracing::warn!(broker = %url, %cause,
                    "broker away; lanes go on, and it is tried again by itself"),
            }
        }
        self.state.url.clone_from(url);
        self.state.connected = connected;
        self.state.is_refused = error == Some(&Trouble::CredentialRefused);
        let error = error.map(ToString::to_string);
        self.state.last_error = error.or(self.state.last_error.take());
    }

    /// Says what the broker should hold under a name of ours.
    pub fn say(&self, own: &GatewayId, spec: Value) {
        let name = own.to_string();
        self.words.send_if_modified(|words| {
            if words.get(&name).is_some_and(|held| held.spec == spec) {
                return false;
            }
            words.insert(name, Word { kind: Kind::Advertisement, spec, turn: 0 });
            true
        });
    }

    /// Has our words checked on the broker: they may be gone or overwritten.
    pub fn say_again(&self) {
        self.words.send_if_modified(|words| {
            words.values_mut().for_each(|held| held.turn += 1);
            !words.is_empty()
        });
    }

    /// Has the broker brought up to this list, or left alone with the one that it has.
    pub fn mend(&self, list: Option<&ClusterSetSpec>) {
        let is_kept = |word: &Word| {
            list.is_some_and(|list| word.spec["signed"]["signature"] == list.signed.signature)
        };
        if self.list.borrow().values().next().map_or(list.is_none(), is_kept) {
            return;
        }
        // Views are unsigned: the broker's own is as good.
        let bare = list.map(|list| ClusterSetSpec { view: None, ..list.clone() });
        let spec = bare.and_then(|spec| serde_json::to_value(spec).ok());
        let word = |spec| Word { kind: Kind::ClusterSet, spec, turn: 0 };
        let kept = spec.map(|spec| (CLUSTER_SET_NAME.to_owned(), word(spec)));
        self.list.send_replace(kept.into_iter().collect());
    }

    /// Says whether an object is one that this gateway keeps on the broker.
    pub fn keeps(&self, name: &str) -> bool {
        self.words.borrow().contains_key(name)
    }

    /// Stops keeping our words on the broker: last ones follow.
    pub fn hush(&mut self) {
        self.hushed = self.words.send_replace(Words::new());
    }

    /// Keeps the words from before [`BrokerLine::hush`] again.
    pub fn speak_on(&mut self) {
        self.words.send_replace(std::mem::take(&mut self.hushed));
    }

    /// Returns the brokers and the pen, for a last word.
    pub fn brokers(&self) -> (Vec<Broker>, Pen) {
        (self.brokers.clone(), self.pen.clone())
    }

    /// Returns the addresses of brokers, as far as their names could be looked up.
    pub fn addresses(&self) -> BTreeSet<IpAddr> {
        self.addresses.read().unwrap_or_else(PoisonError::into_inner).clone()
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
    (brokers, pen): &(Vec<Broker>, Pen),
    own: &GatewayId,
    spec: &Value,
) -> Result<(), PublishError> {
    let _writing = pen.lock().await;
    let word = Word { kind: Kind::Advertisement, spec: spec.clone(), turn: 0 };
    write(brokers, &own.to_string(), &word).await
}

/// Writes a word on the first broker that takes it; the error is that of the last one tried.
async fn write(brokers: &[Broker], name: &str, word: &Word) -> Result<(), PublishError> {
    let mut last = Err(PublishError {
        name: name.to_owned(),
        url: "none".to_owned(),
        cause: "no usable broker".to_owned(),
        retry: Retry::OnChange,
    });
    for broker in brokers {
        last = publish::publish(broker, word.kind, name, &word.spec).await.map(drop);
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

async fn keep(
    brokers: Vec<Broker>,
    mut words: watch::Receiver<Words>,
    events: mpsc::Sender<Event>,
    pen: Pen,
    manner: Manner,
) {
    let mut wait = SHORTEST_WAIT;
    let mut taken = Words::new();
    let mut last = String::new();
    loop {
        if !manner.apart.is_zero() {
            tokio::time::sleep(manner.apart.mul_f64(rand::random_range(0.0..=1.0))).await;
        }
        let writing = pen.lock().await;
        let wanted = words.borrow_and_update().clone();
        taken.retain(|name, _| wanted.contains_key(name));
        let Some((name, word)) = next_word(&wanted, &taken, &last) else {
            drop(writing);
            if words.changed().await.is_err() {
                return;
            }
            continue;
        };
        let result = write(&brokers, &name, &word).await;
        drop(writing);
        let failed = result.as_ref().err().map(|error| error.retry);
        let spec = word.spec.clone();
        if failed.is_none() {
            taken.insert(name.clone(), word);
        }
        last.clone_from(&name);
        if events.send((manner.told)(name, spec, result)).await.is_err() {
            return;
        }
        let next = match failed {
            None => Duration::ZERO,
            Some(Retry::Soon) => wait.mul_f64(rand::random_range(0.5..=1.0)),
            Some(Retry::OnChange) => manner.refused.mul_f64(rand::random_range(0.5..=1.0)),
        };
        wait = if failed.is_some() { (wait * 2).min(LONGEST_WAIT) } else { SHORTEST_WAIT };
        tokio::time::sleep(PACE).await;
        if failed.is_some()
            && let Ok(Err(_)) = tokio::time::timeout(next, words.changed()).await
        {
            return;
        }
    }
}

/// Returns the next word that no broker took yet: the one after the `last` that was tried, so that one
/// which is always refused does not keep the others waiting.
fn next_word(wanted: &Words, taken: &Words, last: &str) -> Option<(String, Word)> {
    let mut open = wanted.iter().filter(|(name, word)| taken.get(*name) != Some(*word));
    let next = open.clone().find(|(name, _)| name.as_str() > last).or_else(|| open.next());
    next.map(|(name, word)| (name.clone(), word.clone()))
}

/// Looks up names for ever. What one led to counts until it leads elsewhere: a name server that does
/// not answer is no reason to forget.
async fn look_up(hosts: Vec<String>, addresses: Addresses) {
    let mut known: BTreeMap<String, BTreeSet<IpAddr>> = BTreeMap::new();
    loop {
        for host in &hosts {
            if let Ok(found) = tokio::net::lookup_host((host.as_str(), 0)).await {
                known.insert(host.clone(), found.map(|socket| socket.ip()).collect());
            }
        }
        let found: BTreeSet<IpAddr> = known.values().flatten().copied().collect();
        let numbers = hosts.iter().filter_map(|host| host.parse::<IpAddr>().ok());
        *write_lock(&addresses) = numbers.chain(found).collect();
        tokio::time::sleep(LOOK_UP).await;
    }
}

fn write_lock(addresses: &Addresses) -> RwLockWriteGuard<'_, BTreeSet<IpAddr>> {
    // A set is whole at any time, also when a holder of the lock panicked.
    addresses.write().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the host of a URL, the brackets of an IPv6 address taken off.
fn host_of(url: &str) -> Option<String> {
    let uri: axum::http::Uri = url.parse().ok()?;
    Some(uri.host()?.trim_matches(['[', ']']).to_owned())
}
