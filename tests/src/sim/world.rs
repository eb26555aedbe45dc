//! Owns one run: virtual time, the queue of what is to happen, and what every event leads to. Owns no
//! fault and no invariant; it has both carried out.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use sealane_api::advertisement::{Candidate, CandidateKind, Networks};
use sealane_api::cidr::Cidr;
use sealane_api::clusterset::ListPosition;
use sealane_api::keys::{SigningSeed, VerifyKey};
use sealane_api::kinds::{AdvertisementSpec, ClusterSetSpec};
use sealane_api::names::{ClusterId, GatewayId};
use sealane_api::sign;
use sealane_broker::board::{BoardEvent, Kind};
use sealane_broker::store::Store;
use sealane_probe::time::Time;
use sealane_state::link::Backend;
use tempfile::TempDir;
use zeroize::Zeroizing;

use super::broker::{self, Board};
use super::chance::Chance;
use super::faults::{self, Fault};
use super::invariants;
use super::member::{Member, Profile};
use super::network::{Hop, Nat, Network, Site, Weather};
use super::story::{Broken, Failure, Story};
use super::truth::{self, BEGIN, Known, Truth};
use super::tunnel::Packet;

/// Time that the broker and its members take to hear of each other.
const LATENCY: Duration = Duration::from_millis(20);
/// Longest pause between two tries of the broker.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// Everything works this long after the last fault, or the run has failed.
pub const BOUND: Duration = Duration::from_secs(240);
/// How often it is asked whether everything works.
const LOOK: Duration = Duration::from_millis(500);
/// A host that turns this often while no time passes will turn for ever.
const MOST_TURNS: u32 = 1_000;

/// What is to happen.
pub enum Event {
    /// A host has something to do.
    Wake(usize),
    /// An outer packet arrives.
    Packet(usize, (u16, SocketAddr), Box<Packet>),
    /// A host tries the broker.
    Connect(usize),
    /// A host hears of the broker, if the line of that serial still stands.
    Board(usize, u64, Box<BoardEvent>),
    /// A host has its word checked on the broker.
    Publish(usize),
    /// Something fails, or is mended.
    Fault(Fault),
    /// Is everything as it should be?
    Look,
}

/// A run.
pub struct World {
    /// Its seed.
    pub seed: u64,
    /// The moment.
    pub now: Time,
    /// All its randomness.
    pub chance: Chance,
    /// Hosts, by number.
    pub members: Vec<Member>,
    /// The network between them.
    pub network: Network,
    /// The broker.
    pub board: Board,
    /// What is true.
    pub truth: Truth,
    /// What happened.
    pub story: Story,
    /// The host that lies, if one does.
    pub hostile: Option<usize>,
    /// The list that root signed last, to be put on the broker again.
    pub newest_list: Option<ClusterSetSpec>,
    /// What gateways said earlier, to be replayed.
    pub old_words: BTreeMap<GatewayId, AdvertisementSpec>,
    /// Identities that root pinned after a disk was lost.
    pub pinned: BTreeMap<ClusterId, VerifyKey>,
    /// When the last fault was mended.
    pub quiet_since: Option<Time>,
    queue: BTreeMap<(Time, u64), Event>,
    events: u64,
    /// Where hosts keep their state.
    pub folder: TempDir,
}

/// How a run went.
#[derive(Debug, Clone)]
pub struct Summary {
    /// How long it took from the last fault until everything worked.
    pub settled_after: Duration,
    /// Virtual time that passed.
    pub lasted: Duration,
    /// Events.
    pub events: u64,
    /// What happened.
    pub story: Story,
}

/// Runs a seed to its end.
///
/// # Errors
/// The invariant that does not hold, with the story that leads there.
pub fn run(seed: u64) -> Result<Summary, Box<Failure>> {
    let stuck = |error: &anyhow::Error| Failure {
        seed,
        at: Time::ZERO,
        broken: Broken::Stuck(format!("{error:#}")),
        story: Story::default(),
    };
    let mut world = World::begin(seed).map_err(|error| Box::new(stuck(&error)))?;
    match world.turn() {
        Ok(settled_after) => Ok(Summary {
            settled_after,
            lasted: world.now.since_origin(),
            events: world.events,
            story: world.story,
        }),
        Err(broken) => {
            let (at, story) = (world.now, world.story);
            Err(Box::new(Failure { seed, at, broken, story }))
        }
    }
}

