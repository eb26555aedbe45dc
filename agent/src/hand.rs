//! Owns the standing repair of the host, on a thread of its own: look, compare with what is wanted,
//! change, look again. Does not know why anything is wanted.

mod pace;
mod peers;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sealane_kernel::host::Host;
use sealane_kernel::keyring::Keyring;
use sealane_kernel::netlink::relevance::HostEvent;
use sealane_state::change::Change;
use sealane_state::diff::diff;
use sealane_state::diff::peers::departures;
use sealane_state::facts::{Observation, PeerFacts, RoutingSnapshot};
use sealane_state::host::HostState;
use sealane_state::name::LinkName;
use sealane_state::sysctl::SysctlKey;
use sealane_state::wireguard::PublicKey;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::event::Event;
use crate::rival::Rivalry;
use pace::{Appointment, Pace, Rest};

/// What the host should be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    /// The host as it should be; `None` as long as nobody knows: nothing is changed then.
    pub host: Option<Arc<HostState>>,
    /// How often facts of peers are wanted; `None` while nobody asks for them.
    pub search: Option<Duration>,
}

/// What one pass found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pass {
    /// The host after the pass.
    pub seen: Arc<Observation>,
    /// What the pass aimed at; `None` if it only looked.
    pub wanted: Option<Arc<HostState>>,
    /// What was changed, as text.
    pub changed: Vec<String>,
    /// What could not be changed, as text with the cause.
    pub failed: Vec<String>,
    /// Changes that something else on this host undoes again and again, with how often it did.
    pub contested: BTreeMap<String, u32>,
    /// Why nobody tells of changes on this host; `None` while a monitor does.
    pub unmonitored: Option<String>,
}

impl Pass {
    /// One that has changed nothing.
    pub fn idle(seen: Observation, wanted: Option<Arc<HostState>>) -> Self {
        Self {
            seen: Arc::new(seen),
            wanted,
            changed: Vec::new(),
            failed: Vec::new(),
            contested: BTreeMap::new(),
            unmonitored: None,
        }
    }
}

/// What a look at the devices alone found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glance {
    /// What they say of their peers.
    pub peers: BTreeMap<LinkName, BTreeMap<PublicKey, PeerFacts>>,
    /// Peers that were given another address since the last one.
    pub edited: usize,
}

/// What a packet meets on its way through a host.
pub struct Terrain {
    /// All rules and routes.
    pub routing: RoutingSnapshot,
    /// All nftables tables in libnftables' JSON; `None` when they could not be read.
    pub ruleset: Option<String>,
}

/// A question that only a look at the host answers.
pub type Errand = oneshot::Sender<Result<Arc<Terrain>, String>>;

/// What the hand is connected to.
pub struct Strings {
    /// Secrets for devices.
    pub keys: Arc<dyn Keyring + Send + Sync>,
    /// What the host should be.
    pub wish: watch::Receiver<Wish>,
    /// Questions about routing.
    pub errands: mpsc::Receiver<Errand>,
    /// Where passes are told.
    pub events: mpsc::Sender<Event>,
}

/// Takes charge of a host until nobody listens any more.
///
/// # Errors
/// Those of the system when no thread can be started.
pub fn take_charge(host: Host, strings: Strings) -> std::io::Result<()> {
    let runtime = Handle::current();
    std::thread::Builder::new().name("hand".to_owned()).spawn(move || {
        let mut hand = Hand {
            host,
            strings,
            survey: None,
            calls: Err("not listened for yet".to_owned()),
            aim: None,
            known: Vec::new(),
            edited: 0,
            endpoints: Endpoints::new(),
            rivalry: Rivalry::default(),
        };
        runtime.block_on(hand.keep());
    })?;
    Ok(())
}

struct Hand {
    host: Host,
    strings: Strings,
    survey: Option<Survey>,
    /// What the monitor tells, or why there is none.
    calls: Result<mpsc::Receiver<HostEvent>, String>,
    /// What the host was last brought in line with.
    aim: Option<Arc<HostState>>,
    /// What its devices lacked all the same.
    known: Vec<Change>,
    /// Peers edited since that was last told.
    edited: usize,
    /// Where peers were when that was last told.
    endpoints: Endpoints,
    rivalry: Rivalry,
}

/// The last look at rules, routes and tables that somebody asked for.
struct Survey {
    terrain: Result<Arc<Terrain>, String>,
    until: Instant,
}

