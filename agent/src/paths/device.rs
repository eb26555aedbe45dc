//! Owns what a device's facts of one peer mean to the search for its address, and what the search means
//! to a plan. Looks at no device.

use std::time::Duration;

use sealane_plan::health::{EndpointAdvice, Session};
use sealane_probe::candidates::{Choice, TunnelReport};
use sealane_state::facts::PeerFacts;

/// WireGuard's REJECT_AFTER_TIME: packets of an older session are refused (paper, section 6.1).
const REJECT_AFTER_SECONDS: u64 = 180;

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

/// Returns what the plan is advised of the endpoint.
pub fn advice(choice: Choice) -> EndpointAdvice {
    match choice {
        Choice::LeaveAlone => EndpointAdvice::Leave,
        Choice::Set(endpoint) => EndpointAdvice::Try(endpoint),
    }
}
