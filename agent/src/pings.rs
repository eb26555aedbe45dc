//! Owns pings that people asked for: a bounded series of probes through one lane, beside those that
//! watch it. Does not judge the lane.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use sealane_plan::name::GatewayId;
use sealane_probe::datagram::{Datagram as Probe, HEADER_BYTES, Kind, overhead};
use sealane_probe::time::Time;
use sealane_view::ping::{PingDocument, PingRequest, ReplyView};
use tokio::sync::oneshot;

use crate::admin::{Answer, Fault, Refusal};
use crate::event::Datagram;
use crate::paths::Paths;
use crate::probe_io::Way;

/// A probe that is not answered within this is lost.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most probes of one series.
const MOST: u32 = 1000;
/// Shortest time between two.
const SHORTEST_INTERVAL_MILLISECONDS: u32 = 5;
/// A series ends within this: whoever asks on the admin socket does not wait longer.
const LONGEST_MILLISECONDS: u64 = 100_000;
/// Most series at once.
const AT_ONCE: usize = 16;

/// All series under way.
#[derive(Default)]
pub struct Pings {
    series: Vec<Series>,
}

/// Where a series goes.
pub struct Target {
    /// The gateway at the other end.
    pub gateway: GatewayId,
    /// The way there.
    pub way: Way,
    /// Its address inside the lane.
    pub address: IpAddr,
    /// Largest packet that crosses, as far as known.
    pub path_mtu: Option<u32>,
}

/// How a series is sent.
#[derive(Debug, Clone, Copy)]
pub struct Rhythm {
    /// Probes, 1 to `MOST`.
    pub count: u32,
    /// Time between two.
    pub interval: Duration,
    /// IP packet size in bytes; `None` is the smallest.
    pub size: Option<u32>,
}

impl Rhythm {
    /// Takes what is asked for.
    ///
    /// # Errors
    /// A [`Refusal`] when it would take too long, or a probe would be no packet.
    pub fn of(request: &PingRequest) -> Result<Self, Refusal> {
        let refuse =
            |cause: &str, next: &str| Err(Refusal::new(Fault::Request, "no ping", cause, next));
        let count = request.count.clamp(1, MOST);
        let interval = u64::from(request.interval_milliseconds.max(SHORTEST_INTERVAL_MILLISECONDS));
        if u64::from(count) * interval > LONGEST_MILLISECONDS {
            let next = "send fewer probes or send them faster";
            return refuse("it would take longer than 100 seconds", next);
        }
        if request.size_bytes.is_some_and(|size| size > u32::from(u16::MAX)) {
            return refuse("no packet is larger than 65535 bytes", "ask for smaller probes");
        }
        Ok(Self { count, interval: Duration::from_millis(interval), size: request.size_bytes })
    }
}

struct Series {
    target: Target,
    rhythm: Rhythm,
    secret: u64,
    began: Instant,
    sent: Vec<Sent>,
    reply: oneshot::Sender<Answer>,
}

struct Sent {
    at: Instant,
    rtt: Option<Duration>,
}

impl Pings {
    /// Begins a series; its document is the answer.
    pub fn begin(&mut self, target: Target, rhythm: Rhythm, reply: oneshot::Sender<Answer>) {
        if self.series.len() >= AT_ONCE {
            let cause = format!("{AT_ONCE} pings run already");
            let refusal = Refusal::new(Fault::State, "no ping", cause, "wait for one to end");
            // Who asked may have stopped waiting.
            let _ = reply.send(Err(refusal));
            return;
        }
        self.series.push(Series {
            target,
            rhythm,
            secret: rand::random(),
            began: Instant::now(),
            sent: Vec::new(),
            reply,
        });
    }

