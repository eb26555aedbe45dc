//! Owns the probing of lanes and legs: one sans-IO path each, fed with datagrams and time, read as
//! facts. Does not decide what follows from a path's health.

pub mod device;
mod gossip;
mod ways;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sealane_plan::health::{EndpointAdvice, LaneHealth, LegHealth, PathState, Session};
use sealane_plan::name::{GatewayId, LaneId, NodeName, UnixSeconds};
use sealane_plan::plan::{LaneTarget, LegTarget, Plan, ProbeTargets};
use sealane_probe::candidates::{Candidate, FIRST_ATTEMPT, LOOK};
use sealane_probe::datagram::Digest;
use sealane_probe::health::{Interest, State};
use sealane_probe::mtu::Phase;
use sealane_probe::path::{Path, PathConfig, PathReport};
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
use crate::probe_io::{ProbeSockets, Sent, Way};
use ways::{answered, candidate, families, own_ways, way};

/// A lane on which nothing else is due is looked at this often.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// A look at the devices while all lanes work.
const PATROL: Duration = Duration::from_secs(10);

/// All paths of this host.
pub struct Paths {
    origin: Instant,
    known_before: Known,
    lanes: BTreeMap<LaneId, Watched<LaneTarget>>,
    legs: BTreeMap<NodeName, Watched<LegTarget>>,
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

struct Watched<Target> {
    target: Target,
    way: Way,
    path: Path,
    advice: EndpointAdvice,
    session: Session,
    silence: device::Silence,
    shown: Option<Shown>,
}

/// What of a report changes a plan; the rest is for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shown {
    state: State,
    path_mtu: Option<u32>,
    advice: EndpointAdvice,
    session: Session,
}

impl Paths {
    /// Starts without any path.
    pub fn new(events: mpsc::Sender<Event>) -> Self {
        Self {
            origin: Instant::now(),
            known_before: Known::default(),
            lanes: BTreeMap::new(),
            legs: BTreeMap::new(),
            responder: Responder::default(),
            known: Arc::default(),
            sockets: ProbeSockets::new(events.clone()),
            listeners: BTreeMap::new(),
            desk: Desk::default(),
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
        self.follow_lanes(now, plan, seen);
        self.follow_legs(now, &plan.probes, seen);
        let own = own_ways(plan, seen);
        let known = answered(plan);
        if *self.known != known {
            self.known = Arc::new(known);
            self.desk.serve(Arc::clone(&self.known));
        }
        self.responder.set_sources(now, self.known.keys().copied());
        let targets = self.lanes.values().map(|lane| &lane.way);
        let targets = targets.chain(self.legs.values().map(|leg| &leg.way)).cloned();
        let ways: BTreeSet<Way> = targets.chain(own).collect();
        let ways: Vec<Way> = ways.into_iter().collect();
        self.sockets.retain(&ways);
        self.listeners.retain(|way, listener| ways.contains(way) && listener.is_alive());
        for way in ways {
            if !self.listeners.contains_key(&way)
                && let Ok(listener) = inquiry::listen(&way, self.events.clone(), self.desk.clone())
            {
                self.listeners.insert(way, listener);
            }
        }
    }

    /// Takes what devices say of their peers; returns whether the advice for any lane changed.
    pub fn tunnels_reported(&mut self, seen: &Observation, unix_now: u64) -> bool {
        let now = self.now();
        for (id, lane) in &mut self.lanes {
            let facts = seen.facts.peers.get(&lane.target.link).and_then(|it| it.get(&id.remote));
            let (session, report) = device::report(facts.copied().unwrap_or_default(), unix_now);
            let seen = (session, report.received_bytes);
            lane.session = lane.silence.looked(now, lane.path.report().state, seen);
            lane.advice = device::advice(lane.path.tunnel_reported(now, &report));
        }
        self.has_news()
    }

    /// Sends what is due; returns whether any verdict changed.
    pub fn poll(&mut self) -> bool {
        let now = self.now();
        let line = Line { sockets: &self.sockets, now, digest: self.digest };
        self.lanes.values_mut().for_each(|lane| line.send_due(&lane.way, &mut lane.path));
        self.legs.values_mut().for_each(|leg| line.send_due(&leg.way, &mut leg.path));
        self.has_news()
    }

    /// Takes a datagram: a reply to one of ours, or a request to answer.
    pub fn received(&mut self, datagram: &Datagram) -> bool {
        let now = self.now();
        let from = datagram.from.ip();
        let Datagram { way, bytes, .. } = datagram;
        let lane = self
            .lanes
            .values_mut()
            .find(|lane| lane.way == *way && lane.target.destination == from);
        let leg =
            self.legs.values_mut().find(|leg| leg.way == *way && leg.target.destination == from);
        let path = lane.map(|it| &mut it.path).or(leg.map(|it| &mut it.path));
        if let Some(Ok(reply)) = path.map(|path| path.received(now, bytes)) {
            self.hear(from, reply.digest);
            return self.has_news();
        }
        match self.responder.answer(now, from, bytes, self.digest) {
            Ok(answer) => {
                self.sockets.send(way, from, &answer.payload);
                self.hear(from, answer.digest);
            }
            Err(silence) => tracing::trace!(%from, %silence, "probe not answered"),
        }
        false
    }

    /// Returns when [`Paths::poll`] next has something to do.
    pub fn next_wake(&self) -> Instant {
        let now = self.now();
        let lanes = self.lanes.values().map(|lane| lane.path.sleep(now));
        let legs = self.legs.values().map(|leg| leg.path.sleep(now));
        Instant::now() + lanes.chain(legs).min().unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP)
    }

