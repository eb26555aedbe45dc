//! Owns the probing of one host's lanes: the product's path and responder for each, as the agent keeps
//! them. Decides nothing; the agent's own shell for this needs sockets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use sealane_agent::paths::device;
use sealane_plan::health::{EndpointAdvice, LaneHealth, PathState, Session};
use sealane_plan::name::{GatewayId, LaneId, UnixSeconds};
use sealane_plan::plan::{LaneTarget, Plan};
use sealane_plan::remote::CandidateKind;
use sealane_probe::candidates::{Candidate, FIRST_ATTEMPT, Families, LOOK, Source};
use sealane_probe::datagram::{Datagram, Digest, HEADER_BYTES, Kind};
use sealane_probe::health::{Interest, State};
use sealane_probe::mtu::Phase;
use sealane_probe::path::{Path, PathConfig, PathReport};
use sealane_probe::responder::Responder;
use sealane_probe::seed::Seed;
use sealane_probe::time::Time;
use sealane_state::facts::Observation;
use sealane_state::name::LinkName;

use super::chance::Chance;
use super::tunnel::{Body, Inner};

/// A look at the devices while all lanes work.
const PATROL: Duration = Duration::from_secs(10);

/// One probed lane.
pub struct Lane {
    /// What the plan says of it.
    pub target: LaneTarget,
    path: Path,
    advice: EndpointAdvice,
    session: Session,
    shown: Option<(State, Option<u32>, EndpointAdvice, Session)>,
}

/// All lanes of a host.
pub struct Lanes {
    /// By identity.
    pub all: BTreeMap<LaneId, Lane>,
    responder: Responder,
    /// What every probe says of the clusterset.
    pub digest: Option<Digest>,
    /// What theirs said, until it is taken.
    pub heard: Vec<(IpAddr, Digest)>,
    chance: Chance,
}

impl Lanes {
    /// Begins without any; `seed` is what the agent would draw from the system.
    #[must_use]
    pub fn begin(seed: u64) -> Self {
        Self {
            all: BTreeMap::new(),
            responder: Responder::default(),
            digest: None,
            heard: Vec::new(),
            chance: Chance::of(seed),
        }
    }

    /// Takes a new plan: lanes that stay keep what they know.
    pub fn follow(&mut self, now: Time, plan: &Plan, seen: &Observation) {
        let known: BTreeMap<LaneId, SocketAddr> = self
            .all
            .iter()
            .filter_map(|(id, lane)| Some((*id, lane.path.last_endpoint()?)))
            .collect();
        self.all.retain(|id, lane| {
            plan.probes.lanes.get(id).is_some_and(|target| {
                (target.destination, target.source, &target.link)
                    == (lane.target.destination, lane.target.source, &lane.target.link)
            })
        });
        let families = Families { ipv4: true, ipv6: true };
        for (id, target) in &plan.probes.lanes {
            let candidates: Vec<Candidate> =
                target.candidates.iter().map(|it| candidate(it, seen)).collect();
            let carries = plan.choices.values().any(|chosen| *chosen == id.remote);
            let interest = if carries { Interest::Carrying } else { Interest::Idle };
            let link_mtu = u16::try_from(target.max_mtu).unwrap_or(u16::MAX);
            let seed = Seed(self.chance.draw());
            let lane = self.all.entry(*id).or_insert_with(|| {
                let remote = target.destination;
                let config = PathConfig { remote, link_mtu, interest, seed };
                let mut path = Path::lane(now, config, &candidates, families);
                known.get(id).into_iter().for_each(|last| path.resume_at(*last));
                let (advice, session) = (EndpointAdvice::Leave, Session::Gone);
                Lane { target: target.clone(), path, advice, session, shown: None }
            });
            lane.target = target.clone();
            lane.path.set_candidates(&candidates);
            lane.path.set_families(families);
            lane.path.set_interest(interest);
            lane.path.set_link_mtu(now, link_mtu);
        }
        self.responder.set_sources(now, self.peers());
    }

    /// Takes what devices say of their peers; `wall` is the host's clock in Unix seconds.
    pub fn tunnels_reported(&mut self, now: Time, seen: &Observation, wall: u64) -> bool {
        for (id, lane) in &mut self.all {
            let facts = seen.facts.peers.get(&lane.target.link).and_then(|it| it.get(&id.remote));
            let (session, report) = device::report(facts.copied().unwrap_or_default(), wall);
            lane.session = session;
            lane.advice = device::advice(lane.path.tunnel_reported(now, &report));
        }
        self.has_news()
    }

