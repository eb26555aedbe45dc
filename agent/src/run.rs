//! Owns the one loop: events change facts, facts make a plan, the plan goes to the hand, the probes
//! and the broker. Makes no decision; whatever it calls is pure or a channel.

mod belief;
mod by_hand;
pub mod gateways;
mod rotation;
mod gossip;
pub mod healing;
mod speech;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sealane_api::time::UnixTime;
use sealane_broker::publish::PublishError;
use sealane_broker::store::Store;
use sealane_plan::name::UnixSeconds;
use sealane_plan::plan::{Plan, plan};
use sealane_plan::world::World;
use sealane_state::facts::Observation;
use sealane_state::wireguard::PublicKey;
use tokio::sync::{mpsc, watch};

use crate::clock::{Clock, Wall};
use crate::config::Config;
use crate::departure::Departure;
use crate::early::Early;
use crate::endpoints::Endpoints;
use crate::event::Event;
use crate::facts;
use crate::gossip::Gossip;
use crate::hand::{Errand, Glance, Pass, Wish};
use crate::keys::Ring;
use crate::left;
use crate::metrics::Metrics;
use crate::notify;
use crate::paths::Paths;
use crate::paths::lanes::TunnelFacts;
use crate::paths::watched::News;
use crate::pings::Pings;
use crate::resolver;
use crate::run::healing::Healing;
use crate::session::{Session, SessionError};
use crate::spacing::Spacing;
use crate::traces::Patience;
use crate::vigil::Vigil;

/// Time passes for what is believed this often.
const TICK: Duration = Duration::from_secs(1);
/// Least time between two writes of what is believed: what comes meanwhile is one write.
const BETWEEN_WRITES: Duration = Duration::from_millis(200);
/// Least time between two times that the broker is dialled anew for an address that is gone.
const BETWEEN_REDIALS: Duration = Duration::from_secs(5);
/// Events taken before timers and the plan have their turn.
const AT_ONCE: usize = 256;
/// Time spent on events before timers and the plan have their turn.
const LONGEST_BURST: Duration = Duration::from_millis(10);

/// The agent.
pub struct Agent {
    /// Settings.
    pub config: Config,
    /// Where state is kept.
    pub store: Store,
    /// The membership at work; `None` before joining and after leaving.
    pub session: Option<Session>,
    /// The host as last seen.
    pub seen: Option<Arc<Observation>>,
    /// The facts of the last plan.
    pub world: World,
    /// The last plan.
    pub plan: Plan,
    /// Lanes and legs.
    pub paths: Paths,
    /// Pings under way.
    pub pings: Pings,
    /// What peers and this host tell each other.
    pub gossip: Gossip,
    /// What the last pass could not change, as text.
    pub failures: Vec<String>,
    /// What something else on this host undoes again and again, with how often it did.
    pub contested: BTreeMap<String, u32>,
    /// Why the host could not be looked at, the last time it could not.
    pub unseen: Option<String>,
    /// How long nothing was heard of the hand.
    pub vigil: Vigil,
    /// Why nobody tells of changes on this host, while nobody does.
    pub unmonitored: Option<String>,
    /// Why the broker last refused our word.
    pub unsaid: Option<PublishError>,
    /// How the list on the broker stands to the one in force.
    pub healing: Healing,
    /// Why nothing was signed.
    pub unsigned: Option<String>,
    /// When other agents asked last.
    pub patience: Patience,
    /// Leaving, while it lasts.
    pub departure: Option<Departure>,
    /// Secrets lent to the host.
    pub ring: Arc<Ring>,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// Errands for the hand.
    pub errands: mpsc::Sender<Errand>,
    /// The way back into the loop.
    pub events: mpsc::Sender<Event>,
    /// The wall clock.
    pub wall: Wall,
    /// What the broker told before the host was first seen.
    early: Early,
    clock: Clock,
    wish: watch::Sender<Wish>,
    writes: Spacing,
    redials: Spacing,
    endpoints: Endpoints,
    stale: bool,
    is_ready: bool,
}