impl Survey {
    /// One that took so long and ends now; it serves whoever asks soon after, so that questions, which
    /// other members may ask, take no more than a share of this thread.
    fn ended(terrain: Result<Terrain, String>, now: Instant, took: Duration) -> Self {
        Self { terrain: terrain.map(Arc::new), until: now + pace::rest(took) }
    }

    fn serves(&self, now: Instant) -> bool {
        now < self.until
    }
}

/// Where peers are, by link and key.
type Endpoints = BTreeMap<(LinkName, PublicKey), SocketAddr>;

/// Nobody listens any more.
struct Unheard;

/// Settings that a trace needs to know, wanted or not.
fn forwarding() -> [SysctlKey; 2] {
    [
        SysctlKey::new(["net", "ipv4", "ip_forward"]),
        SysctlKey::new(["net", "ipv6", "conf", "all", "forwarding"]),
    ]
}

impl Hand {
    async fn keep(&mut self) {
        let mut pace = Pace::default();
        loop {
            let began = Instant::now();
            self.listen();
            let (event, rest) = match self.pass() {
                Ok((pass, rest)) => (Event::Host(pass), rest),
                Err(cause) => (Event::HostUnseen(cause), Rest::Hopeful),
            };
            let now = Instant::now();
            let rested = pace::rest(now - began).max(self.rivalry.wait(now));
            let next = Appointment::after(now, rested, pace.wait(rest));
            if self.strings.events.send(event).await.is_err() {
                return;
            }
            if self.until_called(next).await.is_err() {
                return;
            }
        }
    }

    /// Starts the monitor where none runs; without one, the patrol alone has to do.
    fn listen(&mut self) {
        if self.calls.is_err() {
            self.calls = self.host.events().map_err(|refusal| refusal.to_string());
        }
    }

    /// Looks, changes what differs, and looks again if anything was changed.
    fn pass(&mut self) -> Result<(Pass, Rest), String> {
        let wanted = self.strings.wish.borrow_and_update().host.clone();
        let parted = wanted.as_ref().map(|host| self.part(host)).unwrap_or_default();
        let wished = wanted.iter().flat_map(|host| host.sysctls.keys().cloned());
        let settings: BTreeSet<SysctlKey> = wished.chain(forwarding()).collect();
        let seen = self.host.observe(&settings).map_err(|error| error.to_string())?;
        let changes = wanted.as_ref().map(|host| diff(host, &seen.ours)).unwrap_or_default();
        let mut pass = Pass::idle(seen, wanted.clone());
        pass.unmonitored = self.calls.as_ref().err().cloned();
        pass.changed = parted.iter().chain(&changes).map(ToString::to_string).collect();
        let mut rest = Rest::Nothing;
        if !changes.is_empty() {
            let outcome = self.host.apply(&changes, self.strings.keys.as_ref());
            rest = Rest::of(outcome.errors.iter().map(|error| error.retry), outcome.applied);
            pass.failed = outcome.errors.iter().map(ToString::to_string).collect();
            if let Some(wanted) = wanted.as_ref().filter(|_| pass.failed.is_empty()) {
                self.rivalry.made(Instant::now(), wanted, &pass.changed);
            }
            pass.seen = Arc::new(self.host.observe(&settings).map_err(|error| error.to_string())?);
        }
        pass.contested = self.rivalry.contested(Instant::now());
        let lacking = |host: &Arc<HostState>| peers::lacking(host, pass.seen.ours.devices.clone());
        self.known = wanted.as_ref().map(lacking).unwrap_or_default();
        self.aim = wanted;
        self.endpoints = endpoints(&pass.seen.facts.peers);
        Ok((pass, rest))
    }

    /// Cuts the peers that a new wish leaves out: who is revoked does not wait for a look at the host,
    /// which other programs may hold up. Returns what was done; what was refused, the look shows.
    fn part(&mut self, wanted: &HostState) -> Vec<Change> {
        let Some(aim) = &self.aim else { return Vec::new() };
        let mut steps = departures(wanted, aim);
        if !steps.is_empty() {
            let outcome = self.host.apply(&steps, self.strings.keys.as_ref());
            if !outcome.errors.is_empty() {
                steps.clear();
            }
        }
        steps
    }

    /// Carries out a new wish that is about the addresses of peers alone: no look at the host is needed
    /// for that. Returns whether that was all there was to do.
    fn edit(&mut self) -> bool {
        let wanted = self.strings.wish.borrow_and_update().host.clone();
        let Some(wanted) = wanted else { return true };
        let Some(aim) = &self.aim else { return false };
        let Some(steps) = peers::edits(&wanted, aim) else { return false };
        for step in &steps {
            tracing::debug!(change = %step, "peer edited");
        }
        let outcome = self.host.apply(&steps, self.strings.keys.as_ref());
        self.edited += outcome.applied;
        self.aim = Some(wanted);
        outcome.errors.is_empty()
    }

