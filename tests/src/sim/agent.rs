//! Owns one running agent: the product's belief, author, plan, paths and gossip, turned by virtual time
//! as the agent's own loop turns them. What outlives it (disk, kernel, tunnels) is the member's.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use ipnetwork::IpNetwork;
use sealane_agent::advertise::{self, Author, Wish};
use sealane_agent::clock::Clock;
use sealane_agent::gossip::Reception;
use sealane_agent::keys::Keys;
use sealane_agent::membership::Membership;
use sealane_agent::paths::watched::News;
use sealane_agent::trust::told::Hearsay;
use sealane_agent::trust::{Outcome, Trust};
use sealane_api::gossip::telling::Telling;
use sealane_api::keys::PairKey;
use sealane_api::kinds::AdvertisementSpec;
use sealane_api::names::ClusterId;
use sealane_api::probe_address;
use sealane_api::psk::{self, LaneEnd};
use sealane_api::remote::{LocalFacts, RemoteGateway};
use sealane_api::time::UnixTime;
use sealane_broker::board::{BoardEvent, Kind};
use sealane_broker::store::Store;
use sealane_plan::intake;
use sealane_plan::name::{LaneId, MemberId, NodeName, UnixSeconds};
use sealane_plan::plan::{Plan, plan};
use sealane_plan::world::{Me, OwnGateway, OwnTunnel, Role, World};
use sealane_probe::time::Time;
use sealane_state::facts::Observation;
use sealane_state::wireguard::{PskFingerprint, PublicKey};

use super::gossip::{Gossip, Told};
use super::lanes::Lanes;
use super::member::Profile;
use super::tunnel::{Body, Inner};
use sealane_state::name::LinkName;

/// Time passes for what is believed this often.
const TICK: Duration = Duration::from_secs(1);

/// The moment, by all clocks of a host.
#[derive(Clone, Copy)]
pub struct Now {
    /// Virtual time.
    pub at: Time,
    /// The host's wall clock.
    pub wall: UnixTime,
    /// A steady clock for the product's notice that the wall clock was set.
    pub steady: Instant,
}

/// What a turn led to, beside the plan.
#[derive(Default)]
pub struct Did {
    /// Packets into lane links.
    pub packets: Vec<(LinkName, Inner)>,
    /// The own word is to be checked on the broker.
    pub says: bool,
    /// A word that was signed.
    pub signed: Option<AdvertisementSpec>,
    /// Lines for the story.
    pub lines: Vec<String>,
    /// The host is to be looked at and brought in line now.
    pub wants_hand: bool,
}

/// A running agent.
pub struct Agent {
    /// What is believed.
    pub trust: Trust,
    author: Author,
    keys: Keys,
    membership: Membership,
    /// Probed lanes.
    pub lanes: Lanes,
    gossip: Gossip,
    /// The last plan.
    pub plan: Plan,
    /// The facts that it was made from.
    pub world: World,
    choices: BTreeMap<MemberId, PublicKey>,
    derived: BTreeMap<LaneId, (PairKey, PskFingerprint)>,
    clock: Clock,
    next_tick: Time,
    /// When devices are looked at next.
    pub next_look: Time,
    stale: bool,
    /// What is to stand on the broker.
    pub word: Option<AdvertisementSpec>,
    /// Frames that a hostile agent adds to every answer.
    pub lies: Vec<Vec<u8>>,
}

impl Agent {
    /// Starts on what is on disk.
    ///
    /// # Errors
    /// What the product says of state that it cannot use.
    pub fn start(
        store: &Store,
        profile: &Profile,
        membership: Membership,
        now: Now,
        seed: u64,
    ) -> anyhow::Result<Self> {
        let keys = Keys::load_or_make(store)?;
        let id = membership.clusterset();
        let author = Author::load(store.clone(), id, profile.id.clone())?;
        let named = LocalFacts::named(profile.id.clone());
        let trust = Trust::load(store.clone(), &membership, now.wall, &named)?;
        Ok(Self {
            trust,
            author,
            keys,
            membership,
            lanes: Lanes::begin(seed),
            gossip: Gossip::default(),
            plan: Plan::default(),
            world: World::default(),
            choices: BTreeMap::new(),
            derived: BTreeMap::new(),
            clock: Clock::at(now.steady, now.wall.0),
            next_tick: now.at.after(TICK),
            next_look: now.at,
            stale: true,
            word: None,
            lies: Vec::new(),
        })
    }

