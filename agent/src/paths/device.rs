//! Owns what a device's facts of one peer mean to the search for its address, and what the search means
//! to a plan. Looks at no device.

use std::net::SocketAddr;
use std::time::Duration;

use sealane_plan::health::{EndpointAdvice, Session};
use sealane_probe::candidates::{Choice, TunnelReport};
use sealane_probe::health::State;
use sealane_probe::time::Time;
use sealane_state::facts::PeerFacts;

/// WireGuard's REJECT_AFTER_TIME: packets of an older session are refused (paper, section 6.1).
const REJECT_AFTER_SECONDS: u64 = 180;

/// A tunnel that gets our probes and has nothing to send says so within WireGuard's KEEPALIVE_TIMEOUT,
/// 10 s; devices of silent lanes are looked at every second or so.
const HEARD_FOR: Duration = Duration::from_secs(15);

/// What a lane brings while its probes go unanswered.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silence {
    /// Authenticated bytes at the last look, once the lane is down.
    received_bytes: Option<u64>,
    heard: Option<Time>,
}

impl Silence {
    /// Takes a look at the device of a lane in this state; returns what its session is worth.
    pub fn looked(&mut self, now: Time, state: State, seen: (Session, u64)) -> Session {
        let (session, received_bytes) = seen;
        if state != State::Down {
            *self = Self::default();
            return session;
        }
        // What came before the first look may have come before the silence.
        if self.received_bytes.is_some_and(|before| received_bytes > before) {
            self.heard = Some(now);
        }
        self.received_bytes = Some(received_bytes);
        match (session, self.heard) {
            (Session::Live, Some(at)) if now.since(at) < HEARD_FOR => Session::Heard,
            _ => session,
        }
    }
}

/// Returns whether there is a session at `unix_now`, in seconds, and what the search is told.
pub fn report(facts: PeerFacts, unix_now: u64) -> (Session, TunnelReport) {
    let age = facts.counters.last_handshake.map(|at| unix_now.saturating_sub(at));
    let session = match age {
        Some(age) if age < REJECT_AFTER_SECONDS => Session::Live,
        _ => Session::Gone,
    };
    let report = TunnelReport {
        endpoint: facts.endpoint,
        handshake_age: age.map(Duration::from_secs),
        received_bytes: facts.counters.received_bytes,
    };
    (session, report)
}

/// Returns what the plan is advised of the endpoint, after a look at a device that sends to `seen`.
pub fn advice(choice: Choice, seen: Option<SocketAddr>) -> EndpointAdvice {
    match choice {
        Choice::LeaveAlone => EndpointAdvice::Leave,
        Choice::Set(endpoint) => EndpointAdvice::Try { endpoint, displaces: seen.into() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_origin(Duration::from_secs(seconds))
    }

    #[test]
    fn a_silent_agent_is_told_from_a_dead_lane_by_what_its_tunnel_sends() {
        let mut silence = Silence::default();
        let live = |bytes| (Session::Live, bytes);
        assert_eq!(silence.looked(at(0), State::Up, live(10)), Session::Live);
        assert_eq!(silence.looked(at(1), State::Down, live(500)), Session::Live, "came before");
        assert_eq!(silence.looked(at(2), State::Down, live(500)), Session::Live);
        assert_eq!(silence.looked(at(3), State::Down, live(532)), Session::Heard);
        assert_eq!(silence.looked(at(17), State::Down, live(532)), Session::Heard);
        assert_eq!(silence.looked(at(18), State::Down, live(532)), Session::Live, "long ago");
        assert_eq!(silence.looked(at(19), State::Down, live(0)), Session::Live, "began anew");
        assert_eq!(silence.looked(at(20), State::Down, live(32)), Session::Heard);
        assert_eq!(silence.looked(at(21), State::Down, (Session::Gone, 64)), Session::Gone);
        assert_eq!(silence.looked(at(22), State::Up, live(96)), Session::Live);
        assert_eq!(silence.looked(at(23), State::Down, live(128)), Session::Live);
    }
}
