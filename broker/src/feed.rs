//! Owns one kind on one broker: its list in pages, its watch in lines, and how much of either is
//! kept however much the broker sends. Judges no object and never tries anything again.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::{Stream, StreamExt, TryStreamExt};
use http_body_util::BodyExt;
use kube::Api;
use kube::api::{DynamicObject, ListParams, WatchParams};
use kube::core::Request;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::codec::{FramedRead, LinesCodec};
use tokio_util::io::StreamReader;

use crate::access::Broker;
use crate::answer::is_too_long;
use crate::board::{BoardEvent, CLUSTER_SET_NAME, Kind, Sighting};
use crate::trouble::Trouble;
use crate::wire::{self, Line, Page, Posted};

/// Objects asked for at once; a page of the largest advertisements stays below 4 MB.
const PAGE: u32 = 100;
/// Asked for at once where objects are larger than any advertisement.
const SMALL_PAGE: u32 = 8;
/// The code of what a broker no longer knows.
const GONE: u16 = 410;
/// Lists that a broker may forget between two pages before it counts as away.
const LISTS: u32 = 3;
/// How long a whole list may take.
const LIST: Duration = Duration::from_secs(300);
/// How long a broker that is busy is given for one request before it counts as away.
const BUSY: Duration = Duration::from_secs(60);
/// Longest wait that a busy broker is granted, and the wait where it names none.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
/// The server ends a watch after this long; we do a little later.
const WATCH_SECONDS: u32 = 240;
const WATCH: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 10);
/// A watch that ends before this without a word is a fault and no end.
const SHORTEST_WATCH: Duration = Duration::from_secs(1);
/// Longest line of a watch.
const LINE_BYTES: usize = 4 << 20;
/// Objects of a kind that are believed to exist.
pub(crate) const MOST_OBJECTS: usize = 50_000;
/// What the objects of one list may weigh in memory, in bytes.
const LIST_WEIGHT: usize = 256 << 20;

/// What a watch ended with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It may be opened again where it ended.
    Resumable,
    /// The broker forgot the place: list again.
    Forgotten,
}

/// Why a feed stopped.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Nobody listens any more.
    Unheard,
    /// The broker is away or refuses.
    Away(Trouble),
}

impl Stop {
    fn because(cause: impl Into<String>) -> Self {
        Self::Away(Trouble::Away(cause.into()))
    }
}

/// One kind on one broker, and how far it was read.
pub(crate) struct Feed<'a> {
    broker: &'a Broker,
    kind: Kind,
    names: BTreeSet<String>,
    place: String,
    has_left_out: bool,
}

impl<'a> Feed<'a> {
    pub(crate) fn new(broker: &'a Broker, kind: Kind) -> Self {
        Self { broker, kind, names: BTreeSet::new(), place: String::new(), has_left_out: false }
    }

    /// Lists all objects and notes where a watch goes on. A list that the broker forgot between two
    /// pages is begun anew.
    pub(crate) async fn list(&mut self) -> Result<BoardEvent, Stop> {
        let whole = async {
            for _ in 1..LISTS {
                if let Some(objects) = self.pages().await? {
                    return Ok(objects);
                }
            }
            let forgets = || Stop::because(format!("it forgot {LISTS} lists between two pages"));
            self.pages().await?.ok_or_else(forgets)
        };
        match timeout(LIST, whole).await {
            Ok(objects) => Ok(BoardEvent::Listed(self.kind, objects?)),
            Err(_) => Err(Stop::because(format!("the list did not end in {} s", LIST.as_secs()))),
        }
    }

    /// Returns the objects of all pages; `None` when the broker forgot the list meanwhile.
    async fn pages(&mut self) -> Result<Option<Vec<Sighting>>, Stop> {
        self.names.clear();
        self.has_left_out = false;
        let (mut objects, mut weight) = (Vec::new(), 0);
        let (mut next, mut size) = (None, PAGE);
        loop {
            let text = match self.page(size, next.clone()).await {
                Err(error) if is_too_long(&error) && size > SMALL_PAGE => {
                    size = SMALL_PAGE;
                    continue;
                }
                Err(kube::Error::Api(status)) if status.code == GONE && next.is_some() => {
                    return Ok(None);
                }
                text => text.map_err(|error| Stop::Away(Trouble::of(&error)))?,
            };
            let page: Page<'_> = serde_json::from_str(&text)
                .map_err(|error| Stop::because(format!("not a list of objects: {error}")))?;
            for item in page.items {
                let Ok(posted) = Posted::parse(item) else {
                    self.leave_out("an object that is none");
                    continue;
                };
                weight += posted.weight(self.kind);
                if weight > LIST_WEIGHT {
                    self.leave_out("more than fits in memory");
                } else if self.admit(&posted.name) {
                    objects.push(posted.sighting(self.kind));
                }
            }
            self.place = page.metadata.resource_version;
            next = page.metadata.next.filter(|token| !token.is_empty());
            let is_full = self.names.len() >= MOST_OBJECTS || weight > LIST_WEIGHT;
            if next.is_some() && is_full {
                self.leave_out("more pages than a clusterset has");
            }
            if next.is_none() || is_full {
                return Ok(Some(objects));
            }
        }
    }