/// What an agent is connected to.
pub struct Connections {
    /// The host as it should be.
    pub wish: watch::Sender<Wish>,
    /// Errands for the hand.
    pub errands: mpsc::Sender<Errand>,
    /// The way into the loop.
    pub events: mpsc::Sender<Event>,
    /// Secrets lent to the host.
    pub ring: Arc<Ring>,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// The wall clock.
    pub wall: Wall,
}

impl Agent {
    /// Makes an agent that resumes what is on disk.
    ///
    /// # Errors
    /// [`SessionError`] when something on disk cannot be used.
    pub fn new(
        config: Config,
        store: Store,
        connections: Connections,
    ) -> Result<Self, SessionError> {
        let Connections { wish, errands, events, ring, metrics, wall } = connections;
        let now = UnixTime(wall.now());
        let session = Session::resume(&store, &config, &ring, &events, now)?;
        let endpoints = Endpoints::load(store.clone());
        Ok(Self {
            paths: Paths::new(events.clone()).recalling(endpoints.known().clone()),
            config,
            store,
            session,
            seen: None,
            world: World::default(),
            plan: Plan::default(),
            pings: Pings::default(),
            gossip: Gossip::default(),
            failures: Vec::new(),
            contested: BTreeMap::new(),
            unseen: None,
            vigil: Vigil::from(Instant::now()),
            unmonitored: None,
            unsaid: None,
            healing: Healing::default(),
            unsigned: None,
            patience: Patience::default(),
            departure: None,
            ring,
            metrics,
            errands,
            events,
            early: Early::default(),
            clock: Clock::at(Instant::now(), now.0),
            wall,
            wish,
            writes: Spacing::of(BETWEEN_WRITES),
            redials: Spacing::of(BETWEEN_REDIALS),
            endpoints,
            stale: true,
            is_ready: false,
        })
    }

    /// Turns until a signal to stop; the host is left as it is.
    pub async fn run(mut self, mut inbox: mpsc::Receiver<Event>) {
        let mut next_tick = Instant::now() + TICK;
        let watchdog = notify::watchdog_period().unwrap_or(TICK);
        let mut next_sign = Instant::now() + watchdog;
        loop {
            let wake = self.paths.next_wake().min(next_tick).min(next_sign);
            let wake = self.pings.next_wake().map_or(wake, |due| due.min(wake));
            let wake = self.gossip.next_wake().map_or(wake, |due| due.min(wake));
            let wake = self.next_write().map_or(wake, |due| due.min(wake));
            tokio::select! {
                event = inbox.recv() => {
                    let Some(event) = event else { return };
                    if !self.take_burst(event, &mut inbox) {
                        notify::stopping();
                        return;
                    }
                }
                () = tokio::time::sleep_until(wake.into()) => {}
            }
            let news = self.paths.poll();
            self.heed(news);
            self.pings.poll(&self.paths);
            if Instant::now() >= next_tick {
                next_tick = Instant::now() + TICK;
                self.tick();
            }
            if Instant::now() >= next_sign {
                next_sign = Instant::now() + watchdog;
                self.sign_of_life();
            }
            self.keep_belief();
            self.gossip();
            if self.stale {
                self.replan();
            }
            self.depart();
        }
    }

    /// Feeds the watchdog, as long as the hand is heard of: a new start is all that helps one that hangs.
    fn sign_of_life(&mut self) {
        let now = Instant::now();
        if let Some(silence) = self.vigil.new_silence(now) {
            let seconds = silence.as_secs();
            tracing::error!(seconds, "nothing on this host is looked at or repaired any more");
        }
        match self.vigil.silence(now) {
            None => notify::alive(&self.one_line()),
            Some(_) => notify::ailing(&self.one_line()),
        }
    }