    /// Returns the key of the own tunnel entry.
    #[must_use]
    pub fn tunnel_key(&self) -> PublicKey {
        self.keys.wireguard()
    }

    /// Returns the private keys, for lies.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Takes one turn: what is due is sent, believed, told and planned.
    pub fn turn(&mut self, profile: &Profile, seen: &Observation, now: Now, did: &mut Did) {
        did.packets.extend(self.lanes.due(now.at));
        self.heed(did);
        if now.at >= self.next_tick {
            self.next_tick = now.at.after(TICK);
            self.tick(profile, seen, now, did);
        }
        if now.at >= self.next_look {
            did.wants_hand = true;
        }
        self.keep(profile, seen, now);
        self.talk(profile, seen, now, did);
        if self.stale {
            self.replan(profile, seen, now, did);
        }
    }

    fn heed(&mut self, did: &mut Did) {
        match self.lanes.take_news() {
            News::Nothing => {}
            News::Advice => {
                self.lanes.advise(&mut self.plan);
                did.wants_hand = true;
            }
            News::Verdict => self.stale = true,
        }
    }

    /// Takes what the hand saw.
    pub fn saw(&mut self, (before, seen): (&Observation, &Observation), now: Now) {
        self.stale |= before.facts.links != seen.facts.links;
        self.lanes.follow(now.at, &self.plan, seen);
        self.lanes.tunnels_reported(now.at, seen, now.wall.0);
        self.next_look = now.at.after(self.lanes.patrol());
    }

    /// Takes what the broker tells.
    pub fn board(
        &mut self,
        event: BoardEvent,
        (profile, seen): (&Profile, &Observation),
        now: Now,
        did: &mut Did,
    ) {
        let facts = self.facts(profile, seen);
        let own = profile.id.to_string();
        let outcome = match event {
            BoardEvent::Listed(kind, objects) => {
                did.says |= kind == Kind::Advertisement;
                self.trust.listed(kind, objects, now.wall, &facts)
            }
            BoardEvent::Written(kind, object) => {
                did.says |= object.name == own;
                self.trust.written(kind, object, now.wall, &facts)
            }
            BoardEvent::Gone(kind, name) => {
                self.trust.gone(kind, &name);
                did.says |= name == own;
                return;
            }
            BoardEvent::Reachable(_) | BoardEvent::Unreachable { .. } => return,
        };
        self.note(outcome, did);
    }

    /// Takes a packet out of a lane link.
    pub fn packet(
        &mut self,
        link: &LinkName,
        inner: &Inner,
        (profile, seen): (&Profile, &Observation),
        now: Now,
    ) -> Did {
        let mut did = Did::default();
        match &inner.body {
            Body::Probe(bytes) => {
                let answer = self.lanes.received(now.at, link, inner, bytes);
                did.packets.extend(answer.map(|answer| (link.clone(), answer)));
            }
            Body::Ask(question, bytes) => {
                let mut frames = self.lies.clone();
                frames.extend(self.gossip.answer(bytes));
                let answer = Body::Answer(*question, frames);
                did.packets.extend(self.lanes.packet_to(inner.source, answer));
            }
            Body::Answer(question, frames) => {
                let told = self.gossip.told(inner.source, *question, frames);
                let gateway = self.lanes.gateway_at(inner.source);
                let teller = gateway.and_then(|it| ClusterId::parse(&it.member.0).ok());
                if let (Some(told), Some(teller)) = (told, teller) {
                    let outcome = self.hear(&told, &teller, self.facts(profile, seen), now);
                    let (outcome, reception) = outcome;
                    if outcome.changed {
                        did.lines.push(format!("heard news from {teller} in a lane"));
                    }
                    self.gossip.took(now.at, inner.source, reception);
                    self.note(outcome, &mut did);
                }
            }
        }
        did
    }

    fn hear(
        &mut self,
        told: &Told,
        teller: &ClusterId,
        facts: LocalFacts,
        now: Now,
    ) -> (Outcome, Reception) {
        self.trust.forget_told(teller);
        let hearsay = Hearsay { teller, list: told.list.as_ref(), words: &told.words };
        self.trust.told(&hearsay, now.wall, &facts)
    }

