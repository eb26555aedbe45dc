//! Owns the standing repair of the host: look, compare with what is wanted, change, look again.
//! Does not know why anything is wanted.

use std::sync::Arc;
use std::time::Duration;

use sealane_kernel::host::{Host, HostEvent};
use sealane_kernel::keyring::Keyring;
use sealane_state::diff::diff;
use sealane_state::facts::Observation;
use sealane_state::host::HostState;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::event::Event;

/// A look at the host when nothing calls for one: for what no monitor tells, such as WireGuard
/// peers and settings.
const PATROL: Duration = Duration::from_secs(10);
/// Changes come in bursts; the burst is looked at once.
const BURST: Duration = Duration::from_millis(20);
/// First wait after a change that was refused; doubled up to [`PATROL`].
const RETRY: Duration = Duration::from_millis(250);

/// What one pass found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pass {
    /// The host after the pass.
    pub seen: Arc<Observation>,
    /// What was changed, as text.
    pub changed: Vec<String>,
    /// What could not be changed, as text with the cause.
    pub failed: Vec<String>,
}

/// The repairer of one host.
pub struct Hand {
    host: Host,
    keys: Arc<dyn Keyring + Send + Sync>,
    wanted: watch::Receiver<Option<Arc<HostState>>>,
    events: mpsc::Sender<Event>,
}

impl Hand {
    /// Takes charge of a host. Nothing is changed as long as `wanted` is `None`.
    pub fn new(
        host: Host,
        keys: Arc<dyn Keyring + Send + Sync>,
        wanted: watch::Receiver<Option<Arc<HostState>>>,
        events: mpsc::Sender<Event>,
    ) -> Self {
        Self { host, keys, wanted, events }
    }

    /// Keeps the host as wanted until nobody listens any more.
    pub async fn keep(mut self) {
        let mut tries = 0;
        loop {
            let failed = match self.pass().await {
                Ok(pass) => {
                    let failed = !pass.failed.is_empty();
                    if self.events.send(Event::Host(pass)).await.is_err() {
                        return;
                    }
                    failed
                }
                Err(cause) => {
                    if self.events.send(Event::HostUnseen(cause)).await.is_err() {
                        return;
                    }
                    true
                }
            };
            tries = if failed { tries + 1 } else { 0 };
            let wait = if failed { RETRY * 2u32.pow(tries.min(6)) } else { PATROL };
            if self.until_called(wait.min(PATROL)).await.is_err() {
                return;
            }
        }
    }

    /// Looks, changes what differs, and looks again if anything was changed.
    async fn pass(&mut self) -> Result<Pass, String> {
        let wanted = self.wanted.borrow_and_update().clone();
        let seen = self.host.observe().await.map_err(|error| error.to_string())?;
        let Some(wanted) = wanted else {
            return Ok(Pass { seen: Arc::new(seen), changed: Vec::new(), failed: Vec::new() });
        };
        let changes = diff(&wanted, &seen.ours);
        if changes.is_empty() {
            return Ok(Pass { seen: Arc::new(seen), changed: Vec::new(), failed: Vec::new() });
        }
        let outcome = self.host.apply(&changes, self.keys.as_ref()).await;
        let seen = self.host.observe().await.map_err(|error| error.to_string())?;
        let changed = changes.iter().map(ToString::to_string).collect();
        let failed = outcome.errors.iter().map(ToString::to_string).collect();
        Ok(Pass { seen: Arc::new(seen), changed, failed })
    }

    /// Waits for a reason to look: a new wish, a change on the host, or the time given.
    async fn until_called(&mut self, longest: Duration) -> Result<(), watch::error::RecvError> {
        let deadline = Instant::now() + longest;
        let mut burst_ends = deadline;
        loop {
            tokio::select! {
                changed = self.wanted.changed() => return changed,
                event = self.host.next_event() => {
                    if matches!(event, HostEvent::Resync) {
                        return Ok(());
                    }
                    burst_ends = burst_ends.min(Instant::now() + BURST);
                }
                () = tokio::time::sleep_until(burst_ends) => return Ok(()),
            }
        }
    }
}