    /// Takes an event and those right behind it; `false` when told to stop.
    fn take_burst(&mut self, first: Event, inbox: &mut mpsc::Receiver<Event>) -> bool {
        let until = Instant::now() + LONGEST_BURST;
        let mut event = first;
        for left in (0..AT_ONCE).rev() {
            if matches!(event, Event::Stop) {
                return false;
            }
            self.take(event);
            if left == 0 || Instant::now() >= until {
                break;
            }
            match inbox.try_recv() {
                Ok(next) => event = next,
                Err(_) => break,
            }
        }
        true
    }

    fn take(&mut self, event: Event) {
        if matches!(event, Event::Host(_) | Event::HostUnseen(_)) {
            self.vigil.heard(Instant::now());
        }
        match event {
            Event::Host(pass) => self.take_pass(pass),
            Event::HostUnseen(cause) => {
                if self.unseen.as_ref() != Some(&cause) {
                    tracing::warn!(%cause, "host not seen");
                }
                self.unseen = Some(cause);
            }
            Event::Glance(glance) => self.take_glance(glance),
            Event::Board(event) => self.take_board(event),
            Event::Published { name, spec, result } => self.take_published(&name, &spec, result),
            Event::Datagram(datagram) => {
                if !self.pings.received(&datagram) {
                    let news = self.paths.received(&datagram);
                    self.heed(news);
                }
            }
            Event::Told(told) => self.take_told(told),
            Event::Inquiry(inquiry) => self.answer_inquiry(inquiry),
            Event::Ask(ask) => self.answer(ask),
            Event::Mended(result) => self.take_mended(result),
            Event::Withdrawn(result) => self.take_withdrawn(result),
            Event::Stop => {}
        }
    }

    fn take_pass(&mut self, pass: Pass) {
        for line in &pass.changed {
            tracing::debug!(change = %line, "host changed");
        }
        for line in pass.failed.iter().filter(|line| !self.failures.contains(line)) {
            tracing::warn!(change = %line, "host refused a change");
        }
        let (steps, failed) = (pass.changed.len(), pass.failed.len());
        // What this host refuses is tried for ever, and told once.
        if steps > failed {
            tracing::info!(steps, failed, "host brought in line");
        }
        self.metrics.count_pass(steps.saturating_sub(failed), failed);
        self.failures = pass.failed;
        for (change, times) in &pass.contested {
            if !self.contested.contains_key(change) {
                tracing::warn!(%change, times, "something else on this host undoes a change");
            }
        }
        self.contested = pass.contested;
        self.unseen = None;
        self.unmonitored = pass.unmonitored;
        let facts_changed = self.seen.as_ref().is_none_or(|seen| !is_same_ground(seen, &pass.seen))
            | self.session.as_mut().is_some_and(|it| it.resolves_by(resolver::configured()));
        self.redial_after(&pass.seen);
        self.seen = Some(pass.seen.clone());
        self.paths.follow(&self.plan, &pass.seen);
        let news = self.paths.tunnels_reported(&pass.seen.facts.peers, self.wall.now());
        self.heed(news);
        // Which of a gateway's two keys it uses is told by its handshakes alone.
        self.stale |= self.world.gateways.values().any(|gateway| gateway.tunnels.len() > 1);
        if facts_changed {
            self.stale = true;
            self.reconsider();
        }
        for event in self.early.take() {
            self.take_board(event);
        }
        if pass.wanted.is_some() && !self.is_ready {
            self.is_ready = true;
            notify::ready(&self.one_line());
        }
    }

    fn take_glance(&mut self, glance: Glance) {
        self.metrics.count_pass(glance.edited, 0);
        let news = self.paths.tunnels_reported(&glance.peers, self.wall.now());
        self.heed(news);
        let Some(seen) = &mut self.seen else { return };
        let seen = Arc::make_mut(seen);
        let before = std::mem::replace(&mut seen.facts.peers, glance.peers);
        let handshake = |peers: &TunnelFacts, key: &PublicKey| {
            peers.values().filter_map(|peers| peers.get(key)?.counters.last_handshake).max()
        };
        // Which of a gateway's two keys it uses is told by its handshakes alone.
        let two = self.world.gateways.values().filter(|gateway| gateway.tunnels.len() > 1);
        self.stale |= two.flat_map(|gateway| &gateway.tunnels).any(|tunnel| {
            handshake(&before, &tunnel.key) != handshake(&seen.facts.peers, &tunnel.key)
        });
        if self.wish.borrow().search != self.paths.search() {
            self.set_wish();
        }
    }