    /// Says the last word of this gateway.
    ///
    /// # Errors
    /// What the author says.
    pub fn withdraw(&mut self, now: Now) -> anyhow::Result<AdvertisementSpec> {
        let enrolment = self.membership.enrolment.clone();
        Ok(self.author.withdraw(&self.keys, enrolment.as_ref(), now.wall)?)
    }

    /// Returns when something is due.
    #[must_use]
    pub fn next_wake(&self, now: Time) -> Time {
        if self.stale || self.lanes.has_news() {
            return Time::ZERO;
        }
        let wakes = self.lanes.next_wake(now).into_iter().chain(self.gossip.next_wake());
        wakes.min().unwrap_or(self.next_tick).min(self.next_tick).min(self.next_look)
    }

    /// Returns what only this host knows.
    #[must_use]
    pub fn facts(&self, profile: &Profile, seen: &Observation) -> LocalFacts {
        LocalFacts {
            gateway_key: Some(self.keys.gateway.public()),
            identity: Some(self.keys.identity.public()),
            tunnel_keys: [self.keys.tunnel.public().wireguard()].into(),
            addresses: seen
                .facts
                .links
                .values()
                .flat_map(|link| link.addresses.iter().map(IpNetwork::ip))
                .collect(),
            links: profile.uplinks(),
            reserved: profile.reserved(),
            ..LocalFacts::named(profile.id.clone())
        }
    }

    fn tick(&mut self, profile: &Profile, seen: &Observation, now: Now, did: &mut Did) {
        let facts = self.facts(profile, seen);
        let outcome = self.trust.tick(now.wall, &facts);
        self.note(outcome, did);
        if self.clock.was_set(now.steady, now.wall.0) {
            let outcome = self.trust.reconsider(now.wall, &facts);
            self.note(outcome, did);
        }
        self.stale |= self.plan.wake_at.is_some_and(|at| at <= UnixSeconds(now.wall.0));
        self.speak(profile, now, did);
    }

    fn note(&mut self, outcome: Outcome, did: &mut Did) {
        for (kind, rejected) in outcome.refused {
            did.lines.push(format!(
                "refuses {kind:?}: {} ({})",
                rejected.reason.as_str(),
                rejected.detail
            ));
        }
        self.stale |= outcome.changed;
        if let Some(own) = outcome.own {
            self.author.met(&own);
        }
    }

    fn keep(&mut self, profile: &Profile, seen: &Observation, now: Now) {
        if self.trust.is_due() {
            let facts = self.facts(profile, seen);
            self.stale |= self.trust.keep(now.wall, &facts);
            self.gossip.is_stale = true;
        }
    }

    fn talk(&mut self, profile: &Profile, seen: &Observation, now: Now, did: &mut Did) {
        self.gossip.says(self.author.spoken());
        if self.gossip.is_due(now.at) && self.trust.is_saved() {
            if let Some(word) = self.author.spoken().cloned() {
                let facts = self.facts(profile, seen);
                self.trust.tell_own(&word, now.wall, &facts);
            }
            let telling = Telling::of(self.trust.receiver(), now.wall, &self.gossip.telling);
            if self.gossip.tell(now.at, telling) {
                did.packets.extend(self.lanes.announce(now.at, self.gossip.digest()));
            }
        }
        let heard = std::mem::take(&mut self.lanes.heard);
        for (peer, question, bytes) in self.gossip.turn(now.at, heard, &self.lanes.peers()) {
            did.packets.extend(self.lanes.packet_to(peer, Body::Ask(question, bytes)));
        }
    }

    fn replan(&mut self, profile: &Profile, seen: &Observation, now: Now, did: &mut Did) {
        self.stale = false;
        let before = self.world.gateways.keys().cloned().collect::<BTreeSet<_>>();
        self.world = self.gather(profile, seen, now);
        self.plan = plan(&self.world, UnixSeconds(now.wall.0));
        self.choices.clone_from(&self.plan.choices);
        self.lanes.follow(now.at, &self.plan, seen);
        did.wants_hand = true;
        let after: BTreeSet<_> = self.world.gateways.keys().cloned().collect();
        if before != after {
            let names: Vec<String> = after.iter().map(ToString::to_string).collect();
            let version = self.trust.receiver().clusterset().map_or(0, |set| set.position.version);
            did.lines.push(format!("believes {} (list {version})", names.join(" ")));
        }
        self.speak(profile, now, did);
    }