impl World {
    /// Sets up members, network and broker, and draws the faults.
    fn begin(seed: u64) -> anyhow::Result<Self> {
        let mut chance = Chance::of(seed);
        let truth = Truth::begin(&mut chance);
        let shared = std::path::Path::new("/dev/shm");
        let mut folder = tempfile::Builder::new();
        folder.prefix("sealane-sim-");
        let folder = if shared.is_dir() { folder.tempdir_in(shared)? } else { folder.tempdir()? };
        let network =
            Network { sites: Vec::new(), weather: Weather::FAIR, cuts: Default::default() };
        let mut world = Self {
            seed,
            now: Time::ZERO,
            chance,
            members: Vec::new(),
            network,
            board: Board::default(),
            truth,
            story: Story::default(),
            hostile: None,
            newest_list: None,
            old_words: BTreeMap::new(),
            pinned: BTreeMap::new(),
            quiet_since: None,
            queue: BTreeMap::new(),
            events: 0,
            folder,
        };
        world.settle_members()?;
        faults::draw(&mut world);
        Ok(world)
    }

    fn settle_members(&mut self) -> anyhow::Result<()> {
        let mut names = vec!["a.g1", "b.g1", "c.g1"];
        if self.chance.hits(400) {
            names.push("b.g2");
        }
        let has_liar = self.chance.hits(400);
        if has_liar {
            names.push("d.g1");
        }
        let hidden = self.chance.hits(500).then(|| self.chance.below(3));
        let mut identities: BTreeMap<ClusterId, [u8; 32]> = BTreeMap::new();
        let mut entries = BTreeMap::new();
        for (number, name) in names.iter().enumerate() {
            let id = GatewayId::parse(name)?;
            let member = id.member.clone();
            let identity = *identities.entry(member.clone()).or_insert_with(|| self.chance.key());
            let site = site(number, hidden == Some(number));
            let profile = self.profile(&id, &site, number)?;
            let store = Store::open(&self.folder.path().join(name))?;
            let key = SigningSeed::from_bytes(Zeroizing::new(identity)).public();
            let mut known = Known::Pinned(key);
            let mut enrolment = None;
            // Members with one gateway may have joined by token and not be pinned yet.
            if member.as_str() != "b" && self.chance.hits(300) {
                let join = SigningSeed::from_bytes(Zeroizing::new(self.chance.key()));
                enrolment = Some(sign::enrolment(&join, self.truth.id(), &member, &key));
                known = Known::Joining(join.public());
            }
            let token = self.truth.token(&member, ListPosition::default());
            let cidrs: Vec<Cidr> = profile.networks.iter().copied().collect();
            entries.entry(member).or_insert_with(|| truth::entry(known, cidrs));
            let member = Member::new(profile, store, token, enrolment);
            member.draw_keys(&mut self.chance)?;
            member.store.save("identity.key", &identity)?;
            self.network.sites.push(site);
            self.members.push(member);
        }
        self.hostile = has_liar.then_some(names.len() - 1);
        let list = self.truth.sign_next(BEGIN, |list| list.members = entries);
        self.board.write_list(&list);
        self.newest_list = Some(list);
        for number in 0..names.len() {
            let after = self.chance.between(Duration::ZERO, Duration::from_secs(2));
            self.schedule(after, Event::Fault(Fault::Start(number)));
        }
        Ok(())
    }

