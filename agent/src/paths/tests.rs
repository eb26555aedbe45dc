//! What the lanes of a large clusterset cost, counted in looks at paths, in virtual time.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use sealane_plan::health::PathState;
use sealane_plan::name::{GatewayId, LaneId, MemberId, NodeName};
use sealane_plan::plan::{LaneTarget, Traffic};
use sealane_probe::path::Transmit;
use sealane_probe::responder::Responder;
use sealane_probe::seed::Seed;
use sealane_probe::time::Time;
use sealane_state::facts::{Observation, PeerFacts};
use sealane_state::wireguard::PublicKey;

use super::lanes::{Lanes, TunnelFacts};
use super::watched::{News, looks};
use crate::probe_io::{Sent, Way};

const OWN: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1));
const ROUND_TRIP: Duration = Duration::from_millis(20);

#[test]
fn a_turn_costs_what_is_due_in_it_however_many_lanes_there_are() {
    let few = Mesh::of(250, Traffic::Bound).counted(Duration::from_secs(10));
    let many = Mesh::of(1000, Traffic::Bound).counted(Duration::from_secs(10));
    for run in [&few, &many] {
        assert!(run.replies > 10 * run.lanes, "probes were answered: {run:?}");
        // A look when it is sent, one when it is answered, and what it takes to find its place.
        assert!(run.looks <= 12 * run.replies, "{run:?}");
    }
    assert!(many.looks <= 5 * few.looks, "four times the lanes: {few:?}, {many:?}");
}

#[test]
fn lanes_that_nothing_waits_for_are_probed_a_fifth_as_often() {
    let settled = |traffic| {
        let mut mesh = Mesh::of(100, traffic);
        mesh.advance(Duration::from_secs(20));
        mesh.counted(Duration::from_secs(20)).replies
    };
    assert!(settled(Traffic::Bound) * 4 < settled(Traffic::Movable));
}

#[test]
fn only_a_lane_whose_verdict_changes_is_news() {
    let mut mesh = Mesh::of(1000, Traffic::Bound);
    mesh.advance(Duration::from_secs(20));
    assert_eq!(mesh.advance(Duration::from_secs(20)), News::Nothing);
    let deaf = mesh.ids[500];
    mesh.deaf = Some(mesh.targets[&deaf].destination);
    assert_eq!(mesh.advance(Duration::from_secs(5)), News::Verdict);
    let health = mesh.lanes.health(mesh.now, 0);
    let down = health.iter().filter(|(_, health)| health.state == PathState::Down);
    assert_eq!(down.map(|(id, _)| *id).collect::<Vec<_>>(), [deaf]);
}

#[test]
fn the_step_of_a_search_is_no_reason_for_a_plan() {
    let mut mesh = Mesh::of(1, Traffic::Bound);
    mesh.deaf = Some(mesh.targets[&mesh.ids[0]].destination);
    mesh.advance(Duration::from_secs(10));
    let facts = TunnelFacts::new();
    mesh.lanes.tunnels_reported(mesh.now, &facts, 0);
    let candidate = |last: u8| sealane_plan::remote::Candidate {
        kind: sealane_plan::remote::CandidateKind::Public,
        endpoint: ([192, 0, 2, last], 51820).into(),
    };
    for target in mesh.targets.values_mut() {
        target.candidates = [1, 2].map(candidate).into();
    }
    mesh.follow();
    let mut steps = Vec::new();
    for _ in 0..30 {
        mesh.advance(Duration::from_secs(1));
        steps.push(mesh.lanes.tunnels_reported(mesh.now, &facts, 0));
    }
    assert!(steps.contains(&News::Advice) && !steps.contains(&News::Verdict), "{steps:?}");
}

#[test]
fn devices_are_asked_until_it_is_known_where_each_lane_works() {
    let mut mesh = Mesh::of(2, Traffic::Bound);
    mesh.advance(Duration::from_secs(10));
    assert!(mesh.lanes.search().is_some(), "all are up, and nobody knows where");
    let mut facts = TunnelFacts::new();
    for (id, target) in &mesh.targets {
        let endpoint = Some(([192, 0, 2, 1], 51820).into());
        let peers = facts.entry(target.link.clone()).or_default();
        peers.insert(id.remote, PeerFacts { endpoint, ..PeerFacts::default() });
    }
    mesh.lanes.tunnels_reported(mesh.now, &facts, 0);
    assert_eq!(mesh.lanes.search(), None);
}

