//! Owns the standing repair of the host, on a thread of its own: look, compare with what is wanted,
//! change, look again. Does not know why anything is wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use sealane_kernel::host::Host;
use sealane_kernel::keyring::Keyring;
use sealane_kernel::netlink::relevance::HostEvent;
use sealane_state::diff::diff;
use sealane_state::facts::{Observation, RoutingSnapshot};
use sealane_state::host::HostState;
use sealane_state::name::LinkName;
use sealane_state::sysctl::SysctlKey;
use sealane_state::wireguard::Device;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::event::Event;
use crate::rival::Rivalry;

/// Changes come in bursts; a burst is looked at once.
const BURST: Duration = Duration::from_millis(20);
/// First wait after a change that was refused; doubled up to [`LONGEST_RETRY`].
const RETRY: Duration = Duration::from_millis(250);
/// No monitor tells what is done to WireGuard peers: the devices are compared this often.
const GLANCE: Duration = Duration::from_millis(400);
/// A glance is not repeated before this many times as long as it took: it costs a twentieth of a core
/// at most.
const GLANCE_REST: u32 = 20;
/// After a pass the hand rests this many times as long as the pass took, whatever happens on the
/// host: a host that never comes to rest does not cost more than a share of a core.
const REST: u32 = 3;
/// Longest wait after a change that was refused.
const LONGEST_RETRY: Duration = Duration::from_secs(10);

/// What the host should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The host as it should be; `None` as long as nobody knows: nothing is changed then.
    pub host: Option<Arc<HostState>>,
    /// A look at the host is due after this long without a reason: for what no monitor tells.
    pub patrol: Duration,
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
}

impl Pass {
    /// One that has changed nothing.
    pub fn idle(seen: Observation, wanted: Option<Arc<HostState>>) -> Self {
        let (changed, failed, contested) = (Vec::new(), Vec::new(), BTreeMap::new());
        Self { seen: Arc::new(seen), wanted, changed, failed, contested }
    }
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
        let (devices, rivalry) = (BTreeMap::new(), Rivalry::default());
        let mut hand = Hand { host, strings, survey: None, devices, rivalry };
        runtime.block_on(hand.keep());
    })?;
    Ok(())
}

struct Hand {
    host: Host,
    strings: Strings,
    survey: Option<Survey>,
    /// Devices as the last pass left them.
    devices: BTreeMap<LinkName, Device>,
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
        Self { terrain: terrain.map(Arc::new), until: now + Pace::rest(took) }
    }

    fn serves(&self, now: Instant) -> bool {
        now < self.until
    }
}

/// Nobody listens any more.
struct Unheard;

/// How long the hand waits after a pass.
#[derive(Debug, Default)]
struct Pace {
    failures: u32,
}

impl Pace {
    /// Takes the end of a pass; returns the longest wait for the next.
    fn wait(&mut self, failed: bool, patrol: Duration) -> Duration {
        self.failures = if failed { self.failures.saturating_add(1) } else { 0 };
        match self.failures {
            0 => patrol,
            some => (RETRY * 2u32.pow(some.min(6) - 1)).min(LONGEST_RETRY).min(patrol.max(RETRY)),
        }
    }

    /// Returns how long a change on the host is not looked at after a pass that took so long.
    fn rest(took: Duration) -> Duration {
        took * REST
    }
}

/// Settings that a trace needs to know, wanted or not.
fn forwarding() -> [SysctlKey; 2] {
    [
        SysctlKey::new(["net", "ipv4", "ip_forward"]),
        SysctlKey::new(["net", "ipv6", "conf", "all", "forwarding"]),
    ]
}

impl Hand {
    async fn keep(&mut self) {
        let mut calls = self.listen().await;
        let mut pace = Pace::default();
        loop {
            let began = Instant::now();
            let (event, failed) = match self.pass() {
                Ok(pass) => {
                    self.devices.clone_from(&pass.seen.ours.devices);
                    let failed = !pass.failed.is_empty();
                    (Event::Host(pass), failed)
                }
                Err(cause) => (Event::HostUnseen(cause), true),
            };
            let now = Instant::now();
            let rested = now + Pace::rest(began.elapsed()).max(self.rivalry.wait(now));
            if self.strings.events.send(event).await.is_err() {
                return;
            }
            let wait = pace.wait(failed, self.strings.wish.borrow().patrol);
            if self.until_called(&mut calls, wait, rested).await.is_err() {
                return;
            }
        }
    }

    /// Starts the monitor; without one, the patrol alone has to do.
    async fn listen(&mut self) -> mpsc::Receiver<HostEvent> {
        match self.host.events() {
            Ok(calls) => calls,
            Err(refusal) => {
                let cause = format!("no monitor of this host: {refusal}");
                // A closed channel of events means the agent ends; `keep` finds out by itself.
                let _ = self.strings.events.send(Event::HostUnseen(cause)).await;
                mpsc::channel(1).1
            }
        }
    }

