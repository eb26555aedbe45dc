//! Owns one watched path: what is wanted of it, the way to its other end, and which of its news a plan
//! is made from. Does not own its place among others.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use sealane_plan::health::{EndpointAdvice, LaneHealth, LegHealth, PathState, Session};
use sealane_plan::name::UnixSeconds;
use sealane_plan::plan::{LaneTarget, LegTarget};
use sealane_probe::datagram::Digest;
use sealane_probe::health::State;
use sealane_probe::mtu::Phase;
use sealane_probe::path::{Path, PathReport, Received, Rejected, Transmit};
use sealane_probe::time::Time;
use sealane_state::facts::PeerFacts;
use sealane_state::name::LinkName;

use super::device;
use crate::probe_io::{Sent, Way};

/// What a plan says of the other end of a path.
pub trait End {
    /// Link that probes leave by; `None` where routing decides.
    fn link(&self) -> Option<&LinkName>;
    /// Own address on it.
    fn source(&self) -> IpAddr;
    /// Their address.
    fn destination(&self) -> IpAddr;
}

impl End for LaneTarget {
    fn link(&self) -> Option<&LinkName> {
        Some(&self.link)
    }

    fn source(&self) -> IpAddr {
        self.source
    }

    fn destination(&self) -> IpAddr {
        self.destination
    }
}

impl End for LegTarget {
    fn link(&self) -> Option<&LinkName> {
        self.link.as_ref()
    }

    fn source(&self) -> IpAddr {
        self.source
    }

    fn destination(&self) -> IpAddr {
        self.destination
    }
}

/// What has changed of a path, or of several, since it was last told; the greater holds the lesser.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum News {
    /// Nothing that anybody acts on.
    #[default]
    Nothing,
    /// Where the other end is to be looked for.
    Advice,
    /// What a plan is made from.
    Verdict,
}

/// A path under watch.
#[derive(Debug)]
pub struct Watched<Target> {
    target: Target,
    way: Way,
    path: Path,
    advice: EndpointAdvice,
    session: Session,
    silence: device::Silence,
    told: Option<(State, Option<u32>, Session)>,
    told_advice: (EndpointAdvice, bool),
}

impl<Target: End> Watched<Target> {
    /// Begins to watch `path`, about which nothing was told yet.
    pub(super) fn begin(target: Target, way: Way, path: Path) -> Self {
        let (advice, session) = (EndpointAdvice::Leave, Session::Gone);
        let silence = device::Silence::default();
        Self {
            target,
            way,
            path,
            advice,
            session,
            silence,
            told: None,
            told_advice: (advice, false),
        }
    }

    /// Returns what the plan says of it.
    pub fn target(&self) -> &Target {
        self.looked();
        &self.target
    }

    /// Returns how its probes leave.
    pub fn way(&self) -> &Way {
        self.looked();
        &self.way
    }

    /// Returns the address that probes go to.
    pub fn destination(&self) -> IpAddr {
        self.target().destination()
    }

    /// Returns what probes have found.
    pub fn report(&self) -> PathReport {
        self.path().report()
    }

    /// Returns the remote address that worked last.
    pub fn last_endpoint(&self) -> Option<SocketAddr> {
        self.path().last_endpoint()
    }

    /// Returns whether the other end may have moved, so that the tunnel is to be asked often.
    pub fn may_have_moved(&self) -> bool {
        self.path().may_have_moved()
    }

    /// Returns what is advised of the endpoint.
    pub fn advice(&self) -> EndpointAdvice {
        self.looked();
        self.advice
    }

    /// Takes a new target that leads the same way, and adjusts the path to it.
    pub(super) fn follow(&mut self, target: &Target, adjust: impl FnOnce(&Target, &mut Path))
    where
        Target: Clone + PartialEq,
    {
        if self.target != *target {
            self.target.clone_from(target);
        }
        adjust(&self.target, &mut self.path);
    }

    pub(super) fn next_transmit(&self) -> Time {
        self.path().next_transmit()
    }

