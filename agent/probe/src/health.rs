//! Owns the verdict on one path: up, down or unknown, when to probe next, and the arithmetic behind
//! both. Does not own the bytes of a probe, and knows nothing of MTU or WireGuard.
//!
//! Only a reply to our own request counts as life: it proves both directions, which a received
//! request or a moving byte counter does not.
//!
//! # The rule
//! A path that is up is probed every [`CARRYING`] (or [`IDLE`]). Once a reply is overdue the path is
//! *in doubt* and probed every [`DOUBT`]. It is down when [`LOST_IN_A_ROW`] probes, all sent since the
//! last reply came in, are overdue. Any fresh reply ends the doubt.
//!
//! # The arithmetic
//! With reply timeout `t` (80 ms at least, else smoothed RTT + 4 deviations) and all intervals
//! jittered by a tenth, a path that dies is down after at most
//! `rtt + 1.1 * interval + 2 t + 1.1 * 12 * 30 ms`:
//!
//! | RTT | t | carrying (200 ms) | idle (1 s) |
//! |---:|---:|---:|---:|
//! | 1 ms | 80 ms | 777 ms | 1657 ms |
//! | 50 ms | 80 ms | 826 ms | 1706 ms |
//! | 100 ms | 110 ms | 936 ms | 1816 ms |
//!
//! A path is wrongly found down only when 14 replies in a row are lost: with probability `q^14` for
//! each reply received, where `q` is the loss of request and reply together. At 20 % of round trips lost
//! that is 1.6e-10; at 20 % in each direction (`q` = 0.36) it is 6.1e-7, about once in four days of
//! four replies a second. An outage shorter than `t + 0.9 * 12 * 30 ms` = 404 ms never takes a
//! path down, whatever it swallows.

use std::time::Duration;

use crate::seed::Seed;
use crate::time::Time;
use crate::window::{Fit, Loss, Rtt, Window};

/// Probe interval of a path that carries traffic which another path would take.
pub const CARRYING: Duration = Duration::from_millis(200);
/// Probe interval of a path that no traffic waits for, and of one that is down.
pub const IDLE: Duration = Duration::from_secs(1);
/// Probe interval while a reply is overdue.
pub const DOUBT: Duration = Duration::from_millis(30);
/// Probe interval of a path that is down and has just answered.
pub const RETURNING: Duration = Duration::from_millis(100);
/// Unanswered probes in a row that take a path down.
pub const LOST_IN_A_ROW: u32 = 14;
/// Unanswered probes in a row that loss alone hardly explains.
pub const GRAVE: u32 = LOST_IN_A_ROW / 2;
/// Answered probes in a row that bring a path that was down up again.
pub const ANSWERED_IN_A_ROW: u32 = 3;
/// A path that has never answered is unknown for this long, then down: WireGuard needs up to 5 s for
/// its second handshake attempt.
pub const FIRST_VERDICT: Duration = Duration::from_secs(6);

/// Whether packets cross the path end to end, both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Not yet told: too young, and no reply so far.
    Unknown,
    /// Replies come.
    Up,
    /// Replies do not come.
    Down,
}

/// How soon a death must be noticed, which decides how often the path is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Routes lead over it that another path would take: noticed within a second.
    Carrying,
    /// Routes lead over it that no other path could take: noticed within two, since nothing waits for
    /// it; a black hole is noticed as on one that carries.
    Alone,
    /// A spare: noticed within two.
    Idle,
}

/// What overdue replies say of a path that is not yet found down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// None are overdue, or a few that may be lost.
    Slight,
    /// So many that something has most likely happened.
    Grave,
}

/// A probe that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Sequence number to send it with.
    pub sequence: u64,
}

/// What became of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The first reply to a probe of the window.
    Fresh,
    /// Another reply to a probe already answered; nothing changed.
    Duplicate,
    /// No probe of the window is answered by it; nothing changed.
    Unknown,
}

/// Liveness of one path.
#[derive(Debug)]
pub struct Health {
    seed: Seed,
    interest: Interest,
    state: State,
    since: Time,
    window: Window,
    next_sequence: u64,
    last_sent: Option<Time>,
    next_send: Time,
    /// Probes before this one were sent before the last reply came in and prove nothing any more.
    doubt_from: u64,
    lost_in_a_row: u32,
    answered_in_a_row: u32,
    /// Whether it was ever up.
    has_lived: bool,
}

impl Health {
    /// Starts as [`State::Unknown`] with a probe due at once.
    #[must_use]
    pub fn new(now: Time, seed: Seed, interest: Interest) -> Health {
        Health {
            seed,
            interest,
            state: State::Unknown,
            since: now,
            window: Window::default(),
            next_sequence: 0,
            last_sent: None,
            next_send: now,
            doubt_from: 0,
            lost_in_a_row: 0,
            answered_in_a_row: 0,
            has_lived: false,
        }
    }

    /// Changes how often the path is probed, from now on.
    pub fn set_interest(&mut self, interest: Interest) {
        if self.interest != interest {
            self.interest = interest;
            self.schedule();
        }
    }