    /// Looks, changes what differs, and looks again if anything was changed.
    fn pass(&mut self) -> Result<Pass, String> {
        let wanted = self.strings.wish.borrow_and_update().host.clone();
        let wished = wanted.iter().flat_map(|host| host.sysctls.keys().cloned());
        let settings: BTreeSet<SysctlKey> = wished.chain(forwarding()).collect();
        let seen = self.host.observe(&settings).map_err(|error| error.to_string())?;
        let changes = wanted.as_ref().map(|host| diff(host, &seen.ours)).unwrap_or_default();
        let mut pass = Pass::idle(seen, wanted);
        pass.contested = self.rivalry.contested(Instant::now());
        if changes.is_empty() {
            return Ok(pass);
        }
        let outcome = self.host.apply(&changes, self.strings.keys.as_ref());
        pass.changed = changes.iter().map(ToString::to_string).collect();
        pass.failed = outcome.errors.iter().map(ToString::to_string).collect();
        if let Some(wanted) = pass.wanted.as_ref().filter(|_| pass.failed.is_empty()) {
            let now = Instant::now();
            self.rivalry.made(now, wanted, &pass.changed);
            pass.contested = self.rivalry.contested(now);
        }
        pass.seen = Arc::new(self.host.observe(&settings).map_err(|error| error.to_string())?);
        Ok(pass)
    }

    /// Says whether some device is not as the last pass left it; one that is gone is not.
    fn has_strayed(&mut self) -> bool {
        let links = self.devices.keys().cloned().collect();
        self.host.devices(&links) != self.devices
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

    /// Waits for a reason to look: a new wish, a change on the host once `rested`, or the time given.
    async fn until_called(
        &mut self,
        calls: &mut mpsc::Receiver<HostEvent>,
        longest: Duration,
        rested: Instant,
    ) -> Result<(), Unheard> {
        let mut due = Instant::now() + longest;
        let mut monitored = true;
        let mut glance = rested.max(Instant::now() + GLANCE);
        loop {
            tokio::select! {
                // An agent that ends lets go of the wish first: no timer is asked after its end.
                biased;
                changed = self.strings.wish.changed() => return changed.map_err(|_| Unheard),
                // Before any question: whoever asks without end does not stop the repair.
                () = tokio::time::sleep_until(due) => return Ok(()),
                () = tokio::time::sleep_until(glance), if !self.devices.is_empty() => {
                    let began = Instant::now();
                    if self.has_strayed() {
                        return Ok(());
                    }
                    glance = Instant::now() + GLANCE.max(began.elapsed() * GLANCE_REST);
                }
                errand = self.strings.errands.recv() => {
                    let errand = errand.ok_or(Unheard)?;
                    // Who asked may have stopped waiting.
                    let _ = errand.send(self.survey());
                }
                call = calls.recv(), if monitored => match call {
                    Some(_) => due = due.min(rested.max(Instant::now() + BURST)),
                    None => monitored = false,
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATROL: Duration = Duration::from_secs(10);

    #[test]
    fn what_a_host_refuses_is_tried_again_soon_and_then_ever_more_seldom() {
        let mut pace = Pace::default();
        assert_eq!(pace.wait(false, PATROL), PATROL);
        let waits: Vec<u128> = (0..8).map(|_| pace.wait(true, PATROL).as_millis()).collect();
        assert_eq!(waits, [250, 500, 1000, 2000, 4000, 8000, 8000, 8000]);
        assert_eq!(pace.wait(false, PATROL), PATROL, "all is well again");
        assert_eq!(pace.wait(true, PATROL), RETRY);
    }

    #[test]
    fn a_failure_never_makes_a_patrol_come_later() {
        let mut pace = Pace::default();
        let second = Duration::from_secs(1);
        let longest = (0..100).map(|_| pace.wait(true, second)).max();
        assert_eq!(longest, Some(second));
    }

    #[test]
    fn questions_cost_no_more_than_a_quarter_of_a_core_however_many_come() {
        let now = Instant::now();
        let survey = Survey::ended(Err("any".to_owned()), now, Duration::from_millis(250));
        assert!(survey.serves(now + Duration::from_millis(749)));
        assert!(!survey.serves(now + Duration::from_millis(750)), "it is not believed for ever");
    }

    #[test]
    fn a_host_that_never_rests_costs_no_more_than_a_quarter_of_a_core() {
        for took in [1, 30, 2_000].map(Duration::from_millis) {
            assert!(took * 4 <= took + Pace::rest(took));
        }
    }
}
