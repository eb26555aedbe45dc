//! Owns leaving, step by step: the last word, a while for others to hear it, the host cleared, the
//! files forgotten. Each step is taken by the loop; none blocks it.

use std::time::{Duration, Instant};

use sealane_broker::publish::{PublishError, Retry};
use sealane_state::host::HostState;
use sealane_state::owner;
use sealane_view::membership::{LeaveDocument, LeaveRequest, WithoutBroker};
use tokio::sync::oneshot;

use crate::admin::{Answer, Fault, Refusal};
use crate::event::Event;
use crate::left;
use crate::line;
use crate::run::Agent;
use crate::session::Session;
use crate::word;

/// Lanes stay up this long after the last word, so that others move away without loss.
const LINGER: Duration = Duration::from_secs(2);
/// The broker must take the last word within this.
const LAST_WORD: Duration = Duration::from_secs(10);
/// The host must be cleared within this.
const CLEARING: Duration = Duration::from_secs(20);

/// Leaving, under way.
pub struct Departure {
    step: Step,
    without_broker: WithoutBroker,
    member: String,
    withdrawn: bool,
    reply: oneshot::Sender<Answer>,
}

enum Step {
    /// The last word is on its way to the broker.
    Withdrawing,
    /// Others hear of it; lanes still carry.
    Lingering(Instant),
    /// The host is being cleared.
    Clearing(Instant),
}

impl Departure {
    /// Says whether lanes are still wanted.
    pub fn is_at_work(&self) -> bool {
        !matches!(self.step, Step::Clearing(_))
    }

    /// Says whether the last word stands: until a broker took it, leaving may still be refused.
    pub fn has_spoken(&self) -> bool {
        !matches!(self.step, Step::Withdrawing)
    }
}

impl Agent {
    /// Begins to leave.
    pub fn leave(&mut self, request: &LeaveRequest, reply: oneshot::Sender<Answer>) {
        let now = self.now();
        let Some(session) = &mut self.session else {
            return refuse(reply, Fault::State, "this host is in no clusterset", "nothing to do");
        };
        if self.departure.is_some() {
            return refuse(reply, Fault::State, "this host is leaving already", "wait for it");
        }
        let words = match word::withdraw(session, now) {
            Ok(words) => words,
            Err(error) => {
                let next = "free the disk and try again";
                return refuse(reply, Fault::State, &error.to_string(), next);
            }
        };
        let (member, brokers) = (session.own.member.to_string(), session.line.brokers());
        session.line.hush();
        let events = self.events.clone();
        self.departure = Some(Departure {
            step: Step::Withdrawing,
            without_broker: request.without_broker,
            member,
            withdrawn: false,
            reply,
        });
        tokio::spawn(async move {
            let mut result = Ok(());
            for (gateway, spec) in &words {
                let said = line::say_last(&brokers, gateway, spec);
                result = tokio::time::timeout(LAST_WORD, said)
                    .await
                    .unwrap_or_else(|_| Err(line::too_late(gateway)));
                if result.is_err() {
                    break;
                }
            }
            // A closed channel means that the agent stops; there is nobody left to tell.
            let _ = events.send(Event::Withdrawn(result)).await;
        });
    }

    /// Takes the fate of the last word.
    pub fn take_withdrawn(&mut self, result: Result<(), PublishError>) {
        let Some(mut departure) = self.departure.take() else { return };
        match (result, departure.without_broker) {
            (Ok(()), _) => departure.withdrawn = true,
            (Err(error), WithoutBroker::Leave) => {
                tracing::warn!(%error, "leaving without a word");
            }
            (Err(error), WithoutBroker::Refuse) => {
                if let Some(session) = &mut self.session {
                    session.line.speak_on();
                }
                let next = match error.retry {
                    Retry::Soon => "try again when the broker answers, or use --without-broker",
                    Retry::OnChange => "trying again does not help; use --without-broker",
                };
                // The withdrawal is signed and may have got somewhere: a newer word outranks it.
                self.speak();
                return refuse(departure.reply, Fault::Outside, &error.to_string(), next);
            }
        }
        departure.step = Step::Lingering(Instant::now() + LINGER);
        self.departure = Some(departure);
    }

    /// Takes the next step of leaving, if it is time.
    pub fn depart(&mut self) {
        let Some(departure) = &mut self.departure else { return };
        match departure.step {
            Step::Withdrawing => {}
            Step::Lingering(until) if Instant::now() < until => {}
            Step::Lingering(_) => {
                departure.step = Step::Clearing(Instant::now() + CLEARING);
                self.mark_stale();
            }
            Step::Clearing(until) => {
                let cleared = self.seen.as_ref().is_some_and(|it| it.ours == HostState::default());
                if cleared || Instant::now() >= until {
                    self.finish();
                }
            }
        }
    }

    fn finish(&mut self) {
        let Some(departure) = self.departure.take() else { return };
        self.forget_session();
        let mut remains = self.failures.clone();
        // First: a crash after it leaves a member that leaves again, not one that joins by itself.
        if self.config.token_file.is_some()
            && let Err(error) = left::mark(&self.store)
        {
            remains.push(format!("the token file, which the next start uses: {error}"));
        }
        if let Err(error) = Session::forget(&self.store, &self.ring) {
            remains.push(error.to_string());
        }
        remains.extend(self.remove_tunnel_logs());
        remains.extend(self.unseen.iter().map(|cause| format!("this host was not seen: {cause}")));
        if self.seen.is_none() && remains.is_empty() {
            remains.push("this host was not seen".to_owned());
        }
        let left = self.seen.as_ref().is_some_and(|seen| seen.ours != HostState::default());
        if left && remains.is_empty() {
            remains.push("objects of ours on this host; see `sealane-agent` log".to_owned());
        }
        tracing::info!(member = departure.member, withdrawn = departure.withdrawn, "left");
        let document =
            LeaveDocument { member: departure.member, withdrawn: departure.withdrawn, remains };
        let answer = serde_json::to_value(document).map_err(|error| {
            Refusal::new(Fault::State, "left, but it cannot be told", error, "see the log")
        });
        // Who asked may have stopped waiting; the host has left all the same.
        let _ = departure.reply.send(answer);
        self.mark_stale();
    }
}

impl Agent {
    /// Removes the logs of tunnels that are gone; returns what could not be removed.
    fn remove_tunnel_logs(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(&self.config.paths.runtime) else { return Vec::new() };
        let is_log = |name: &str| {
            let link = name.strip_suffix(".log").and_then(|link| link.parse().ok());
            link.is_some_and(|link| owner::is_lane_link(&link))
        };
        entries
            .flatten()
            .filter(|entry| entry.file_name().to_str().is_some_and(is_log))
            .filter_map(|entry| {
                let path = entry.path();
                let failed = std::fs::remove_file(&path).err()?;
                Some(format!("{}: {failed}", path.display()))
            })
            .collect()
    }
}

fn refuse(reply: oneshot::Sender<Answer>, fault: Fault, cause: &str, next: &str) {
    // Who asked may have stopped waiting.
    let _ = reply.send(Err(Refusal::new(fault, "this host did not leave", cause, next)));
}
