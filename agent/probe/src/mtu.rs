//! Owns the search for the largest inner IP packet that crosses a path whole, after RFC 8899
//! (DPLPMTUD), and the watch for black holes. Does not own sockets: the caller sends probes that
//! must not be fragmented or cut to a cached path MTU (`IP_PMTUDISC_PROBE`, `IPV6_PMTUDISC_PROBE`).
//!
//! It measures this direction only; the other end measures the other. It believes replies and the
//! local stack's own refusal, never an ICMP message, which anybody can forge (RFC 8899 section 4.6).

use std::time::Duration;

use crate::health::Interest;
use crate::time::Time;

/// Every IPv6 link carries this (RFC 8200 section 5), so the search begins here, in bytes.
pub const BASE: u16 = 1280;
/// Larger sizes are tried again this long after a search (RFC 8899 section 5.1.1).
pub const RAISE: Duration = Duration::from_secs(600);
/// A path too narrow for [`BASE`] is tried again this often.
pub const RETRY_BASE: Duration = Duration::from_secs(30);
/// The size found is proved again this often where traffic flows: the time a black hole may last.
pub const CONFIRM_CARRYING: Duration = Duration::from_secs(5);
/// The same for a spare path.
pub const CONFIRM_IDLE: Duration = Duration::from_secs(60);
/// Probes of one size that stay unanswered before the size counts as too large.
///
/// RFC 8899 says 3, for transports that tell loss from congestion. Ten in a row are lost by chance
/// once in 27,000 sizes when 36 % of round trips are (20 % in each direction).
pub const LOST_IN_A_ROW: u32 = 10;

/// How far the search is (RFC 8899 section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Finding out whether [`BASE`] crosses.
    Base,
    /// Finding the largest size.
    Searching,
    /// The largest size is known.
    Complete,
    /// Proving again that the size found still crosses.
    Confirming,
    /// Not even [`BASE`] crosses, although small probes do: IPv6 is broken on this path.
    BelowBase,
}

/// A probe that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Bytes of the whole inner IP packet.
    pub packet: u16,
    /// Sequence number to send it with.
    pub sequence: u64,
}

/// Path MTU of one path.
#[derive(Debug)]
pub struct MtuSearch {
    link: u16,
    confirm_every: Duration,
    path: Option<u16>,
    phase: Phase,
    /// The smallest size known not to cross; one above the link's while none is.
    ceiling: u32,
    flight: Option<Flight>,
    next_sequence: u64,
    wake: Time,
    raise_at: Time,
    proved_at: Time,
    running: bool,
}

#[derive(Clone, Copy, Debug)]
struct Flight {
    packet: u16,
    first: u64,
    attempts: u32,
    /// Absent while no probe of this size is on its way.
    overdue: Option<Time>,
}

impl MtuSearch {
    /// Starts paused, with nothing known. `link` is the tunnel device's MTU in bytes, at least
    /// [`BASE`].
    #[must_use]
    pub fn new(link: u16, interest: Interest) -> MtuSearch {
        let link = link.max(BASE);
        MtuSearch {
            link,
            confirm_every: confirm_every(interest),
            path: None,
            phase: Phase::Base,
            ceiling: u32::from(link) + 1,
            flight: None,
            next_sequence: 0,
            wake: Time::ZERO,
            raise_at: Time::ZERO,
            proved_at: Time::ZERO,
            running: false,
        }
    }

    /// Changes how often the size found is proved again.
    pub fn set_interest(&mut self, interest: Interest) {
        self.confirm_every = confirm_every(interest);
        if self.phase == Phase::Complete {
            self.wake = self.proved_at.after(self.confirm_every);
        }
    }

    /// Takes the tunnel device's MTU, in bytes; a smaller one caps what was found, a larger one
    /// starts a search.
    pub fn set_link(&mut self, now: Time, link: u16) {
        let link = link.max(BASE);
        if link == self.link {
            return;
        }
        self.link = link;
        self.path = self.path.map(|path| path.min(link));
        if self.path.is_some() {
            self.search(now);
        }
    }

    /// Starts, or goes on where [`MtuSearch::pause`] stopped it: the path is up.
    pub fn resume(&mut self) {
        self.running = true;
    }

    /// Stops probing: the path is down or in doubt, so a lost probe says nothing about its size, and
    /// the one on its way is not counted.
    pub fn pause(&mut self) {
        if std::mem::take(&mut self.running)
            && let Some(flight) = &mut self.flight
        {
            flight.attempts = flight.attempts.saturating_sub(u32::from(flight.overdue.is_some()));
            flight.overdue = None;
        }
    }

    /// Proves the size found again at once, then looks for a larger one: this may be another path,
    /// because the lane came back or moved to another endpoint.
    pub fn reprove(&mut self, now: Time) {
        self.flight = None;
        self.wake = now;
        self.raise_at = Time::ZERO;
        self.ceiling = u32::from(self.link) + 1;
        self.phase = match self.path {
            Some(_) => Phase::Confirming,
            None => Phase::Base,
        };
    }