/// Lanes to gateways that all answer, but for one that may be deaf.
struct Mesh {
    now: Time,
    lanes: Lanes,
    ids: Vec<LaneId>,
    targets: BTreeMap<LaneId, LaneTarget>,
    deaf: Option<IpAddr>,
    wire: BTreeMap<(Time, u64), (Way, IpAddr, Vec<u8>)>,
    sent: u64,
    replies: u64,
}

/// What a while cost.
#[derive(Debug)]
struct Run {
    lanes: u64,
    replies: u64,
    looks: u64,
}

impl Mesh {
    fn of(lanes: u16, traffic: Traffic) -> Self {
        let targets: BTreeMap<_, _> = (0..lanes).map(|number| target(number, traffic)).collect();
        let mut mesh = Self {
            now: Time::ZERO,
            lanes: Lanes::default(),
            ids: targets.keys().copied().collect(),
            targets,
            deaf: None,
            wire: BTreeMap::new(),
            sent: 0,
            replies: 0,
        };
        mesh.follow();
        mesh
    }

    fn follow(&mut self) {
        let (mut seed, mut seen) = (0, Observation::default());
        seen.facts.families = [sealane_state::rule::Family::V4].into();
        self.lanes.follow_plan(self.now, &self.targets, &seen, |_| {
            seed += 1;
            (Seed(seed), None)
        });
    }

    fn counted(&mut self, span: Duration) -> Run {
        (self.replies, _) = (0, looks::take());
        self.advance(span);
        Run { lanes: self.ids.len() as u64, replies: self.replies, looks: looks::take() }
    }

    /// Turns as the agent's loop turns: what came is read, what is due is sent.
    fn advance(&mut self, span: Duration) -> News {
        let end = self.now.after(span);
        let mut news = News::Nothing;
        loop {
            let arrival = self.wire.keys().next().map(|(at, _)| *at);
            let next = self.lanes.next_due().into_iter().chain(arrival).min();
            self.now = next.unwrap_or(end).max(self.now).min(end);
            if self.now == end {
                return news;
            }
            while let Some(entry) = self.wire.first_entry().filter(|it| it.key().0 <= self.now) {
                let (way, from, bytes) = entry.remove();
                let taken = self.lanes.received(self.now, (&way, from), &bytes);
                self.replies += u64::from(taken.is_some());
                news = news.max(taken.map(|(_, news)| news).unwrap_or_default());
            }
            let mut sent = Vec::new();
            news = news.max(self.lanes.send_due(self.now, None, |way, due| {
                sent.push((way.clone(), due.clone()));
                Sent::Away
            }));
            sent.into_iter().for_each(|(way, due)| self.carry(way, &due));
        }
    }

    fn carry(&mut self, way: Way, due: &Transmit) {
        let to = due.to.ip();
        let mut responder = Responder::default();
        responder.set_sources(self.now, [OWN]);
        let answer = responder.answer(self.now, OWN, &due.payload, None);
        if let Ok(answer) = answer
            && self.deaf != Some(to)
        {
            self.sent += 1;
            let at = (self.now.after(ROUND_TRIP), self.sent);
            self.wire.insert(at, (way, to, answer.payload.to_vec()));
        }
    }
}

fn target(number: u16, traffic: Traffic) -> (LaneId, LaneTarget) {
    let mut key = [0; 32];
    key[..2].copy_from_slice(&number.to_be_bytes());
    let member = MemberId(format!("member-{number}"));
    let target = LaneTarget {
        gateway: GatewayId { member, gateway: NodeName("gateway".to_owned()) },
        link: "sealane0".parse().unwrap(),
        source: OWN,
        destination: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 1, number).into(),
        max_mtu: 1420,
        candidates: Vec::new(),
        companions: BTreeMap::new(),
        traffic,
    };
    (LaneId { own: PublicKey([0xff; 32]), remote: PublicKey(key) }, target)
}