    /// Returns how often the devices are worth a look: what they say of their peers is what the
    /// search for a peer's address goes by.
    pub fn patrol(&self) -> Duration {
        let pace = |lane: &Watched<LaneTarget>| match lane.path.report().state {
            State::Unknown => FIRST_ATTEMPT,
            State::Down => LOOK,
            State::Up => PATROL,
        };
        self.lanes.values().map(pace).min().unwrap_or(PATROL)
    }

    /// Returns what is known of lanes, as facts; `unix_now` dates them.
    pub fn lane_health(&self, unix_now: u64) -> BTreeMap<LaneId, LaneHealth> {
        let now = self.now();
        let health = |lane: &Watched<LaneTarget>| {
            let report = lane.path.report();
            let age = now.since(report.since).as_secs();
            LaneHealth {
                state: path_state(report.state),
                since: Some(UnixSeconds(unix_now.saturating_sub(age))),
                rtt: smoothed(&report),
                loss_permille: u16::try_from(report.loss.permille()).unwrap_or(1000),
                path_mtu: settled_mtu(&report),
                endpoint: lane.advice,
                session: lane.session,
            }
        };
        self.lanes.iter().map(|(id, lane)| (*id, health(lane))).collect()
    }

    /// Returns where each lane works, or last did.
    pub fn endpoints(&self) -> Known {
        let lanes = self.lanes.iter();
        lanes
            .filter_map(|(id, it)| Some((id.remote.to_string(), it.path.last_endpoint()?)))
            .collect()
    }

    /// Returns what is known of legs, as facts.
    pub fn leg_health(&self) -> BTreeMap<NodeName, LegHealth> {
        let health = |leg: &Watched<LegTarget>| {
            let report = leg.path.report();
            LegHealth { state: path_state(report.state), rtt: smoothed(&report) }
        };
        self.legs.iter().map(|(node, leg)| (node.clone(), health(leg))).collect()
    }

    /// Sends a datagram that belongs to no path.
    pub fn send(&self, way: &Way, to: IpAddr, bytes: &[u8]) {
        // What is not sent goes unanswered, and that is what whoever sent it measures.
        let _ = self.sockets.send(way, to, bytes);
    }

    /// Returns the way and address by which a gateway is probed and asked.
    pub fn way_to_lane(&self, id: &LaneId) -> Option<(Way, IpAddr)> {
        self.lanes.get(id).map(|lane| (lane.way.clone(), lane.target.destination))
    }

    /// Returns the gateway behind a lane.
    pub fn gateway_of_lane(&self, id: &LaneId) -> Option<GatewayId> {
        self.lanes.get(id).map(|lane| lane.target.gateway.clone())
    }