    fn gather(&mut self, profile: &Profile, seen: &Observation, now: Now) -> World {
        let facts = self.facts(profile, seen);
        let remotes = self.trust.remotes(now.wall, &facts);
        self.trust.remark(&remotes);
        let psks = self.psks(profile, &remotes);
        let wall = UnixSeconds(now.wall.0);
        let receiver = self.trust.receiver();
        let (granted, _) =
            advertise::granted(&profile.networks, &profile.id, receiver.clusterset());
        let others = receiver.clusterset().into_iter().flat_map(|set| &set.members);
        let others = others.filter(|(member, _)| **member != profile.id.member);
        let nets = |cidrs: &[sealane_api::cidr::Cidr]| -> BTreeSet<IpNetwork> {
            cidrs.iter().filter_map(|it| IpNetwork::new(it.address(), it.length()).ok()).collect()
        };
        let name = |member: &ClusterId| MemberId(member.as_str().to_owned());
        let spoke = &receiver.held().believed;
        let grants = others.clone().filter(|(member, _)| spoke.contains(*member));
        let tunnel = OwnTunnel { key: self.keys.wireguard(), slot: profile.slot };
        let probe = probe_address::of(&self.membership.clusterset(), &profile.id);
        World {
            me: Some(Me {
                member: name(&profile.id.member),
                node: NodeName(profile.id.gateway.as_str().to_owned()),
                role: Role::Gateway(OwnGateway { tunnel, probe, probe4: None }),
                networks: intake::networks(&granted),
            }),
            members: others.clone().map(|(member, _)| name(member)).collect(),
            grants: grants.map(|(member, entry)| (name(member), nets(&entry.cidrs))).collect(),
            psks,
            gateways: remotes
                .iter()
                .map(|it| (intake::gateway_id(&it.id), intake::remote_gateway(it, wall)))
                .collect(),
            lanes: self.lanes.health(now.at, now.wall.0),
            choices: self.choices.clone(),
            reserved: profile.reserved(),
            host: seen.facts.clone(),
            ..World::default()
        }
    }

    fn psks(
        &mut self,
        profile: &Profile,
        remotes: &[RemoteGateway],
    ) -> BTreeMap<LaneId, PskFingerprint> {
        let own = self.keys.wireguard();
        let ours = LaneEnd {
            wireguard: self.keys.tunnel.public().wireguard(),
            pair: self.keys.pair.public(),
            owner: &profile.id,
        };
        let id = self.membership.clusterset();
        let mut derived = BTreeMap::new();
        for remote in remotes {
            for tunnel in &remote.tunnels {
                let lane = LaneId { own, remote: PublicKey(tunnel.key.0) };
                let theirs =
                    LaneEnd { wireguard: tunnel.key, pair: tunnel.pair, owner: &remote.id };
                let known = self.derived.get(&lane).filter(|known| known.0 == tunnel.pair).copied();
                let print = known.map(|(_, print)| print).or_else(|| {
                    let psk = psk::derive(&id, &self.keys.pair, ours, theirs).ok()?;
                    Some(PskFingerprint(psk.fingerprint()))
                });
                derived.extend(print.map(|print| (lane, (tunnel.pair, print))));
            }
        }
        self.derived = derived;
        self.derived.iter().map(|(lane, (_, print))| (*lane, *print)).collect()
    }

    fn speak(&mut self, profile: &Profile, now: Now, did: &mut Did) {
        let Some(mtu) = self.plan.lane_mtu.filter(|_| self.trust.is_saved()) else { return };
        let list = self.trust.receiver().clusterset();
        let (networks, _) = advertise::granted(&profile.networks, &profile.id, list);
        let wish = Wish {
            networks,
            probe4: None,
            slot: profile.slot,
            second_slot: None,
            mtu: u16::try_from(mtu).unwrap_or(u16::MAX),
            candidates: profile.candidates.clone(),
        };
        let enrolment = self.membership.enrolment.clone();
        let signed = self.author.advertise(&self.keys, enrolment.as_ref(), wish, now.wall);
        match signed {
            Ok(spec) if self.word.as_ref() != Some(&spec) => {
                self.word = Some(spec.clone());
                did.signed = Some(spec);
                did.says = true;
            }
            Ok(_) => {}
            Err(error) => did.lines.push(format!("signs nothing: {error}")),
        }
    }
}
