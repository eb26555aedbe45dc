//! Owns the probing of one host's lanes: the product's path and responder for each, as the agent keeps
//! them. Decides nothing; the agent's own shell for this needs sockets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use sealane_agent::paths::lanes;
use sealane_agent::paths::watched::News;
use sealane_agent::probe_io::{Sent, Way};
use sealane_plan::health::LaneHealth;
use sealane_plan::name::{GatewayId, LaneId};
use sealane_plan::plan::Plan;
use sealane_probe::datagram::{Datagram, Digest, HEADER_BYTES, Kind};
use sealane_probe::health::State;
use sealane_probe::responder::Responder;
use sealane_probe::seed::Seed;
use sealane_probe::time::Time;
use sealane_state::facts::Observation;
use sealane_state::name::LinkName;

use super::chance::Chance;
use super::tunnel::{Body, Inner};

/// A look at the devices while all lanes work.
const PATROL: Duration = Duration::from_secs(10);

/// All lanes of a host.
pub struct Lanes {
    /// By identity.
    all: lanes::Lanes,
    responder: Responder,
    /// What every probe says of the clusterset.
    pub digest: Option<Digest>,
    /// What theirs said, until it is taken.
    pub heard: Vec<(IpAddr, Digest)>,
    /// What changed, until it is asked for.
    news: News,
    chance: Chance,
}

impl Lanes {
    /// Begins without any; `seed` is what the agent would draw from the system.
    #[must_use]
    pub fn begin(seed: u64) -> Self {
        Self {
            all: lanes::Lanes::default(),
            responder: Responder::default(),
            digest: None,
            heard: Vec::new(),
            news: News::Nothing,
            chance: Chance::of(seed),
        }
    }

    /// Takes a new plan: lanes that stay keep what they know.
    pub fn follow(&mut self, now: Time, plan: &Plan, seen: &Observation) {
        let draw = |_: &LaneId| (Seed(self.chance.draw()), None);
        self.all.follow_plan(now, &plan.probes.lanes, seen, draw);
        self.responder.set_sources(now, self.peers());
    }

    /// Takes what devices say of their peers; `wall` is the host's clock in Unix seconds.
    pub fn tunnels_reported(&mut self, now: Time, seen: &Observation, wall: u64) {
        let news = self.all.tunnels_reported(now, &seen.facts.peers, wall);
        self.note(news);
    }

    /// Returns the probes that are due, each with the link that it leaves by.
    pub fn due(&mut self, now: Time) -> Vec<(LinkName, Inner)> {
        let mut out = Vec::new();
        let news = self.all.send_due(now, self.digest, |way, due| {
            out.extend(packet(way, due.to.ip(), Body::Probe(due.payload.clone())));
            Sent::Away
        });
        self.note(news);
        out
    }

    /// Takes a probe datagram that came in by a lane link; returns what answers it.
    pub fn received(
        &mut self,
        now: Time,
        link: &LinkName,
        inner: &Inner,
        bytes: &[u8],
    ) -> Option<Inner> {
        let is_its =
            |way: &&Way| (way.link.as_ref(), way.source) == (Some(link), inner.destination);
        let way = self.all.ways().find(is_its).cloned();
        let taken = way.and_then(|way| self.all.received(now, (&way, inner.source), bytes));
        if let Some((reply, news)) = taken {
            self.note(news);
            self.heard.extend(reply.digest.map(|digest| (inner.source, digest)));
            return None;
        }
        let answer = self.responder.answer(now, inner.source, bytes, self.digest).ok()?;
        self.heard.extend(answer.digest.map(|digest| (inner.source, digest)));
        let (source, destination) = (inner.destination, inner.source);
        Some(Inner { source, destination, body: Body::Probe(answer.payload.to_vec()) })
    }

    /// Has every probe say `digest` from now on, and says it to all at once.
    pub fn announce(&mut self, now: Time, digest: Digest) -> Vec<(LinkName, Inner)> {
        self.digest = Some(digest);
        let (kind, size, sequence) = (Kind::Request, HEADER_BYTES, 0);
        let nonce = self.chance.draw();
        let bytes =
            Datagram { kind, size, sequence, nonce, sent: now, digest: Some(digest) }.encode();
        let ends = self.all.ends();
        ends.filter_map(|(way, to)| packet(way, to, Body::Probe(bytes.clone()))).collect()
    }

    /// Returns what changed since this was last asked.
    pub fn take_news(&mut self) -> News {
        std::mem::take(&mut self.news)
    }

    /// Says whether there is something to ask for.
    #[must_use]
    pub fn has_news(&self) -> bool {
        self.news != News::Nothing
    }

    /// Returns when something is due.
    #[must_use]
    pub fn next_wake(&self, now: Time) -> Option<Time> {
        self.all.next_due().map(|due| due.max(now))
    }

    /// Returns how often the devices are looked at.
    #[must_use]
    pub fn patrol(&self) -> Duration {
        self.all.search().unwrap_or(PATROL)
    }

    /// Writes into a plan what is advised of each endpoint now.
    pub fn advise(&self, plan: &mut Plan) {
        self.all.advice().for_each(|(id, advice)| plan.advise(id, advice));
    }

    /// Returns what is known of lanes, as facts.
    #[must_use]
    pub fn health(&self, now: Time, wall: u64) -> BTreeMap<LaneId, LaneHealth> {
        self.all.health(now, wall)
    }

    /// Returns the addresses inside lanes of all peers.
    #[must_use]
    pub fn peers(&self) -> BTreeSet<IpAddr> {
        self.all.ends().map(|(_, address)| address).collect()
    }

    /// Returns the gateway behind an address inside the lanes.
    #[must_use]
    pub fn gateway_at(&self, address: IpAddr) -> Option<&GatewayId> {
        let mut lanes = self.all.iter().map(|(_, lane)| lane);
        Some(&lanes.find(|lane| lane.destination() == address)?.target().gateway)
    }

    /// Makes a packet to an address inside the lanes.
    #[must_use]
    pub fn packet_to(&self, address: IpAddr, body: Body) -> Option<(LinkName, Inner)> {
        packet(self.all.way_to(address)?, address, body)
    }

    /// Returns the gateways that answer now.
    #[must_use]
    pub fn up(&self) -> BTreeSet<GatewayId> {
        let lanes = self.all.iter().map(|(_, lane)| lane);
        let up = lanes.filter(|lane| lane.report().state == State::Up);
        up.map(|lane| lane.target().gateway.clone()).collect()
    }

    fn note(&mut self, news: News) {
        self.news = self.news.max(news);
    }
}

fn packet(way: &Way, destination: IpAddr, body: Body) -> Option<(LinkName, Inner)> {
    Some((way.link.clone()?, Inner { source: way.source, destination, body }))
}
