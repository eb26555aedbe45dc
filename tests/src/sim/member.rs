//! Owns one gateway's host: what outlives its agent (disk, kernel, tunnels, clock) and what the agent
//! does with it. Decides nothing; the network and the broker are the world's.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use ipnetwork::IpNetwork;
use sealane_agent::membership::Membership;
use sealane_api::advertisement::{Candidate, Networks};
use sealane_api::cidr::Cidr;
use sealane_api::names::GatewayId;
use sealane_api::signed::Signed;
use sealane_api::time::UnixTime;
use sealane_api::token::Token;
use sealane_broker::board::BoardEvent;
use sealane_broker::store::Store;
use sealane_plan::name::GatewayId as PlanGateway;
use sealane_probe::time::Time;
use sealane_state::change::Change;
use sealane_state::diff::diff;
use sealane_state::diff::model::apply_to;
use sealane_state::facts::{HostFacts, LinkFacts, Observation};
use sealane_state::host::HostState;
use sealane_state::link::{Backend, LinkKind};
use sealane_state::name::LinkName;
use sealane_state::route::{Route, RouteKey, Target};
use sealane_state::rule::Family;

use super::agent::{Agent, Did, Now};
use super::chance::Chance;
use super::story::Story;
use super::truth::BEGIN;
use super::tunnel::{Inner, Packet, Sent, Tunnel};

/// The broker's address, which no lane may swallow.
const BROKER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

/// What a gateway was configured with.
#[derive(Debug, Clone)]
pub struct Profile {
    /// Its name.
    pub id: GatewayId,
    /// Its member's networks.
    pub networks: Networks<Cidr>,
    /// Its place among its member's gateways.
    pub slot: u8,
    /// Who runs WireGuard.
    pub backend: Backend,
    /// Addresses of its uplink.
    pub uplink: Vec<IpNetwork>,
    /// Where it says that it is reached.
    pub candidates: Vec<Candidate>,
}

impl Profile {
    /// Returns the networks of its uplink.
    #[must_use]
    pub fn uplinks(&self) -> Vec<Cidr> {
        self.uplink.iter().filter_map(|net| Cidr::covering(net.ip(), net.prefix())).collect()
    }

    /// Returns addresses that it needs outside the lanes.
    #[must_use]
    pub fn reserved(&self) -> BTreeSet<IpAddr> {
        [BROKER].into()
    }
}

/// How one state of a host became the next: what the order of steps is judged by.
pub struct Passage {
    /// Before.
    pub have: HostState,
    /// What was wanted.
    pub want: HostState,
    /// The steps, in order.
    pub steps: Vec<Change>,
}

/// The line to the broker.
#[derive(Debug, Default)]
pub struct Line {
    /// Whether it stands.
    pub stands: bool,
    /// Grows whenever it breaks, so that what was on its way is not heard.
    pub serial: u64,
    /// Tries in vain since it last stood.
    pub tries: u32,
    /// A fault of the network keeps it from standing.
    pub is_cut: bool,
}

/// A gateway's host.
pub struct Member {
    /// How it was configured.
    pub profile: Profile,
    /// Where its state is kept.
    pub store: Store,
    token: Token,
    enrolment: Option<Signed>,
    /// Its kernel, as far as it is ours.
    pub have: HostState,
    tunnel: Tunnel,
    /// How far its wall clock is off, in seconds.
    pub clock_off: i64,
    /// The agent while it runs.
    pub agent: Option<Agent>,
    /// The last word of a gateway that left, while it stands.
    pub last_word: Option<serde_json::Value>,
    /// Its line to the broker.
    pub line: Line,
    /// Outer packets to be sent.
    pub out: Vec<Sent>,
    /// Passages since they were last judged.
    pub passages: Vec<Passage>,
    /// The own word is to be checked on the broker.
    pub says: bool,
    /// Words signed since they were last recorded.
    pub signed: Vec<sealane_api::kinds::AdvertisementSpec>,
    /// When it is woken next.
    pub wake: Option<Time>,
    /// Whether belief or plan changed since the invariants were last checked.
    pub changed: bool,
    steady: Instant,
    /// The host as last looked at.
    seen: Observation,
    up: BTreeSet<PlanGateway>,
}