    /// Returns the probe that is due at `now`, if one is. `timeout` is how long its reply is waited
    /// for.
    pub fn poll(&mut self, now: Time, timeout: Duration) -> Option<Due> {
        if !self.running {
            return None;
        }
        if let Some(flight) = self.flight {
            if flight.overdue.is_some_and(|overdue| now < overdue) {
                return None;
            }
            if flight.attempts < LOST_IN_A_ROW {
                return Some(self.send(now.after(timeout), flight));
            }
            self.too_large(now, flight.packet);
        }
        let packet = self.candidate(now)?;
        let flight = Flight { packet, first: self.next_sequence, attempts: 0, overdue: None };
        Some(self.send(now.after(timeout), flight))
    }

    /// Takes the reply to probe `sequence` of `packet` bytes; returns whether it was waited for.
    pub fn replied(&mut self, now: Time, sequence: u64, packet: u16) -> bool {
        let fits = |flight: &Flight| {
            flight.packet == packet && (flight.first..self.next_sequence).contains(&sequence)
        };
        if !self.flight.as_ref().is_some_and(fits) {
            return false;
        }
        self.flight = None;
        self.path = Some(packet);
        match self.phase {
            Phase::Confirming if now < self.raise_at => self.complete(now),
            Phase::Confirming => self.search(now),
            Phase::Base | Phase::BelowBase | Phase::Searching | Phase::Complete => self.narrow(now),
        }
        true
    }

    /// Takes the local stack's refusal (`EMSGSIZE`) to send a probe of `packet` bytes.
    pub fn refused(&mut self, now: Time, packet: u16) {
        if self.flight.is_some_and(|flight| flight.packet == packet) {
            self.too_large(now, packet);
        }
    }

    /// Returns when [`MtuSearch::poll`] next has something to do; never while paused.
    #[must_use]
    pub fn next_wake(&self) -> Option<Time> {
        let due = self.flight.and_then(|flight| flight.overdue).unwrap_or(self.wake);
        self.running.then_some(due)
    }

    /// Returns the largest inner IP packet known to cross, in bytes; absent until [`BASE`] has, and
    /// while even that does not. After a black hole it is [`BASE`] at once.
    #[must_use]
    pub fn path_mtu(&self) -> Option<u16> {
        self.path
    }

    /// Returns how far the search is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    fn send(&mut self, overdue: Time, flight: Flight) -> Due {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.flight =
            Some(Flight { attempts: flight.attempts + 1, overdue: Some(overdue), ..flight });
        Due { packet: flight.packet, sequence }
    }

    /// Returns the size to try at `now`. The link's own size comes first: most often it crosses.
    fn candidate(&mut self, now: Time) -> Option<u16> {
        if now < self.wake {
            return None;
        }
        match self.phase {
            Phase::Base | Phase::BelowBase => Some(BASE),
            Phase::Confirming => Some(self.path.unwrap_or(BASE)),
            // The answer tells whether a larger one is looked for next.
            Phase::Complete => {
                self.phase = Phase::Confirming;
                self.path
            }
            Phase::Searching if self.ceiling > u32::from(self.link) => Some(self.link),
            Phase::Searching => {
                let known = u32::from(self.path.unwrap_or(BASE));
                u16::try_from(u32::midpoint(known, self.ceiling)).ok()
            }
        }
    }

    fn too_large(&mut self, now: Time, packet: u16) {
        self.flight = None;
        self.wake = now;
        match self.phase {
            Phase::Base | Phase::BelowBase => {
                self.path = None;
                self.phase = Phase::BelowBase;
                self.ceiling = u32::from(self.link) + 1;
                self.wake = now.after(RETRY_BASE);
            }
            Phase::Confirming => {
                self.path = Some(BASE);
                self.phase = Phase::Base;
                self.ceiling = u32::from(packet);
            }
            Phase::Searching | Phase::Complete => {
                self.ceiling = u32::from(packet);
                self.narrow(now);
            }
        }
    }

    fn search(&mut self, now: Time) {
        self.flight = None;
        self.ceiling = u32::from(self.link) + 1;
        self.narrow(now);
    }

    fn narrow(&mut self, now: Time) {
        self.wake = now;
        self.phase = Phase::Searching;
        if u32::from(self.path.unwrap_or(BASE)) + 1 >= self.ceiling {
            self.raise_at = now.after(RAISE);
            self.complete(now);
        }
    }

    fn complete(&mut self, now: Time) {
        self.phase = Phase::Complete;
        self.proved_at = now;
        self.wake = now.after(self.confirm_every);
    }
}

fn confirm_every(interest: Interest) -> Duration {
    match interest {
        Interest::Carrying | Interest::Alone => CONFIRM_CARRYING,
        Interest::Idle => CONFIRM_IDLE,
    }
}