    fn profile(&mut self, id: &GatewayId, site: &Site, number: usize) -> anyhow::Result<Profile> {
        let member = id.member.as_str().bytes().next().unwrap_or_default() - b'a' + 1;
        let networks = Networks {
            pods: vec![Cidr::parse(&format!("10.{member}.0.0/16"))?],
            services: vec![Cidr::parse(&format!("fd00:{member}::/48"))?],
            external: vec![Cidr::parse(&format!("172.20.{member}.0/24"))?],
        };
        let uplink = site.addresses.iter().map(|address| {
            let length = if address.is_ipv4() { 24 } else { 64 };
            ipnetwork::IpNetwork::new(*address, length)
        });
        let kind = if site.nat.is_some() { CandidateKind::Private } else { CandidateKind::Public };
        let candidate = |addr: &IpAddr| Candidate { kind, addr: *addr, port: 51820 };
        let backend = if self.chance.hits(500) { Backend::Kernel } else { Backend::Userspace };
        self.story.tell(Time::ZERO, format!("{id} is host {number}, {backend:?}, at {site:?}"));
        Ok(Profile {
            id: id.clone(),
            networks,
            slot: u8::from(id.gateway.as_str() == "g2"),
            backend,
            uplink: uplink.collect::<Result<_, _>>()?,
            candidates: site.addresses.iter().map(candidate).collect(),
        })
    }

    /// Has something happen after a while.
    pub fn schedule(&mut self, after: Duration, event: Event) {
        self.events += 1;
        self.queue.insert((self.now.after(after), self.events), event);
    }

    /// Notes that something happened.
    pub fn tell(&mut self, line: impl Into<String>) {
        self.story.tell(self.now, line);
    }

    /// Remembers what gateways say now, to be replayed later.
    pub fn remember_words(&mut self) {
        for member in &self.members {
            if let Some(word) = member.agent.as_ref().and_then(|agent| agent.word.clone()) {
                self.old_words.entry(member.profile.id.clone()).or_insert(word);
            }
        }
    }

    fn turn(&mut self) -> Result<Duration, Broken> {
        let mut turns = 0;
        while let Some(((at, _), event)) = self.queue.pop_first() {
            turns = if at == self.now { turns + 1 } else { 0 };
            if turns > MOST_TURNS {
                return Err(Broken::Stuck("somebody never sleeps".to_owned()));
            }
            self.now = at;
            let touched = match event {
                Event::Look => match self.look()? {
                    Some(after) => return Ok(after),
                    None => continue,
                },
                event => self.happen(event)?,
            };
            for number in touched {
                self.settle(number)?;
            }
        }
        Err(Broken::Stuck("nothing is to happen any more".to_owned()))
    }

    fn look(&mut self) -> Result<Option<Duration>, Broken> {
        let since = self.quiet_since.map_or(Duration::ZERO, |since| self.now.since(since));
        match invariants::converged(self) {
            Ok(()) => Ok(Some(since)),
            Err(missing) if since > BOUND => Err(Broken::Diverged(missing)),
            Err(_) => {
                self.schedule(LOOK, Event::Look);
                Ok(None)
            }
        }
    }

    /// Carries an event out; returns the hosts that it touched.
    fn happen(&mut self, event: Event) -> Result<Vec<usize>, Broken> {
        let now = self.now;
        match event {
            Event::Wake(number) => {
                if self.members[number].wake != Some(now) {
                    return Ok(Vec::new());
                }
                self.members[number].wake = None;
                self.members[number].turn(now, &mut self.story);
                Ok(vec![number])
            }
            Event::Packet(number, end, packet) => {
                self.members[number].packet(end, *packet, now, &mut self.story);
                Ok(vec![number])
            }
            Event::Connect(number) => {
                self.connect(number);
                Ok(vec![number])
            }
            Event::Board(number, serial, event) => {
                let line = &self.members[number].line;
                if !line.stands || line.serial != serial {
                    return Ok(Vec::new());
                }
                self.members[number].board(*event, now, &mut self.story);
                Ok(vec![number])
            }
            Event::Publish(number) => {
                self.publish(number);
                Ok(vec![number])
            }
            Event::Fault(fault) => {
                faults::strike(self, fault).map_err(|error| Broken::Stuck(format!("{error:#}")))
            }
            Event::Look => Ok(Vec::new()),
        }
    }