    /// Takes what changed of paths.
    fn heed(&mut self, news: News) {
        match news {
            News::Nothing => {}
            News::Advice => {
                self.paths.advise(&mut self.plan);
                self.set_wish();
            }
            News::Verdict => self.stale = true,
        }
    }

    fn tick(&mut self) {
        let now = self.now();
        if let (Some(session), Some(seen)) = (&mut self.session, &self.seen) {
            let facts = facts::local(session, &self.config, seen);
            let outcome = session.trust.tick(now, &facts);
            self.note(outcome);
        }
        if self.clock.was_set(Instant::now(), now.0) {
            tracing::warn!(unix_seconds = now.0, "wall clock was set; everything is judged anew");
            self.reconsider();
        }
        let due = self.plan.wake_at.is_some_and(|at| at <= UnixSeconds(now.0));
        self.stale |= due;
        self.follow_listed_identity();
        self.rotate_on();
        if self.session.is_some() {
            self.endpoints.keep(Instant::now(), self.paths.endpoints());
        }
        self.set_wish();
        self.speak();
        self.heal_board();
        self.show_metrics();
    }

    /// Forgets what was told about the membership that was; the next begins without it.
    pub fn forget_session(&mut self) {
        self.session = None;
        self.early = Early::default();
        self.gossip = Gossip::default();
        self.paths.fall_silent();
        self.endpoints = Endpoints::none(self.store.clone());
        self.unsaid = None;
        self.healing = Healing::default();
        self.unsigned = None;
    }

    /// Gathers the facts, makes the plan, and hands it on.
    fn replan(&mut self) {
        let Some(seen) = self.seen.clone() else { return };
        self.stale = false;
        let started = Instant::now();
        let now = UnixSeconds(self.wall.now());
        if let Some(keys) = self.session.as_ref().and_then(|session| session.keys.as_ref()) {
            self.paths.go_by(keys.wireguard());
        }
        self.world = match &mut self.session {
            Some(session) if self.departure.as_ref().is_none_or(Departure::is_at_work) => {
                facts::world(session, &self.config, &seen, &self.paths, now)
            }
            _ => World::default(),
        };
        self.plan = plan(&self.world, now);
        self.metrics.time_plan(started.elapsed());
        if let Some(session) = &mut self.session {
            session.choices.clone_from(&self.plan.choices);
        }
        self.paths.follow(&self.plan, &seen);
        self.set_wish();
        self.speak();
    }

    fn set_wish(&self) {
        if self.seen.is_none() {
            return;
        }
        let search = self.paths.search();
        self.wish.send_if_modified(|wish| {
            let same = wish.host.as_deref() == Some(&self.plan.host) && wish.search == search;
            if !same {
                *wish = Wish { host: Some(Arc::new(self.plan.host.clone())), search };
            }
            !same
        });
    }

    /// Says whether a configured token is to be used: this host is no member, and did not leave.
    pub fn joins_by_itself(&self) -> bool {
        self.session.is_none() && !left::is_marked(&self.store)
    }

    /// Returns the time of day.
    pub fn now(&self) -> UnixTime {
        UnixTime(self.wall.now())
    }

    /// Has the plan made anew at the end of this turn.
    pub fn mark_stale(&mut self) {
        self.stale = true;
    }
}

/// Says whether nothing differs that a plan or a judgement is made from.
fn is_same_ground(one: &Observation, other: &Observation) -> bool {
    let (one, other) = (&one.facts, &other.facts);
    one.links == other.links
        && one.routes == other.routes
        && one.backends == other.backends
        && one.families == other.families
}