    /// Returns the ways to the agents behind all lanes, by tunnel key.
    pub fn ways_to_peers(&self) -> BTreeMap<PublicKey, (Way, IpAddr)> {
        let way = |lane: &Watched<LaneTarget>| (lane.way.clone(), lane.target.destination);
        self.lanes.iter().map(|(id, lane)| (id.remote, way(lane))).collect()
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

    fn has_news(&mut self) -> bool {
        let lanes = self.lanes.values_mut().map(Watched::has_news);
        let legs = self.legs.values_mut().map(Watched::has_news);
        lanes.chain(legs).fold(false, |any, one| any | one)
    }

    fn follow_lanes(&mut self, now: Time, plan: &Plan, seen: &Observation) {
        let families = families(seen);
        let worked = |lane: &Watched<LaneTarget>| lane.path.last_endpoint();
        let known: BTreeMap<LaneId, SocketAddr> =
            self.lanes.iter().filter_map(|(id, lane)| Some((*id, worked(lane)?))).collect();
        self.lanes.retain(|id, lane| {
            plan.probes.lanes.get(id).is_some_and(|target| {
                target.destination == lane.target.destination
                    && way(Some(&target.link), target.source, seen) == lane.way
            })
        });
        for (id, target) in &plan.probes.lanes {
            let candidates: Vec<Candidate> =
                target.candidates.iter().map(|it| candidate(it, seen)).collect();
            let carries = plan.choices.values().any(|chosen| *chosen == id.remote);
            let interest = if carries { Interest::Carrying } else { Interest::Idle };
            let lane = self.lanes.entry(*id).or_insert_with(|| {
                let config = config(target.destination, target.max_mtu, interest);
                let mut path = Path::lane(now, config, &candidates, families);
                let last = known.get(id).or_else(|| self.known_before.get(&id.remote.to_string()));
                last.into_iter().for_each(|last| path.resume_at(*last));
                watched(target.clone(), way(Some(&target.link), target.source, seen), path)
            });
            lane.target = target.clone();
            lane.path.set_candidates(&candidates);
            lane.path.set_families(families);
            lane.path.set_interest(interest);
            lane.path.set_link_mtu(now, saturated(target.max_mtu));
        }
    }

    fn follow_legs(&mut self, now: Time, targets: &ProbeTargets, seen: &Observation) {
        self.legs.retain(|node, leg| {
            targets.legs.get(node).is_some_and(|target| {
                target.destination == leg.target.destination
                    && way(target.link.as_ref(), target.source, seen) == leg.way
            })
        });
        for (node, target) in &targets.legs {
            let leg = self.legs.entry(node.clone()).or_insert_with(|| {
                let config = config(target.destination, target.max_mtu, Interest::Carrying);
                let way = way(target.link.as_ref(), target.source, seen);
                watched(target.clone(), way, Path::leg(now, config))
            });
            leg.target = target.clone();
            leg.path.set_link_mtu(now, saturated(target.max_mtu));
        }
    }
}

fn watched<Target>(target: Target, way: Way, path: Path) -> Watched<Target> {
    let (advice, session) = (EndpointAdvice::Leave, Session::Gone);
    let silence = device::Silence::default();
    Watched { target, way, path, advice, session, silence, shown: None }
}

fn config(remote: IpAddr, max_mtu: u32, interest: Interest) -> PathConfig {
    PathConfig { remote, link_mtu: saturated(max_mtu), interest, seed: Seed(rand::random()) }
}

/// What it takes to send probes that are due.
struct Line<'a> {
    sockets: &'a ProbeSockets,
    now: Time,
    digest: Option<Digest>,
}

impl Line<'_> {
    fn send_due(&self, way: &Way, path: &mut Path) {
        while let Some(due) = path.poll_transmit(self.now, self.digest) {
            if self.sockets.send(way, due.to.ip(), &due.payload) == Sent::TooLarge {
                path.refused(self.now, due.payload.len());
            }
        }
    }
}

impl<Target> Watched<Target> {
    /// Says whether anything changed that a plan is made from, since this was last asked.
    fn has_news(&mut self) -> bool {
        let report = self.path.report();
        let now = Shown {
            state: report.state,
            path_mtu: settled_mtu(&report),
            advice: self.advice,
            session: self.session,
        };
        self.shown.replace(now) != Some(now)
    }
}

/// Returns the path MTU in bytes once the search for it is over; what is known half-way is only a
/// lower bound, and routes would follow each of its steps.
fn settled_mtu(report: &PathReport) -> Option<u32> {
    match report.mtu_phase {
        Phase::Complete | Phase::Confirming | Phase::BelowBase => report.path_mtu.map(u32::from),
        Phase::Base | Phase::Searching => None,
    }
}

fn path_state(state: State) -> PathState {
    match state {
        State::Up => PathState::Up,
        State::Unknown => PathState::Unknown,
        State::Down => PathState::Down,
    }
}

fn smoothed(report: &PathReport) -> Option<Duration> {
    report.rtt.map(|rtt| Duration::from_micros(rtt.smoothed_us))
}

fn saturated(mtu: u32) -> u16 {
    u16::try_from(mtu).unwrap_or(u16::MAX)
}