impl Member {
    /// Sets a host up that never ran.
    #[must_use]
    pub fn new(profile: Profile, store: Store, token: Token, enrolment: Option<Signed>) -> Self {
        Self {
            profile,
            store,
            token,
            enrolment,
            have: HostState::default(),
            tunnel: Tunnel::default(),
            clock_off: 0,
            agent: None,
            last_word: None,
            line: Line::default(),
            out: Vec::new(),
            passages: Vec::new(),
            says: false,
            signed: Vec::new(),
            wake: None,
            changed: false,
            steady: Instant::now(),
            seen: Observation::default(),
            up: BTreeSet::new(),
        }
    }

    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> String {
        self.profile.id.to_string()
    }

    /// Returns the moment by its clocks.
    #[must_use]
    pub fn now(&self, at: Time) -> Now {
        let since = at.since_origin();
        let wall = BEGIN.0.saturating_add(since.as_secs()).saturating_add_signed(self.clock_off);
        Now { at, wall: UnixTime(wall), steady: self.steady + since }
    }

    /// Writes keys that the seed determines, as the agent would draw them from the system.
    ///
    /// # Errors
    /// What the disk says.
    pub fn draw_keys(&self, chance: &mut Chance) -> anyhow::Result<()> {
        for name in ["identity.key", "gateway.key", "tunnel.key", "pair.key"] {
            self.store.save(name, &chance.key())?;
        }
        Ok(())
    }

    /// Joins anew with another token.
    pub fn join_with(&mut self, token: Token, enrolment: Option<Signed>) {
        (self.token, self.enrolment) = (token, enrolment);
    }

    /// Starts the agent on what is on disk.
    ///
    /// # Errors
    /// What the product says of that.
    pub fn start(&mut self, at: Time, seed: u64) -> anyhow::Result<()> {
        let now = self.now(at);
        let membership = Membership::of_token(&self.token, self.enrolment.clone());
        self.seen = self.observe();
        self.agent = Some(Agent::start(&self.store, &self.profile, membership, now, seed)?);
        self.last_word = None;
        self.changed = true;
        Ok(())
    }

    /// Ends the agent; kernel and tunnels go on.
    pub fn kill(&mut self) {
        self.agent = None;
        self.break_line();
    }

    /// Has the host lose everything that no disk keeps.
    pub fn power_off(&mut self) {
        self.kill();
        (self.have, self.tunnel) = (HostState::default(), Tunnel::default());
    }

    /// Has the tunnels lose their sessions and addresses, as when their process is killed.
    pub fn restart_tunnels(&mut self) {
        self.tunnel = Tunnel::default();
        for device in self.have.devices.values_mut() {
            device.peers.values_mut().for_each(|peer| peer.endpoint = None);
        }
    }

    /// Leaves: says the last word, and takes everything off the host.
    ///
    /// # Errors
    /// What the author says.
    pub fn withdraw(&mut self, at: Time) -> anyhow::Result<()> {
        let now = self.now(at);
        let Some(mut agent) = self.agent.take() else { return Ok(()) };
        let word = agent.withdraw(now)?;
        self.last_word = Some(super::broker::value(&word));
        self.signed.push(word);
        self.says = true;
        (self.have, self.tunnel) = (HostState::default(), Tunnel::default());
        Ok(())
    }

    /// Forgets what stood in the line to the broker.
    pub fn break_line(&mut self) {
        self.line.stands = false;
        self.line.serial += 1;
    }

    /// Takes what the broker tells.
    pub fn board(&mut self, event: BoardEvent, at: Time, story: &mut Story) {
        let now = self.now(at);
        let Some(agent) = &mut self.agent else { return };
        let mut did = Did::default();
        agent.board(event, (&self.profile, &self.seen), now, &mut did);
        agent.turn(&self.profile, &self.seen, now, &mut did);
        self.follow(did, at, story);
    }

    /// Takes an outer packet.
    pub fn packet(&mut self, end: (u16, SocketAddr), packet: Packet, at: Time, story: &mut Story) {
        let now = self.now(at);
        let clocks = (at, now.wall.0);
        let (sent, inner) = self.tunnel.receive(&mut self.have, end, packet, clocks);
        self.out.extend(sent);
        let Some((link, inner)) = inner else { return };
        let Some(agent) = &mut self.agent else { return };
        let mut did = agent.packet(&link, &inner, (&self.profile, &self.seen), now);
        agent.turn(&self.profile, &self.seen, now, &mut did);
        self.follow(did, at, story);
    }

