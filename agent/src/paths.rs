//! Owns the probing of lanes and legs: one sans-IO path each, fed with datagrams and time, read as
//! facts. Does not decide what follows from a path's health.

pub mod device;
pub mod ways;
pub mod watched;
pub mod set;
pub mod lanes;
pub mod legs;
mod gossip;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sealane_plan::health::{LaneHealth, LegHealth};
use sealane_plan::name::{GatewayId, LaneId, NodeName};
use sealane_plan::plan::Plan;
use sealane_probe::datagram::Digest;
use sealane_probe::responder::Responder;
use sealane_probe::seed::Seed;
use sealane_probe::time::Time;
use sealane_state::facts::Observation;
use sealane_state::owner;
use sealane_state::wireguard::PublicKey;
use tokio::sync::mpsc;

use crate::endpoints::Known;
use crate::event::{Datagram, Event};
use crate::gossip::desk::{Desk, Peers};
use crate::inquiry::{self, Listener};
use crate::probe_io::{ProbeSockets, Way};
use lanes::{Lanes, TunnelFacts};
use legs::Legs;
use watched::{News, Watched};
use ways::{answered, mtu, own_ways};

/// Nothing sleeps longer, also where no probe is due.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// All paths of this host.
pub struct Paths {
    origin: Instant,
    known_before: Known,
    lanes: Lanes,
    legs: Legs,
    responder: Responder,
    known: Arc<Peers>,
    sockets: ProbeSockets,
    listeners: BTreeMap<Way, Listener>,
    desk: Desk,
    /// What every probe of ours says of the clusterset.
    digest: Option<Digest>,
    /// What theirs said, until it is asked for.
    heard: Vec<(IpAddr, Digest)>,
    events: mpsc::Sender<Event>,
}

impl Paths {
    /// Starts without any path.
    pub fn new(events: mpsc::Sender<Event>) -> Self {
        let desk = Desk::default();
        Self {
            origin: Instant::now(),
            known_before: Known::default(),
            lanes: Lanes::default(),
            legs: Legs::default(),
            responder: Responder::default(),
            known: Arc::default(),
            sockets: ProbeSockets::new(events.clone(), desk.clone()),
            listeners: BTreeMap::new(),
            desk,
            digest: None,
            heard: Vec::new(),
            events,
        }
    }

    /// Takes where lanes worked in an earlier run; they are tried there first.
    pub fn recalling(self, known: Known) -> Self {
        Self { known_before: known, ..self }
    }

    /// Takes a new plan and the host it was made for: paths that stay keep what they know.
    pub fn follow(&mut self, plan: &Plan, seen: &Observation) {
        let now = self.now();
        let draw = || Seed(rand::random());
        let begin = |id: &LaneId| (draw(), self.known_before.get(&id.remote.to_string()).copied());
        self.lanes.follow_plan(now, &plan.probes.lanes, seen, begin);
        self.legs.follow_plan(now, &plan.probes.legs, seen, draw);
        let own = own_ways(plan, seen);
        let known = answered(plan);
        if *self.known != known {
            self.known = Arc::new(known);
            self.desk.serve(Arc::clone(&self.known));
        }
        self.responder.set_sources(now, self.known.keys().copied());
        let taken = self.lanes.ways().chain(self.legs.ways()).cloned();
        let ways: BTreeSet<Way> = taken.chain(own).collect();
        let ways: Vec<Way> = ways.into_iter().collect();
        self.sockets.retain(&ways, |way| mtu(way, seen));
        self.listeners.retain(|way, listener| ways.contains(way) && listener.is_alive());
        for way in ways {
            if !self.listeners.contains_key(&way)
                && let Ok(listener) = inquiry::listen(&way, self.events.clone(), self.desk.clone())
            {
                self.listeners.insert(way, listener);
            }
        }
    }

    /// Has lanes go on under another key of ours: they lead where they led.
    pub fn go_by(&mut self, own: PublicKey) {
        self.lanes.go_by(own);
    }

    /// Takes what devices say of their peers; `unix_now` is the time of day, in seconds.
    pub fn tunnels_reported(&mut self, peers: &TunnelFacts, unix_now: u64) -> News {
        self.lanes.tunnels_reported(self.now(), peers, unix_now)
    }