    /// Sends what a host has to send, judges what it did, and has it woken when it wants to be.
    fn settle(&mut self, number: usize) -> Result<(), Broken> {
        let now = self.now;
        for sent in std::mem::take(&mut self.members[number].out) {
            let hop = Hop { from: number, port: sent.port, to: sent.to, size: sent.size };
            for arrival in self.network.carry(hop, &mut self.chance) {
                let end = (arrival.port, arrival.source);
                let packet = Event::Packet(arrival.host, end, Box::new(sent.packet.clone()));
                self.schedule(arrival.after, packet);
            }
        }
        for word in std::mem::take(&mut self.members[number].signed) {
            let id = self.members[number].profile.id.clone();
            self.truth.record(&id, &word);
        }
        if std::mem::take(&mut self.members[number].says) {
            self.schedule(LATENCY, Event::Publish(number));
        }
        if std::mem::take(&mut self.members[number].changed) {
            self.judge(number)?;
        }
        let wake = self.members[number].next_wake(now).max(now);
        if self.members[number].wake.is_none_or(|planned| planned > wake) {
            self.members[number].wake = Some(wake);
            self.schedule(wake.since(now), Event::Wake(number));
        }
        Ok(())
    }

    fn judge(&mut self, number: usize) -> Result<(), Broken> {
        let passages = std::mem::take(&mut self.members[number].passages);
        let member = &self.members[number];
        invariants::at_any_moment(member, &self.truth)?;
        let own: Vec<_> = member.have.devices.values().map(|device| device.key).collect();
        let is_wanted = |far: &sealane_state::wireguard::PublicKey| {
            let mut devices = self.members.iter().flat_map(|other| other.have.devices.values());
            devices.any(|device| {
                device.key == *far && own.iter().any(|own| device.peers.contains_key(own))
            })
        };
        let mut passages = passages.iter();
        passages.try_for_each(|it| invariants::in_passage(&member.name(), it, is_wanted))
    }

    fn connect(&mut self, number: usize) {
        let is_away = self.board.is_away;
        let member = &mut self.members[number];
        if member.agent.is_none() && member.last_word.is_none() || member.line.stands {
            return;
        }
        if is_away || member.line.is_cut {
            let pause = Duration::from_millis(250).saturating_mul(1 << member.line.tries.min(8));
            let pause = pause.min(LONGEST_PAUSE);
            member.line.tries += 1;
            let pause = self.chance.between(pause / 2, pause);
            return self.schedule(pause, Event::Connect(number));
        }
        member.line.stands = true;
        member.line.tries = 0;
        let serial = member.line.serial;
        for event in self.board.shown() {
            self.schedule(LATENCY, Event::Board(number, serial, Box::new(event)));
        }
        self.schedule(LATENCY * 2, Event::Publish(number));
    }

    /// Breaks a line to the broker; it is tried again.
    pub fn disconnect(&mut self, number: usize) {
        self.members[number].break_line();
        let after = self.chance.between(LATENCY, LATENCY * 20);
        self.schedule(after, Event::Connect(number));
    }

    fn publish(&mut self, number: usize) {
        let member = &self.members[number];
        let word = member.agent.as_ref().and_then(|agent| agent.word.as_ref()).map(broker::value);
        let word = member.last_word.clone().or(word);
        if let Some(word) = word.filter(|_| member.line.stands && !self.board.is_away) {
            let event = self.board.write((Kind::Advertisement, member.name()), word);
            self.announce(event);
        }
    }

    /// Tells all who watch the broker.
    pub fn announce(&mut self, event: Option<BoardEvent>) {
        let Some(event) = event.filter(|_| !self.board.is_away) else { return };
        for number in 0..self.members.len() {
            let serial = self.members[number].line.serial;
            let event = Box::new(event.clone());
            self.schedule(LATENCY, Event::Board(number, serial, event));
        }
    }
}

fn site(number: usize, is_hidden: bool) -> Site {
    let number = u8::try_from(number).unwrap_or(u8::MAX);
    let public = IpAddr::from([198, 51, 100 + number, 2]);
    if is_hidden {
        let addresses = vec![IpAddr::from([192, 168, 1, 2])];
        return Site { addresses, nat: Some(Nat::at(public)), mtu: 1500 };
    }
    let v6 = IpAddr::from([0x2001, 0xdb8, u16::from(number), 0, 0, 0, 0, 2]);
    Site { addresses: vec![public, v6], nat: None, mtu: 1500 }
}