    /// Returns the probes that are due, each with the link that it leaves by.
    pub fn due(&mut self, now: Time) -> Vec<(LinkName, Inner)> {
        let digest = self.digest;
        let mut out = Vec::new();
        for lane in self.all.values_mut() {
            while let Some(due) = lane.path.poll_transmit(now, digest) {
                out.push(lane.packet(Body::Probe(due.payload)));
            }
        }
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
        let is_its = |lane: &&mut Lane| {
            lane.target.link == *link
                && (lane.target.destination, lane.target.source)
                    == (inner.source, inner.destination)
        };
        let lane = self.all.values_mut().find(is_its);
        if let Some(Ok(reply)) = lane.map(|lane| lane.path.received(now, bytes)) {
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
        self.all.values().map(|lane| lane.packet(Body::Probe(bytes.clone()))).collect()
    }

    /// Says whether anything changed that a plan is made from, since this was last asked.
    pub fn has_news(&mut self) -> bool {
        self.all.values_mut().map(Lane::has_news).fold(false, |any, one| any | one)
    }

    /// Returns when something is due, as the agent sleeps.
    #[must_use]
    pub fn next_wake(&self, now: Time) -> Option<Time> {
        self.all.values().map(|lane| now.after(lane.path.sleep(now))).min()
    }

    /// Returns how often the devices are looked at.
    #[must_use]
    pub fn patrol(&self) -> Duration {
        let pace = |lane: &Lane| match lane.path.report().state {
            State::Unknown => FIRST_ATTEMPT,
            State::Down => LOOK,
            State::Up => PATROL,
        };
        self.all.values().map(pace).min().unwrap_or(PATROL)
    }

    /// Returns what is known of lanes, as facts.
    #[must_use]
    pub fn health(&self, now: Time, wall: u64) -> BTreeMap<LaneId, LaneHealth> {
        let health = |lane: &Lane| {
            let report = lane.path.report();
            LaneHealth {
                state: path_state(report.state),
                since: Some(UnixSeconds(wall.saturating_sub(now.since(report.since).as_secs()))),
                rtt: report.rtt.map(|rtt| Duration::from_micros(rtt.smoothed_us)),
                loss_permille: u16::try_from(report.loss.permille()).unwrap_or(1000),
                path_mtu: settled_mtu(&report),
                endpoint: lane.advice,
                session: lane.session,
            }
        };
        self.all.iter().map(|(id, lane)| (*id, health(lane))).collect()
    }

    /// Returns the addresses inside lanes of all peers.
    #[must_use]
    pub fn peers(&self) -> BTreeSet<IpAddr> {
        self.all.values().map(|lane| lane.target.destination).collect()
    }

    /// Returns the lane to an address.
    #[must_use]
    pub fn to(&self, address: IpAddr) -> Option<&Lane> {
        self.all.values().find(|lane| lane.target.destination == address)
    }

    /// Returns the gateways that answer now.
    #[must_use]
    pub fn up(&self) -> BTreeSet<GatewayId> {
        let up = self.all.values().filter(|lane| lane.path.report().state == State::Up);
        up.map(|lane| lane.target.gateway.clone()).collect()
    }
}

impl Lane {
    /// Makes a packet to the far gateway.
    #[must_use]
    pub fn packet(&self, body: Body) -> (LinkName, Inner) {
        let (source, destination) = (self.target.source, self.target.destination);
        (self.target.link.clone(), Inner { source, destination, body })
    }

    fn has_news(&mut self) -> bool {
        let report = self.path.report();
        let now = (report.state, settled_mtu(&report), self.advice, self.session);
        self.shown.replace(now) != Some(now)
    }
}

fn path_state(state: State) -> PathState {
    match state {
        State::Up => PathState::Up,
        State::Unknown => PathState::Unknown,
        State::Down => PathState::Down,
    }
}

fn settled_mtu(report: &PathReport) -> Option<u32> {
    match report.mtu_phase {
        Phase::Complete | Phase::Confirming | Phase::BelowBase => report.path_mtu.map(u32::from),
        Phase::Base | Phase::Searching => None,
    }
}

fn candidate(of: &sealane_plan::remote::Candidate, seen: &Observation) -> Candidate {
    let mut networks = seen.facts.links.values().flat_map(|link| link.addresses.iter());
    let source = match of.kind {
        _ if networks.any(|net| net.contains(of.endpoint.ip())) => Source::OnLink,
        CandidateKind::Private => Source::Private,
        CandidateKind::Public => Source::Public,
        CandidateKind::Observed => Source::Observed,
    };
    Candidate { source, address: of.endpoint }
}
