//! Owns the timers that boringtun lacks or gets wrong: keepalives, healing after it has given up,
//! a rekey when both ends hold themselves for the responder, spread, and silence measured from what
//! we sent. Knows no key and sends nothing; every moment is an argument.

use std::time::Duration;

use crate::seed::Seed;
use crate::uptime::Uptime;

/// How long an unanswered packet waits before the session is doubted: KEEPALIVE_TIMEOUT +
/// REKEY_TIMEOUT of the WireGuard paper, section 6.
const SILENCE: Duration = Duration::from_secs(15);
/// boringtun measures silence from the last packet received; from this age on it may fire early.
const NEARLY_SILENT: Duration = Duration::from_secs(14);
/// Up to this age of the session boringtun's clock may be held back without an expiry being late.
const YOUNG: Duration = Duration::from_secs(100);
/// Past this age a session should have been replaced by its initiator (120 s, or 165 s on receive).
const OVERDUE: Duration = Duration::from_secs(150);
/// REKEY_ATTEMPT_TIME: how long a packet without a session is worth handshakes.
const DEMAND: Duration = Duration::from_secs(90);
/// REKEY_TIMEOUT: the pause between initiations.
const RETRY: Duration = Duration::from_secs(5);
/// The paper's jitter on every retry.
const JITTER: Duration = Duration::from_millis(333);
/// The shortest time between two looks at one lane's timers.
const TICK: Duration = Duration::from_millis(100);

/// The timers of one lane.
pub struct Timers {
    spread: Seed,
    keepalive: Option<Duration>,
    last_traversal: Option<Uptime>,
    last_received: Uptime,
    unanswered: Option<Uptime>,
    demanded: Option<Uptime>,
    sent_since_handshake: Sent,
    established: Option<Uptime>,
    next_tick: Uptime,
    next_retry: Uptime,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sent {
    Nothing,
    Data,
}

impl Timers {
    /// Timers that start at `now`.
    #[must_use]
    pub fn new(spread: Seed, now: Uptime) -> Self {
        Self {
            spread,
            keepalive: None,
            last_traversal: None,
            last_received: now,
            unanswered: None,
            demanded: None,
            sent_since_handshake: Sent::Nothing,
            established: None,
            next_tick: now,
            next_retry: now,
        }
    }

    /// Sets the persistent keepalive in seconds; 0 is off.
    pub fn set_keepalive(&mut self, seconds: u16) {
        self.keepalive = (seconds > 0).then(|| Duration::from_secs(seconds.into()));
    }

    /// The persistent keepalive in seconds; 0 is off.
    #[must_use]
    pub fn keepalive(&self) -> u16 {
        self.keepalive.and_then(|every| u16::try_from(every.as_secs()).ok()).unwrap_or(0)
    }

    /// A packet with content was encrypted.
    pub fn data_sent(&mut self, now: Uptime) {
        self.unanswered.get_or_insert(now);
        self.sent_since_handshake = Sent::Data;
        self.last_traversal = Some(now);
    }

    /// A keepalive or handshake message was sent.
    pub fn message_sent(&mut self, now: Uptime) {
        self.last_traversal = Some(now);
    }

    /// Anything authentic was received.
    pub fn received(&mut self, now: Uptime) {
        self.unanswered = None;
        self.last_received = now;
        self.last_traversal = Some(now);
    }

    /// A packet found no session.
    pub fn demanded(&mut self, now: Uptime) {
        self.demanded = Some(now);
    }

    /// A session was confirmed by both ends.
    pub fn established(&mut self, now: Uptime) {
        self.established = Some(now);
        self.demanded = None;
        self.sent_since_handshake = Sent::Nothing;
        self.unanswered = None;
        self.last_received = now;
    }

    /// Everything known of sessions is void: the keys changed.
    pub fn reset(&mut self, now: Uptime) {
        let (spread, keepalive) = (self.spread.fork(), self.keepalive);
        *self = Self { keepalive, ..Self::new(spread, now) };
    }

    /// Whether it is this lane's turn; lanes take turns at random distances, so that those that
    /// started together do not retry together.
    pub fn turn(&mut self, now: Uptime) -> bool {
        if now < self.next_tick {
            return false;
        }
        self.next_tick = now.after(TICK + self.spread.jitter(JITTER));
        true
    }

    /// Whether boringtun's clock must stand still: it would take a lane for dead that was only idle
    /// before the packet we just sent.
    #[must_use]
    pub fn clock_held(&self, now: Uptime) -> bool {
        let (Some(sent), Some(established)) = (self.unanswered, self.established) else {
            return false;
        };
        now.since(self.last_received) >= NEARLY_SILENT
            && now.since(sent) < SILENCE
            && now.since(established) < YOUNG
    }

