//! Owns the one loop: events change facts, facts make a plan, the plan goes to the hand, the probes
//! and the broker. Makes no decision; whatever it calls is pure or a channel.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sealane_api::time::UnixTime;
use sealane_broker::board::{BoardEvent, Kind};
use sealane_broker::store::Store;
use sealane_plan::name::UnixSeconds;
use sealane_plan::plan::{Plan, plan};
use sealane_plan::world::World;
use sealane_state::facts::Observation;
use tokio::sync::{mpsc, watch};

use crate::clock::Clock;
use crate::config::Config;
use crate::departure::Departure;
use crate::early::Early;
use crate::event::Event;
use crate::facts;
use crate::hand::{Errand, Pass, Wish};
use crate::keys::Ring;
use crate::metrics::Metrics;
use crate::notify;
use crate::paths::Paths;
use crate::pings::Pings;
use crate::resolver;
use crate::session::{Session, SessionError};
use crate::traces::Patience;
use crate::trust::Outcome;
use crate::word;

/// Time passes for what is believed this often.
const TICK: Duration = Duration::from_secs(1);
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
    /// What the last pass could not change, as text.
    pub failures: Vec<String>,
    /// Why the host could not be looked at, the last time it could not.
    pub unseen: Option<String>,
    /// Why the broker last refused our word.
    pub unsaid: Option<String>,
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
    /// What the broker told before the host was first seen.
    early: Early,
    clock: Clock,
    wish: watch::Sender<Wish>,
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
        let Connections { wish, errands, events, ring, metrics } = connections;
        let session = Session::resume(&store, &config, &ring, &events, UnixTime(unix_now()))?;
        Ok(Self {
            paths: Paths::new(events.clone()),
            config,
            store,
            session,
            seen: None,
            world: World::default(),
            plan: Plan::default(),
            pings: Pings::default(),
            failures: Vec::new(),
            unseen: None,
            unsaid: None,
            unsigned: None,
            patience: Patience::default(),
            departure: None,
            ring,
            metrics,
            errands,
            events,
            early: Early::default(),
            clock: Clock::at(Instant::now(), unix_now()),
            wish,
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
            self.stale |= self.paths.poll();
            self.pings.poll(&self.paths);
            if Instant::now() >= next_tick {
                next_tick = Instant::now() + TICK;
                self.tick();
            }
            if Instant::now() >= next_sign {
                next_sign = Instant::now() + watchdog;
                notify::alive(&self.one_line());
            }
            if self.stale {
                self.replan();
            }
            self.depart();
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
        match event {
            Event::Host(pass) => self.take_pass(pass),
            Event::HostUnseen(cause) => {
                if self.unseen.as_ref() != Some(&cause) {
                    tracing::warn!(%cause, "host not seen");
                }
                self.unseen = Some(cause);
            }
            Event::Board(event) => self.take_board(event),
            Event::Published(result) => self.take_published(result),
            Event::Datagram(datagram) => {
                if !self.pings.received(&datagram) {
                    self.stale |= self.paths.received(&datagram);
                }
            }
            Event::Inquiry(inquiry) => self.answer_inquiry(inquiry),
            Event::Ask(ask) => self.answer(ask),
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
        self.unseen = None;
        let facts_changed = self.seen.as_ref().is_none_or(|seen| !is_same_ground(seen, &pass.seen))
            | self.session.as_mut().is_some_and(|it| it.resolves_by(resolver::configured()));
        self.seen = Some(pass.seen.clone());
        self.paths.follow(&self.plan, &pass.seen);
        self.stale |= self.paths.tunnels_reported(&pass.seen, unix_now());
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

    fn take_board(&mut self, event: BoardEvent) {
        let now = UnixTime(unix_now());
        let Some(session) = &mut self.session else { return };
        session.line.note(&event, now.0);
        let Some(seen) = &self.seen else {
            // Nothing is judged before the host is known; it is kept until then.
            return self.early.keep(event);
        };
        let facts = facts::local(session, &self.config, seen);
        let own = session.own.to_string();
        let outcome = match event {
            BoardEvent::Listed(kind, objects) => {
                if kind == Kind::Advertisement {
                    session.line.say_again();
                }
                session.trust.listed(kind, objects, now, &facts)
            }
            BoardEvent::Written(kind, object) => {
                if object.name == own {
                    session.line.say_again();
                }
                session.trust.written(kind, object, now, &facts)
            }
            BoardEvent::Gone(kind, name) => {
                session.trust.gone(kind, &name);
                if name == own {
                    session.line.say_again();
                }
                Outcome::default()
            }
            BoardEvent::Reachable(_) | BoardEvent::Unreachable { .. } => Outcome::default(),
        };
        self.note(outcome);
    }

    fn take_published(&mut self, result: Result<(), sealane_broker::publish::PublishError>) {
        let Some(session) = &mut self.session else { return };
        if result.is_ok() {
            session.line.state.taken = Some(unix_now());
        }
        let unsaid = result.err().map(|error| error.to_string());
        if let Some(cause) = unsaid.as_ref().filter(|cause| self.unsaid.as_ref() != Some(cause)) {
            tracing::warn!(%cause, "advertisement not on the broker");
        }
        self.unsaid = unsaid;
    }

    fn tick(&mut self) {
        let now = UnixTime(unix_now());
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
        self.set_wish();
        self.speak();
        self.show_metrics();
    }

    fn reconsider(&mut self) {
        if let (Some(session), Some(seen)) = (&mut self.session, &self.seen) {
            let facts = facts::local(session, &self.config, seen);
            let outcome = session.trust.reconsider(UnixTime(unix_now()), &facts);
            self.note(outcome);
        }
    }

    fn note(&mut self, outcome: Outcome) {
        for (kind, rejected) in outcome.refused {
            self.metrics.count_rejection(crate::report::kind_name(kind), rejected.reason.as_str());
        }
        self.stale |= outcome.changed;
        let Some(session) = &mut self.session else { return };
        if let Some(own) = outcome.own
            && let Some(author) = &mut session.author
        {
            author.met(&own);
        }
        // A leave has its own line to the brokers that it began with.
        if outcome.changed && self.departure.is_none() {
            session.follow_listed_brokers();
        }
    }

    /// Forgets what was told about the membership that was; the next begins without it.
    pub fn forget_session(&mut self) {
        self.session = None;
        self.early = Early::default();
        self.unsaid = None;
        self.unsigned = None;
    }

    /// Gathers the facts, makes the plan, and hands it on.
    fn replan(&mut self) {
        let Some(seen) = self.seen.clone() else { return };
        self.stale = false;
        let started = Instant::now();
        let now = UnixSeconds(unix_now());
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
        let patrol = self.paths.patrol();
        self.wish.send_if_modified(|wish| {
            let same = wish.host.as_deref() == Some(&self.plan.host) && wish.patrol == patrol;
            if !same {
                *wish = Wish { host: Some(Arc::new(self.plan.host.clone())), patrol };
            }
            !same
        });
    }

    /// Has the broker hold what this gateway has to say.
    fn speak(&mut self) {
        let (Some(session), Some(seen)) = (&mut self.session, &self.seen) else { return };
        if self.departure.is_some() || !session.trust.is_saved() {
            return;
        }
        let Some(mtu) = self.plan.lane_mtu else { return };
        let wish = word::wish(session, &self.config, seen, mtu);
        match word::advertise(session, wish, UnixTime(unix_now())) {
            Ok(Some(spec)) => {
                session.line.say(&session.own, spec);
                self.unsigned = None;
            }
            Ok(None) => {}
            Err(error) => {
                let cause = error.to_string();
                if self.unsigned.as_ref() != Some(&cause) {
                    tracing::warn!(%cause, "advertisement not signed");
                }
                self.unsigned = Some(cause);
            }
        }
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

/// Returns the wall clock in Unix seconds; 0 before 1970.
pub fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_secs()).unwrap_or(0)
}