    /// Sends what is due.
    pub fn poll(&mut self) -> News {
        let (now, digest, sockets) = (self.now(), self.digest, &self.sockets);
        let lanes = self
            .lanes
            .send_due(now, digest, |way, due| sockets.send(way, due.to.ip(), &due.payload));
        let legs = self
            .legs
            .send_due(now, digest, |way, due| sockets.send(way, due.to.ip(), &due.payload));
        lanes.max(legs)
    }

    /// Takes a datagram: a reply to one of ours, or a request to answer.
    pub fn received(&mut self, datagram: &Datagram) -> News {
        let now = self.now();
        let from = datagram.from.ip();
        let Datagram { way, bytes, .. } = datagram;
        let reply = self.lanes.received(now, (way, from), bytes);
        if let Some((reply, news)) = reply.or_else(|| self.legs.received(now, (way, from), bytes)) {
            self.hear(from, reply.digest);
            return news;
        }
        match self.responder.answer(now, from, bytes, self.digest) {
            Ok(answer) => {
                self.sockets.send(way, from, &answer.payload);
                self.hear(from, answer.digest);
            }
            Err(silence) => tracing::trace!(%from, %silence, "probe not answered"),
        }
        News::Nothing
    }

    /// Returns when [`Paths::poll`] next has something to do.
    pub fn next_wake(&self) -> Instant {
        let now = self.now();
        let due = self.lanes.next_due().into_iter().chain(self.legs.next_due()).min();
        let sleep = due.map_or(LONGEST_SLEEP, |due| due.since(now));
        Instant::now() + sleep.min(LONGEST_SLEEP)
    }

    /// Returns how often what devices say of their peers is wanted; `None` while all lanes work.
    pub fn search(&self) -> Option<Duration> {
        self.lanes.search()
    }

    /// Writes into a plan what is advised of each endpoint now.
    pub fn advise(&self, plan: &mut Plan) {
        self.lanes.advice().for_each(|(id, advice)| plan.advise(id, advice));
    }

    /// Returns what is known of lanes, as facts; `unix_now` dates them.
    pub fn lane_health(&self, unix_now: u64) -> BTreeMap<LaneId, LaneHealth> {
        self.lanes.health(self.now(), unix_now)
    }

    /// Returns where each lane works, or last did.
    pub fn endpoints(&self) -> Known {
        let lanes = self.lanes.iter();
        lanes.filter_map(|(id, it)| Some((id.remote.to_string(), it.last_endpoint()?))).collect()
    }

    /// Returns what is known of legs, as facts.
    pub fn leg_health(&self) -> BTreeMap<NodeName, LegHealth> {
        self.legs.health()
    }

    /// Sends a datagram that belongs to no path.
    pub fn send(&self, way: &Way, to: IpAddr, bytes: &[u8]) {
        // What is not sent goes unanswered, and that is what whoever sent it measures.
        let _ = self.sockets.send(way, to, bytes);
    }

    /// Returns the way and address by which a gateway is probed and asked.
    pub fn way_to_lane(&self, id: &LaneId) -> Option<(Way, IpAddr)> {
        self.lanes.get(id).map(|lane| (lane.way().clone(), lane.destination()))
    }

    /// Returns the gateway behind a lane.
    pub fn gateway_of_lane(&self, id: &LaneId) -> Option<GatewayId> {
        self.lanes.get(id).map(|lane| lane.target().gateway.clone())
    }

    /// Returns the ways to the agents behind all lanes, by tunnel key.
    pub fn ways_to_peers(&self) -> BTreeMap<PublicKey, (Way, IpAddr)> {
        let way = |(id, lane): (&LaneId, &Watched<_>)| {
            (id.remote, (lane.way().clone(), lane.destination()))
        };
        self.lanes.iter().map(way).collect()
    }

    /// Returns the way by which nodes on the leg are asked, if this host has a leg.
    pub fn way_on_leg(&self) -> Option<Way> {
        let on_leg =
            |way: &&Way| way.link.as_ref().is_some_and(|link| link.as_str() == owner::VXLAN_LINK);
        self.listeners.keys().find(on_leg).cloned()
    }

    /// Says whether `address` is one that this host answers: a peer or a node of ours.
    pub fn knows(&self, address: IpAddr) -> bool {
        self.known.contains_key(&address)
    }

    fn now(&self) -> Time {
        Time::from_origin(self.origin.elapsed())
    }
}