    /// Looks at the devices alone; returns whether they lack what they did not lack before. Tells what
    /// they say of their peers if somebody asks, and where a peer has moved: a tunnel that is made anew is
    /// told that.
    async fn glance(&mut self) -> Result<bool, Unheard> {
        let Some(aim) = self.aim.clone() else { return Ok(false) };
        let (devices, peers) = self.host.devices(aim.devices.keys());
        let lacks = peers::lacking(&aim, devices);
        let has_strayed = lacks.iter().any(|step| !self.known.contains(step));
        let before = std::mem::replace(&mut self.endpoints, endpoints(&peers));
        let has_moved = before != self.endpoints;
        if self.strings.wish.borrow().search.is_some() || self.edited > 0 || has_moved {
            let glance = Glance { peers, edited: std::mem::take(&mut self.edited) };
            self.strings.events.send(Event::Glance(glance)).await.map_err(|_| Unheard)?;
        }
        Ok(has_strayed)
    }

    /// Looks at what packets meet, or recalls a look of a moment ago.
    fn survey(&mut self) -> Result<Arc<Terrain>, String> {
        let began = Instant::now();
        if let Some(survey) = self.survey.as_ref().filter(|survey| survey.serves(began)) {
            return survey.terrain.clone();
        }
        let routing = self.host.routing().map_err(|refusal| refusal.to_string());
        let ruleset = self.host.ruleset().ok();
        let terrain = routing.map(|routing| Terrain { routing, ruleset });
        let survey = Survey::ended(terrain, Instant::now(), began.elapsed());
        self.survey.insert(survey).terrain.clone()
    }

    /// Waits for a reason to look: a wish that an edit does not fulfil, a change on the host once the
    /// hand has rested, or the time of the appointment.
    async fn until_called(&mut self, mut next: Appointment) -> Result<(), Unheard> {
        let has_devices = self.aim.as_ref().is_some_and(|aim| !aim.devices.is_empty());
        let search = self.strings.wish.borrow().search;
        let mut glance = Instant::now() + pace::next_glance(Duration::ZERO, search);
        loop {
            tokio::select! {
                // An agent that ends lets go of the wish first: no timer is asked after its end.
                biased;
                changed = self.strings.wish.changed() => {
                    changed.map_err(|_| Unheard)?;
                    if !self.edit() {
                        return Ok(());
                    }
                    let search = self.strings.wish.borrow().search;
                    glance = glance.min(Instant::now() + pace::next_glance(Duration::ZERO, search));
                }
                // Before any question: whoever asks without end does not stop the repair.
                () = tokio::time::sleep_until(next.due) => return Ok(()),
                () = tokio::time::sleep_until(glance), if has_devices => {
                    let began = Instant::now();
                    if self.glance().await? {
                        next.hasten(Instant::now());
                    }
                    let search = self.strings.wish.borrow().search;
                    glance = Instant::now() + pace::next_glance(began.elapsed(), search);
                }
                errand = self.strings.errands.recv() => {
                    let errand = errand.ok_or(Unheard)?;
                    // Who asked may have stopped waiting.
                    let _ = errand.send(self.survey());
                }
                call = heard(&mut self.calls) => match call {
                    Some(_) => next.hasten(Instant::now()),
                    // The next look begins with another one.
                    None => self.calls = Err("the monitor has ended".to_owned()),
                },
            }
        }
    }
}

fn endpoints(peers: &BTreeMap<LinkName, BTreeMap<PublicKey, PeerFacts>>) -> Endpoints {
    let all = peers.iter().flat_map(|(link, peers)| {
        peers.iter().filter_map(move |(key, facts)| Some(((link.clone(), *key), facts.endpoint?)))
    });
    all.collect()
}

/// Waits for what the monitor tells; for ever where there is none.
async fn heard(calls: &mut Result<mpsc::Receiver<HostEvent>, String>) -> Option<HostEvent> {
    match calls {
        Ok(calls) => calls.recv().await,
        Err(_) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_cost_no_more_than_a_quarter_of_a_core_however_many_come() {
        let now = Instant::now();
        let survey = Survey::ended(Err("any".to_owned()), now, Duration::from_millis(250));
        assert!(survey.serves(now + Duration::from_millis(749)));
        assert!(!survey.serves(now + Duration::from_millis(750)), "it is not believed for ever");
    }
}