    /// Sends what is due and answers series that are over; returns nothing, since no fact changes.
    pub fn poll(&mut self, paths: &Paths) {
        let now = Instant::now();
        self.series.retain(|series| !series.reply.is_closed());
        for series in &mut self.series {
            series.send_due(now, paths);
        }
        let (over, going): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.series).into_iter().partition(|series| series.is_over(now));
        self.series = going;
        for series in over {
            let document = series.document();
            let answer = serde_json::to_value(document).map_err(|error| {
                Refusal::new(Fault::State, "the ping cannot be told", error, "try again")
            });
            // Who asked may have stopped waiting.
            let _ = series.reply.send(answer);
        }
    }

    /// Says when [`Pings::poll`] next has something to do.
    pub fn next_wake(&self) -> Option<Instant> {
        self.series.iter().map(Series::next_wake).min()
    }

    /// Takes a datagram if it answers one of ours.
    pub fn received(&mut self, datagram: &Datagram) -> bool {
        if self.series.is_empty() {
            return false;
        }
        let Ok(probe) = Probe::parse(&datagram.bytes) else { return false };
        let now = Instant::now();
        let from = datagram.from.ip();
        self.series.iter_mut().any(|series| {
            series.target.address == from
                && series.target.way == datagram.way
                && series.answered(now, &probe)
        })
    }
}

impl Series {
    fn send_due(&mut self, now: Instant, paths: &Paths) {
        let overhead = overhead(self.target.address);
        let size = self.rhythm.size.and_then(|bytes| u16::try_from(bytes).ok());
        let payload = size.map_or(HEADER_BYTES, |bytes| bytes.saturating_sub(overhead));
        while self.next_due().is_some_and(|due| due <= now) {
            let sequence = self.sent.len() as u64;
            let probe = Probe {
                kind: Kind::Request,
                size: payload.max(HEADER_BYTES),
                sequence,
                nonce: self.secret ^ sequence,
                sent: Time::from_origin(now.duration_since(self.began)),
                digest: None,
            };
            paths.send(&self.target.way, self.target.address, &probe.encode());
            self.sent.push(Sent { at: now, rtt: None });
        }
    }

    fn next_due(&self) -> Option<Instant> {
        let count = u32::try_from(self.sent.len()).ok()?;
        (count < self.rhythm.count).then(|| self.began + self.rhythm.interval * count)
    }

    fn next_wake(&self) -> Instant {
        let last = self.sent.last().map_or(self.began, |sent| sent.at);
        self.next_due().unwrap_or(last + PATIENCE)
    }

    fn is_over(&self, now: Instant) -> bool {
        self.next_due().is_none()
            && self.sent.iter().all(|sent| sent.rtt.is_some() || now >= sent.at + PATIENCE)
    }

    fn answered(&mut self, now: Instant, probe: &Probe) -> bool {
        if probe.kind != Kind::Reply || probe.nonce != self.secret ^ probe.sequence {
            return false;
        }
        let place = usize::try_from(probe.sequence).unwrap_or(usize::MAX);
        let Some(sent) = self.sent.get_mut(place) else { return false };
        sent.rtt.get_or_insert(now.duration_since(sent.at));
        true
    }

    fn document(&self) -> PingDocument {
        let micros = |rtt: Duration| u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX);
        let rtts: Vec<u64> = self.sent.iter().filter_map(|sent| sent.rtt.map(micros)).collect();
        let replies = (1..)
            .zip(&self.sent)
            .map(|(sequence, sent)| ReplyView { sequence, rtt_microseconds: sent.rtt.map(micros) });
        PingDocument {
            member: self.target.gateway.member.to_string(),
            gateway: self.target.gateway.gateway.to_string(),
            address: self.target.address,
            replies: replies.collect(),
            sent: self.sent.len().try_into().unwrap_or(u32::MAX),
            received: rtts.len().try_into().unwrap_or(u32::MAX),
            rtt_min_microseconds: rtts.iter().min().copied(),
            rtt_mean_microseconds: rtts.iter().sum::<u64>().checked_div(rtts.len() as u64),
            rtt_max_microseconds: rtts.iter().max().copied(),
            path_mtu_bytes: self.target.path_mtu,
        }
    }
}