    async fn page(&self, limit: u32, next: Option<String>) -> kube::Result<String> {
        let params = ListParams {
            limit: Some(limit),
            continue_token: next,
            field_selector: self.selector(),
            ..ListParams::default()
        };
        let begun = Instant::now();
        loop {
            let request = self.endpoint().list(&params).map_err(kube::Error::BuildRequest)?;
            match self.broker.client.request_text(request).await {
                Err(kube::Error::Api(status)) if is_busy(status.code, begun) => {
                    let seconds = status.details.map(|details| details.retry_after_seconds);
                    pause(seconds).await;
                }
                text => return text,
            }
        }
    }

    /// Watches from where the list or the last watch ended, and tells what it sees.
    pub(crate) async fn watch(
        &mut self,
        events: &tokio::sync::mpsc::Sender<BoardEvent>,
    ) -> Result<End, Stop> {
        let begun = Instant::now();
        let Some(lines) = self.open().await? else { return Ok(End::Forgotten) };
        let mut lines = std::pin::pin!(lines);
        let mut has_spoken = false;
        let end = loop {
            let Ok(Some(Ok(line))) = timeout_at(begun + WATCH, lines.next()).await else {
                break End::Resumable;
            };
            match wire::line(&line) {
                Ok(Line::Error(status)) if status.code == GONE => break End::Forgotten,
                Ok(Line::Error(status)) => return Err(Stop::Away(status.trouble())),
                Ok(line) => {
                    has_spoken = true;
                    if let Some(event) = self.take(line) {
                        events.send(event).await.map_err(|_| Stop::Unheard)?;
                    }
                }
                Err(_) => self.leave_out("an event that is none"),
            }
        };
        if !has_spoken && begun.elapsed() < SHORTEST_WATCH {
            return Err(Stop::because("the broker ends its watches at once"));
        }
        Ok(end)
    }

    /// Opens the watch; `None` when the broker forgot the place.
    async fn open(
        &self,
    ) -> Result<
        Option<impl Stream<Item = Result<String, tokio_util::codec::LinesCodecError>> + use<>>,
        Stop,
    > {
        let away = |error: kube::Error| Stop::Away(Trouble::of(&error));
        let params = WatchParams {
            field_selector: self.selector(),
            timeout: Some(WATCH_SECONDS),
            ..WatchParams::default()
        };
        let begun = Instant::now();
        let answer = loop {
            let request = self.endpoint().watch(&params, &self.place);
            let request = request.map_err(|error| away(kube::Error::BuildRequest(error)))?;
            let answer = self.broker.client.send(request.map(Into::into)).await.map_err(away)?;
            let code = answer.status();
            if code.is_success() {
                break answer;
            }
            if code.as_u16() == GONE {
                return Ok(None);
            }
            let body = answer.into_body().collect().await.map_err(away)?.to_bytes();
            let told = serde_json::from_slice::<wire::Status>(&body).ok();
            if !is_busy(code.as_u16(), begun) {
                let trouble = told.map(|told| told.trouble());
                return Err(Stop::Away(
                    trouble.unwrap_or_else(|| Trouble::told(code.as_u16(), "")),
                ));
            }
            pause(told.map(|told| told.retry_after_seconds())).await;
        };
        let body = answer.into_body().into_data_stream().map_err(std::io::Error::other);
        let lines = LinesCodec::new_with_max_length(LINE_BYTES);
        Ok(Some(FramedRead::new(StreamReader::new(body), lines)))
    }

    fn take(&mut self, line: Line<'_>) -> Option<BoardEvent> {
        match line {
            Line::Written(posted) => {
                self.place.clone_from(&posted.resource_version);
                self.admit(&posted.name)
                    .then(|| BoardEvent::Written(self.kind, posted.sighting(self.kind)))
            }
            Line::Gone(posted) => {
                self.place = posted.resource_version;
                self.names.remove(&posted.name).then_some(BoardEvent::Gone(self.kind, posted.name))
            }
            Line::Bookmark(place) => {
                self.place = place;
                None
            }
            Line::Error(_) => None,
        }
    }

    /// Says whether an object of that name is kept; a new one is not when there are too many.
    fn admit(&mut self, name: &str) -> bool {
        if self.names.contains(name) {
            return true;
        }
        if self.names.len() >= MOST_OBJECTS {
            self.leave_out("more objects than a clusterset has");
            return false;
        }
        self.names.insert(name.to_owned())
    }

    fn leave_out(&mut self, why: &str) {
        if !std::mem::replace(&mut self.has_left_out, true) {
            tracing::warn!(broker = %self.broker.url, kind = ?self.kind, why, "left out");
        }
    }

    fn selector(&self) -> Option<String> {
        (self.kind == Kind::ClusterSet).then(|| format!("metadata.name={CLUSTER_SET_NAME}"))
    }

    fn endpoint(&self) -> Request {
        let Broker { client, namespace, .. } = self.broker;
        let resource = self.kind.resource();
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
        Request::new(api.resource_url())
    }
}

/// Says whether a broker that answered so is there and only has too much to do.
fn is_busy(code: u16, begun: Instant) -> bool {
    code == 429 && begun.elapsed() < BUSY
}

/// Waits as long as the broker asks, within bounds, and a little apart from others it asked.
async fn pause(seconds: Option<u32>) {
    let asked = Duration::from_secs(seconds.unwrap_or(0).into());
    let wait = asked.clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
    tokio::time::sleep(wait.mul_f64(rand::random_range(1.0..=1.5))).await;
}