    /// Lets time pass.
    pub fn turn(&mut self, at: Time, story: &mut Story) {
        let now = self.now(at);
        let sent = self.tunnel.poll(&self.have, at);
        self.out.extend(sent);
        let Some(agent) = &mut self.agent else { return };
        let mut did = Did::default();
        agent.turn(&self.profile, &self.seen, now, &mut did);
        self.follow(did, at, story);
    }

    /// Returns when it has something to do.
    #[must_use]
    pub fn next_wake(&self, at: Time) -> Time {
        let tunnel = self.tunnel.next_wake(at);
        self.agent.as_ref().map_or(tunnel, |agent| agent.next_wake(at).min(tunnel))
    }

    /// Sends a packet of the host's own into a lane link.
    pub fn send(&mut self, link: &LinkName, inner: Inner, at: Time) {
        let sent = self.tunnel.send(&self.have, link, inner, at);
        self.out.extend(sent);
    }

    fn follow(&mut self, did: Did, at: Time, story: &mut Story) {
        let Did { packets, says, signed, lines, wants_hand } = did;
        for line in lines {
            story.tell(at, format!("{}: {line}", self.name()));
        }
        for (link, inner) in packets {
            self.send(&link, inner, at);
        }
        self.says |= says;
        self.signed.extend(signed);
        if !wants_hand {
            return;
        }
        self.changed = true;
        self.lay_hand_on(at);
        let Some(agent) = &self.agent else { return };
        let up = agent.lanes.up();
        for gateway in up.difference(&self.up) {
            story.tell(at, format!("{}: lane to {gateway} is up", self.profile.id));
        }
        for gateway in self.up.difference(&up) {
            story.tell(at, format!("{}: lane to {gateway} is down or gone", self.profile.id));
        }
        self.up = up;
    }

    /// Observes, applies the difference, and observes again.
    fn lay_hand_on(&mut self, at: Time) {
        let Some(agent) = &self.agent else { return };
        let want = agent.plan.host.clone();
        let steps = diff(&want, &self.have);
        if !steps.is_empty() {
            let have = self.have.clone();
            for step in &steps {
                apply_to(&mut self.have, step);
                let sent = self.tunnel.configured(&self.have, at);
                self.out.extend(sent);
            }
            self.passages.push(Passage { have, want, steps });
        }
        let (now, seen) = (self.now(at), self.observe());
        let before = std::mem::replace(&mut self.seen, seen);
        if let Some(agent) = &mut self.agent {
            agent.saw((&before, &self.seen), now);
        }
    }

    fn observe(&self) -> Observation {
        let mut facts = HostFacts {
            families: [Family::V4, Family::V6].into(),
            backends: [self.profile.backend].into(),
            peers: self.tunnel.facts(),
            ..HostFacts::default()
        };
        let addresses = self.profile.uplink.iter().copied().collect();
        let uplink = LinkFacts { index: 2, mtu: 1500, running: true, addresses, ours: false };
        if let Ok(name) = "eth0".parse::<LinkName>() {
            let target = Target::Link(name.clone());
            for net in ["0.0.0.0/0", "::/0"].iter().filter_map(|net| net.parse().ok()) {
                let key = RouteKey { table: 254, destination: net, metric: 0 };
                let route = Route { target: target.clone(), source: None, mtu: None };
                facts.routes.insert(key, route);
            }
            facts.links.insert(name, uplink);
        }
        for (name, link) in &self.have.links {
            // As on Linux, a link keeps its index whatever becomes of the others.
            let index = 100 + name.as_str().bytes().last().map_or(0, u32::from);
            let ours = self.have.addresses.iter().filter(|it| it.link == *name);
            let addresses = ours.map(|it| it.net).collect();
            let seen = LinkFacts { index, mtu: link.mtu, running: true, addresses, ours: true };
            facts.links.insert(name.clone(), seen);
            if let LinkKind::WireGuard(backend) = link.kind {
                facts.standing.insert(backend);
            }
        }
        Observation { ours: self.have.clone(), facts }
    }
}