    /// Whether a lane that boringtun gave up is worth an initiation now; takes the turn.
    pub fn take_retry(&mut self, now: Uptime) -> bool {
        let wanted = self.demanded.is_some_and(|at| now.since(at) < DEMAND);
        if (self.keepalive.is_none() && !wanted) || now < self.next_retry {
            return false;
        }
        self.next_retry = now.after(RETRY + self.spread.jitter(JITTER));
        true
    }

    /// Whether the session in use is older than its initiator should have let it grow; takes the
    /// turn.
    pub fn take_overdue(&mut self, now: Uptime) -> bool {
        let old = self.established.is_some_and(|at| now.since(at) >= OVERDUE);
        if !old || self.sent_since_handshake == Sent::Nothing || now < self.next_retry {
            return false;
        }
        self.next_retry = now.after(RETRY + self.spread.jitter(JITTER));
        true
    }

    /// Whether the lane was idle for a whole keepalive interval.
    #[must_use]
    pub fn keepalive_due(&self, now: Uptime) -> bool {
        match (self.keepalive, self.last_traversal) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(every), Some(last)) => now.since(last) >= every,
        }
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    fn timers(fill: u8) -> Timers {
        Timers::new(Seed::new(Zeroizing::new([fill; 32])), Uptime::default())
    }

    fn at(seconds: u64) -> Uptime {
        Uptime::new(Duration::from_secs(seconds))
    }

    #[test]
    fn a_persistent_keepalive_goes_out_at_once_and_then_only_when_idle() {
        let mut timers = timers(1);
        timers.set_keepalive(25);
        assert!(timers.keepalive_due(at(0)), "0 to 25 sends one at once");
        timers.message_sent(at(0));
        timers.received(at(20));
        assert!(!timers.keepalive_due(at(44)), "traffic either way counts");
        assert!(timers.keepalive_due(at(45)));
        timers.set_keepalive(0);
        assert!(!timers.keepalive_due(at(1000)));
    }

    #[test]
    fn a_lane_that_was_given_up_heals_for_ever_with_a_keepalive() {
        let mut timers = timers(1);
        timers.set_keepalive(25);
        assert!(timers.take_retry(at(1000)));
        assert!(!timers.take_retry(at(1004)), "not before 5 s");
        assert!(timers.take_retry(at(1006)));
        assert!(timers.take_retry(at(1_000_000)));
    }

    #[test]
    fn a_lane_without_keepalive_is_retried_for_90_s_after_its_last_packet() {
        let mut timers = timers(1);
        assert!(!timers.take_retry(at(10)));
        timers.demanded(at(10));
        assert!(timers.take_retry(at(20)));
        assert!(timers.take_retry(at(99)));
        assert!(!timers.take_retry(at(110)));
    }

    #[test]
    fn silence_is_counted_from_what_we_sent() {
        let mut timers = timers(1);
        timers.established(at(0));
        timers.received(at(10));
        timers.data_sent(at(60));
        assert!(timers.clock_held(at(61)), "idle for 50 s, but unanswered for 1 s only");
        timers.received(at(62));
        assert!(!timers.clock_held(at(63)));
        timers.data_sent(at(80));
        assert!(!timers.clock_held(at(95)), "15 s unanswered: now it may fire");
    }

    #[test]
    fn the_clock_is_never_held_over_an_expiry() {
        let mut timers = timers(1);
        timers.established(at(0));
        timers.data_sent(at(99));
        assert!(!timers.clock_held(at(100)));
    }

    #[test]
    fn a_session_that_nobody_renews_is_renewed_by_us() {
        let mut timers = timers(1);
        timers.established(at(0));
        assert!(!timers.take_overdue(at(160)), "idle lanes may expire");
        timers.data_sent(at(140));
        assert!(!timers.take_overdue(at(149)));
        assert!(timers.take_overdue(at(150)));
        assert!(!timers.take_overdue(at(151)));
        timers.established(at(151));
        assert!(!timers.take_overdue(at(160)));
    }

    #[test]
    fn lanes_that_started_together_do_not_tick_together() {
        let turns: std::collections::BTreeSet<_> = (0..50)
            .map(|fill| {
                let mut timers = timers(fill);
                assert!(timers.turn(at(0)));
                timers.next_tick
            })
            .collect();
        assert!(turns.len() > 30, "{} distinct turns of 50", turns.len());
        assert!(turns.iter().all(|turn| turn.elapsed() <= TICK + JITTER));
    }
}