    /// Draws the verdict at `now` and returns the probe that is due, if one is.
    ///
    /// After a stall of the caller at most one probe is due, so a path is never found down by probes
    /// that could not have been answered.
    pub fn poll(&mut self, now: Time) -> Option<Due> {
        self.judge(now);
        if now < self.next_send {
            return None;
        }
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.window.send(now, sequence);
        self.last_sent = Some(now);
        self.schedule();
        Some(Due { sequence })
    }

    /// Takes the reply to probe `sequence`, which says it was `sent` then.
    pub fn replied(&mut self, now: Time, sequence: u64, sent: Time) -> Heard {
        match self.window.answer(now, sequence, sent) {
            Fit::Unknown => return Heard::Unknown,
            Fit::Duplicate => return Heard::Duplicate,
            Fit::Fresh => {}
        }
        self.lost_in_a_row = 0;
        self.doubt_from = self.next_sequence;
        self.answered_in_a_row = self.answered_in_a_row.saturating_add(1);
        let enough = match self.state {
            State::Unknown => true,
            State::Up => false,
            State::Down => self.answered_in_a_row >= ANSWERED_IN_A_ROW,
        };
        if enough {
            // Before a path is there for the first time, nothing can be lost on it.
            if !std::mem::replace(&mut self.has_lived, true) {
                self.window.forget_before(sequence);
            }
            self.turn(State::Up, now);
        }
        self.schedule();
        Heard::Fresh
    }

    /// Returns when [`Health::poll`] next has something to do; never later than a probe is due.
    #[must_use]
    pub fn next_wake(&self) -> Time {
        let verdict = match self.state {
            State::Unknown => self.since.after(FIRST_VERDICT),
            State::Up | State::Down => self.next_send,
        };
        let overdue = self.window.next_overdue().unwrap_or(self.next_send);
        self.next_send.min(overdue).min(verdict)
    }

    /// Returns the verdict of the last [`Health::poll`] or reply.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Returns when the verdict last changed.
    #[must_use]
    pub fn since(&self) -> Time {
        self.since
    }

    /// Returns whether a reply is overdue that may yet turn out to be the first of a death.
    #[must_use]
    pub fn is_in_doubt(&self) -> bool {
        self.lost_in_a_row > 0
    }

    /// Returns how much there is to the doubt.
    #[must_use]
    pub fn doubt(&self) -> Doubt {
        if self.lost_in_a_row >= GRAVE { Doubt::Grave } else { Doubt::Slight }
    }

    /// Has the next probe sent at once: something was heard that may concern the path.
    pub fn hasten(&mut self) {
        self.next_send = self.last_sent.unwrap_or(self.next_send);
    }

    /// Returns how many probes in a row were answered in time, up to now.
    #[must_use]
    pub fn answered_in_a_row(&self) -> u32 {
        self.answered_in_a_row
    }

    /// Returns the round-trip times; absent until the first reply, and from going down until the
    /// next one.
    #[must_use]
    pub fn rtt(&self) -> Option<Rtt> {
        self.window.rtt()
    }

    /// Returns the loss over the window, from the reply on that first brought the path up.
    #[must_use]
    pub fn loss(&self) -> Loss {
        self.window.loss()
    }

    /// Returns how long a reply is waited for at present.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.window.timeout()
    }

    fn judge(&mut self, now: Time) {
        let overdue = self.window.expire(now);
        if !overdue.is_empty() {
            let counted = overdue.iter().filter(|sequence| **sequence >= self.doubt_from).count();
            if counted > 0 {
                self.answered_in_a_row = 0;
            }
            let counted = u32::try_from(counted).unwrap_or(u32::MAX);
            self.lost_in_a_row = self.lost_in_a_row.saturating_add(counted);
            self.schedule();
        }
        match self.state {
            State::Up if self.lost_in_a_row >= LOST_IN_A_ROW => self.turn(State::Down, now),
            State::Unknown if now.since(self.since) >= FIRST_VERDICT => self.turn(State::Down, now),
            State::Unknown | State::Up | State::Down => {}
        }
    }

    fn turn(&mut self, state: State, now: Time) {
        if state == State::Down {
            self.window.forget_rtt();
        }
        self.state = state;
        self.since = now;
        self.schedule();
    }

    /// Derives the next probe from the last one, so that calling it again changes nothing.
    fn schedule(&mut self) {
        let Some(last) = self.last_sent else { return };
        let interval = match (self.state, self.interest) {
            (State::Unknown, _) => CARRYING,
            (State::Up, _) if self.is_in_doubt() => DOUBT,
            (State::Up, Interest::Carrying) => CARRYING,
            (State::Up, Interest::Alone | Interest::Idle) => IDLE,
            (State::Down, _) if self.answered_in_a_row > 0 => RETURNING,
            (State::Down, _) => IDLE,
        };
        self.next_send = last.after(self.seed.jittered(interval, self.next_sequence));
    }
}
