//! Owns what a set of paths is to lanes: how closely each is watched, what devices say of it, and how
//! often they are asked. Does not own sockets or clocks.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use sealane_plan::health::{EndpointAdvice, LaneHealth};
use sealane_plan::name::LaneId;
use sealane_plan::plan::{LaneTarget, Traffic};
use sealane_probe::candidates::{Candidate, FIRST_ATTEMPT, LOOK};
use sealane_probe::health::{Interest, State};
use sealane_probe::path::{Path, PathConfig};
use sealane_probe::seed::Seed;
use sealane_probe::time::Time;
use sealane_state::facts::{Observation, PeerFacts};
use sealane_state::name::LinkName;
use sealane_state::wireguard::PublicKey;

use super::set::PathSet;
use super::watched::{News, Watched};
use super::ways::{candidate, families};

/// A lane that has begun to work is looked at this soon: should its tunnel die, the next one has to be
/// told where it worked. So is one whose peer may have moved.
const AT_ONCE: Duration = Duration::from_millis(20);

/// The lanes of a gateway.
pub type Lanes = PathSet<LaneId, LaneTarget>;

/// What devices say of their peers.
pub type TunnelFacts = BTreeMap<LinkName, BTreeMap<PublicKey, PeerFacts>>;

impl Lanes {
    /// Takes the lanes of a new plan and the host it was made for; `draw` gives the seed of each lane
    /// that is new, and the address that worked before it was known here. One made anew goes on at the
    /// address that worked last.
    pub fn follow_plan(
        &mut self,
        now: Time,
        targets: &BTreeMap<LaneId, LaneTarget>,
        seen: &Observation,
        mut draw: impl FnMut(&LaneId) -> (Seed, Option<SocketAddr>),
    ) {
        let families = families(seen);
        let worked = |(id, lane): (&LaneId, &Watched<_>)| Some((*id, lane.last_endpoint()?));
        let known: BTreeMap<LaneId, SocketAddr> = self.iter().filter_map(worked).collect();
        let start = |id: &LaneId, target: &LaneTarget| {
            let (seed, before) = draw(id);
            let config = PathConfig {
                remote: target.destination,
                link_mtu: saturated(target.max_mtu),
                interest: interest(target.traffic),
                seed,
            };
            let mut path = Path::lane(now, config, &candidates(target, seen), families);
            let last = known.get(id).copied().or(before);
            last.into_iter().for_each(|last| path.resume_at(last));
            path
        };
        let adjust = |target: &LaneTarget, path: &mut Path| {
            path.set_candidates(now, &candidates(target, seen));
            path.set_families(families);
            path.set_interest(interest(target.traffic));
            path.set_link_mtu(now, saturated(target.max_mtu));
        };
        self.inherit(targets);
        self.follow(targets, seen, start, adjust);
    }

    /// Has lanes go on under another key of ours: they lead where they led.
    pub fn go_by(&mut self, own: PublicKey) {
        if self.iter().any(|(id, _)| id.own != own) {
            self.rename(|id| LaneId { own, ..id });
        }
    }

    /// Has lanes that take the place of others on the same way go on with what is known of it.
    fn inherit(&mut self, targets: &BTreeMap<LaneId, LaneTarget>) {
        let place =
            |target: &LaneTarget| (target.gateway.clone(), target.link.clone(), target.destination);
        let bygone = self.iter().filter(|(id, _)| !targets.contains_key(id));
        let mut bygone: BTreeMap<_, LaneId> =
            bygone.map(|(id, lane)| (place(lane.target()), *id)).collect();
        let new = targets.iter().filter(|(id, _)| self.get(id).is_none());
        let heirs: BTreeMap<LaneId, LaneId> =
            new.filter_map(|(id, target)| Some((bygone.remove(&place(target))?, *id))).collect();
        if !heirs.is_empty() {
            self.rename(|id| heirs.get(&id).copied().unwrap_or(id));
        }
    }

    /// Takes what devices say of their peers; `unix_now` is the time of day, in seconds.
    pub fn tunnels_reported(&mut self, now: Time, peers: &TunnelFacts, unix_now: u64) -> News {
        self.touch_all(|id, lane| {
            let facts = peers.get(&lane.target().link).and_then(|peers| peers.get(&id.remote));
            lane.tunnel_reported(now, facts.copied().unwrap_or_default(), unix_now)
        })
    }

    /// Returns how often what devices say of their peers is wanted; `None` while all lanes work at known
    /// addresses. The search for a peer's address goes by it, and a tunnel that is made anew by what was
    /// learnt of the one before.
    pub fn search(&self) -> Option<Duration> {
        let pace = |lane: &Watched<LaneTarget>| match lane.report().state {
            State::Unknown => Some(FIRST_ATTEMPT),
            State::Down => Some(LOOK),
            State::Up if lane.last_endpoint().is_none() || lane.may_have_moved() => Some(AT_ONCE),
            // Which of its two keys a gateway uses is told by its handshakes.
            State::Up if !lane.target().companions.is_empty() => Some(LOOK),
            State::Up => None,
        };
        self.iter().filter_map(|(_, lane)| pace(lane)).min()
    }

    /// Returns what is advised of each endpoint.
    pub fn advice(&self) -> impl Iterator<Item = (&LaneId, EndpointAdvice)> {
        self.iter().map(|(id, lane)| (id, lane.advice()))
    }

    /// Returns what is known, as facts; `unix_now` dates them.
    pub fn health(&self, now: Time, unix_now: u64) -> BTreeMap<LaneId, LaneHealth> {
        self.iter().map(|(id, lane)| (*id, lane.health(now, unix_now))).collect()
    }
}

fn candidates(target: &LaneTarget, seen: &Observation) -> Vec<Candidate> {
    target.candidates.iter().map(|it| candidate(it, seen)).collect()
}

fn interest(traffic: Traffic) -> Interest {
    match traffic {
        Traffic::Movable => Interest::Carrying,
        Traffic::Bound => Interest::Alone,
        Traffic::Spare => Interest::Idle,
    }
}

pub(super) fn saturated(mtu: u32) -> u16 {
    u16::try_from(mtu).unwrap_or(u16::MAX)
}