    /// Sends all that is due.
    pub(super) fn send_due(
        &mut self,
        now: Time,
        digest: Option<Digest>,
        send: &mut impl FnMut(&Way, &Transmit) -> Sent,
    ) -> News {
        self.looked();
        while let Some(due) = self.path.poll_transmit(now, digest) {
            if send(&self.way, &due) == Sent::TooLarge {
                self.path.refused(now, due.payload.len());
            }
        }
        self.news()
    }

    pub(super) fn received(
        &mut self,
        now: Time,
        bytes: &[u8],
    ) -> Result<(Received, News), Rejected> {
        self.looked();
        let reply = self.path.received(now, bytes)?;
        // Whoever answers is where the tunnel has found it by now, which need not be where it was sought.
        if self.path.report().state == State::Up {
            self.advice = EndpointAdvice::Leave;
        }
        Ok((reply, self.news()))
    }

    /// Takes what the device says of the peer; `unix_now` is the time of day, in seconds.
    pub(super) fn tunnel_reported(&mut self, now: Time, facts: PeerFacts, unix_now: u64) -> News {
        self.looked();
        let (session, report) = device::report(facts, unix_now);
        let seen = (session, report.received_bytes);
        self.session = self.silence.looked(now, self.path.report().state, seen);
        self.advice = device::advice(self.path.tunnel_reported(now, &report), report.endpoint);
        tracing::trace!(state = ?self.path.report().state, endpoint = ?report.endpoint,
            advice = ?self.advice, "tunnel reported");
        self.news()
    }

    fn news(&mut self) -> News {
        let report = self.path.report();
        let now = (report.state, settled_mtu(&report), self.session);
        let advice = (self.advice, self.path.may_have_moved());
        let is_advised = std::mem::replace(&mut self.told_advice, advice) != advice;
        if self.told.replace(now) != Some(now) {
            News::Verdict
        } else if is_advised {
            News::Advice
        } else {
            News::Nothing
        }
    }

    fn path(&self) -> &Path {
        self.looked();
        &self.path
    }

    /// Every way to a path leads by here, so that tests can count how often paths are looked at.
    #[inline]
    fn looked(&self) {
        #[cfg(test)]
        looks::count();
    }
}

impl Watched<LaneTarget> {
    /// Returns what is known of the lane, as facts; `unix_now` dates them.
    pub fn health(&self, now: Time, unix_now: u64) -> LaneHealth {
        let report = self.report();
        let age = now.since(report.since).as_secs();
        LaneHealth {
            state: path_state(report.state),
            since: Some(UnixSeconds(unix_now.saturating_sub(age))),
            rtt: smoothed(&report),
            loss_permille: u16::try_from(report.loss.permille()).unwrap_or(1000),
            path_mtu: settled_mtu(&report),
            endpoint: self.advice,
            session: self.session,
        }
    }
}

impl Watched<LegTarget> {
    /// Returns what is known of the leg, as facts.
    pub fn health(&self) -> LegHealth {
        let report = self.report();
        LegHealth { state: path_state(report.state), rtt: smoothed(&report) }
    }
}

/// Returns the path MTU in bytes once the search for it is over; what is known half-way is only a
/// lower bound, and routes would follow each of its steps.
fn settled_mtu(report: &PathReport) -> Option<u32> {
    match report.mtu_phase {
        Phase::Complete | Phase::Confirming | Phase::BelowBase => report.path_mtu.map(u32::from),
        Phase::Base | Phase::Searching => None,
    }
}

fn path_state(state: State) -> PathState {
    match state {
        State::Up => PathState::Up,
        State::Unknown => PathState::Unknown,
        State::Down => PathState::Down,
    }
}

fn smoothed(report: &PathReport) -> Option<Duration> {
    report.rtt.map(|rtt| Duration::from_micros(rtt.smoothed_us))
}

/// How often this thread has looked at a path.
#[cfg(test)]
pub(super) mod looks {
    use std::cell::Cell;

    thread_local! {
        static TAKEN: Cell<u64> = const { Cell::new(0) };
    }

    pub(super) fn count() {
        TAKEN.set(TAKEN.get() + 1);
    }

    pub(in crate::paths) fn take() -> u64 {
        TAKEN.take()
    }
}
