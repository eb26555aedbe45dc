//! Owns which remote address of a lane is tried next, private ones first. Does not own the tunnel:
//! it says which endpoint to set and is told what the tunnel sees. Does not own validation: the
//! candidates come from a verified advertisement.
//!
//! A lane that works is left alone: an endpoint learnt from an authenticated packet is the best there
//! is (roaming), also where a better kind of address is on the list. WireGuard sends to one endpoint
//! only, so trying a private address under a lane that works over a public one would lose packets
//! until the peer's next one came; the better address has its chance at the next loss of the lane.
//!
//! A lane that worked and falls silent when its peer advertises an address that is new has most likely
//! moved there: that address is guessed as soon as replies are overdue, before the lane is found down. A
//! guess that nobody answers is taken back: what is lost may have been replies alone.
//!
//! The first round through the list is quick: `sealane-tunnel` calls a new endpoint at once, and an
//! answer that comes after its turn is believed all the same, because the lane roams to it. The last
//! address of that round, and each one in the rounds that follow, keeps its turn for 5 s, the pause
//! in which WireGuard sends one initiation to a peer: no candidate gets two within 5 s.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::health::Doubt;
use crate::moving::{Joined, Look, Moves};
use crate::seed::Seed;
use crate::time::Time;

/// How long a candidate is tried in the first round while others were not tried yet: a round trip
/// over most networks.
pub const FIRST_ATTEMPT: Duration = Duration::from_millis(250);
/// How long a candidate is tried after that: one handshake attempt (WireGuard's REKEY_TIMEOUT).
pub const ATTEMPT: Duration = Duration::from_secs(5);
/// How long a candidate is tried once many rounds were in vain.
pub const ATTEMPT_CEILING: Duration = Duration::from_secs(30);
/// Rounds through all candidates before attempts grow longer.
pub const PATIENT_ROUNDS: u32 = 3;
/// A lane without a received byte for this long is searched for again: probes alone bring some
/// every second.
pub const QUIET: Duration = Duration::from_secs(5);
/// A peer that is believed to have moved was not heard from for this long.
pub const SILENCE: Duration = Duration::from_millis(150);
/// A session older than this is no longer used by WireGuard (REJECT_AFTER_TIME).
pub const SESSION: Duration = Duration::from_secs(180);
/// How often the tunnel should be asked, at least.
pub const LOOK: Duration = Duration::from_secs(1);

/// Where a candidate comes from; the order is the order of trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// An address in a network that this host has a link in: the shortest way there is.
    OnLink,
    /// An address of the gateway's own links.
    Private,
    /// A public address its administrator or cloud named.
    Public,
    /// The address others saw it come from.
    Observed,
    /// The address its last authenticated packet came from, as the tunnel tells.
    Learnt,
}

/// One address a peer may be reached at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    /// Where it comes from.
    pub source: Source,
    /// Where WireGuard would send.
    pub address: SocketAddr,
}

/// The address families this host can send to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Families {
    /// It has an IPv4 route out.
    pub ipv4: bool,
    /// It has an IPv6 route out.
    pub ipv6: bool,
}

impl Families {
    fn reach(self, address: &SocketAddr) -> bool {
        if address.is_ipv4() { self.ipv4 } else { self.ipv6 }
    }
}

/// What the tunnel knows of the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelReport {
    /// Where it sends now; absent if it was never told nor heard from the peer.
    pub endpoint: Option<SocketAddr>,
    /// Age of the last completed handshake; absent if there was none.
    pub handshake_age: Option<Duration>,
    /// Authenticated bytes received since the peer was added.
    pub received_bytes: u64,
}

/// What to do with the peer's endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Do not touch it.
    LeaveAlone,
    /// Set it to this.
    Set(SocketAddr),
}

/// The search for the address of one lane.
#[derive(Debug)]
pub struct CandidateSearch {
    seed: Seed,
    families: Families,
    tried: BTreeMap<Candidate, u32>,
    attempt: Option<Attempt>,
    received: Option<Received>,
    worked: bool,
    last: Option<SocketAddr>,
    moves: Moves,
    next: Time,
    steps: u64,
}

#[derive(Clone, Copy, Debug)]
struct Attempt {
    address: SocketAddr,
    until: Time,
}

#[derive(Clone, Copy, Debug)]
struct Received {
    bytes: u64,
    grew: Time,
}

impl CandidateSearch {
    /// Starts with nothing tried and no candidates.
    #[must_use]
    pub fn new(now: Time, seed: Seed, families: Families) -> CandidateSearch {
        CandidateSearch {
            seed,
            families,
            tried: BTreeMap::new(),
            attempt: None,
            received: None,
            worked: false,
            last: None,
            moves: Moves::default(),
            next: now,
            steps: 0,
        }
    }

    /// Goes on where another search of this lane ended: at the address that worked. A tunnel made
    /// anew has forgotten it, and the peer has not moved for that.
    pub fn resume_at(&mut self, address: SocketAddr) {
        self.last = Some(address);
        self.worked = true;
        self.learn(self.last);
    }

    /// Returns the address that worked last.
    #[must_use]
    pub fn last(&self) -> Option<SocketAddr> {
        self.last
    }

    /// Takes the families this host can send to now.
    pub fn set_families(&mut self, families: Families) {
        self.families = families;
    }

    /// Takes the list the peer advertises now; order and duplicates do not matter.
    ///
    /// Progress is kept: what stays on the list keeps its count, what is new joins the round under
    /// way, and an attempt goes on unless its address left the list. Returns
    /// whether an address joined the list of a lane that had worked.
    pub fn set_candidates(&mut self, now: Time, candidates: &[Candidate]) -> Joined {
        let mut listed: BTreeMap<SocketAddr, Source> = BTreeMap::new();
        let learnt = self.tried.keys().filter(|known| known.source == Source::Learnt);
        for candidate in candidates.iter().chain(learnt) {
            let source = listed.entry(candidate.address).or_insert(candidate.source);
            *source = candidate.source.min(*source);
        }
        let round = self.tried.values().min().copied().unwrap_or(0);
        let counts: BTreeMap<SocketAddr, u32> =
            self.tried.iter().map(|(known, tries)| (known.address, *tries)).collect();
        let joined = listed.iter().filter(|(address, _)| {
            // Of a lane that never worked, all are new.
            self.last.is_some() && !counts.contains_key(*address)
        });
        let joined = joined.map(|(&address, &source)| Candidate { source, address });
        let joined = self.moves.follow(now, |address| listed.contains_key(address), joined);
        self.tried = listed
            .into_iter()
            .map(|(address, source)| {
                let tries = counts.get(&address).copied().unwrap_or(round);
                (Candidate { source, address }, tries)
            })
            .collect();
        if self.attempt.is_some_and(|attempt| !self.is_known(attempt.address)) {
            self.attempt = None;
        }
        joined
    }

    /// Returns what to do with the endpoint now, given what the tunnel reports.
    ///
    /// Level-triggered: while an attempt lasts and the tunnel does not yet show its address, the
    /// same [`Choice::Set`] is returned again, so a lost write repairs itself.
    pub fn step(&mut self, now: Time, report: &TunnelReport) -> Choice {
        self.next = now.after(LOOK);
        let grew = self.count(now, report.received_bytes);
        if let Some(choice) = self.guess(now, report, Doubt::Grave) {
            return choice;
        }
        if self.works(now, report) {
            self.rest(report);
            return Choice::LeaveAlone;
        }
        // An endpoint that worked a moment ago, or that the peer has just been heard from, gets an
        // attempt of its own before the list does.
        let heard = grew || std::mem::take(&mut self.worked);
        let untried = |at: &SocketAddr| heard && self.trying() != Some(*at);
        if let Some(endpoint) = report.endpoint.filter(untried) {
            self.learn(Some(endpoint));
            self.begin(now, endpoint, ATTEMPT);
            return Choice::LeaveAlone;
        }
        if let Some(address) = self.last.filter(|at| report.endpoint.is_none() && untried(at)) {
            self.begin(now, address, ATTEMPT);
            return Choice::Set(address);
        }
        if self.attempt.is_none_or(|attempt| attempt.until <= now) {
            self.attempt = None;
            let Some(address) = self.next_address() else { return Choice::LeaveAlone };
            let others_wait =
                self.usable().any(|(known, tries)| *tries == 0 && known.address != address);
            self.begin(now, address, if others_wait { FIRST_ATTEMPT } else { ATTEMPT });
        }
        match self.attempt {
            Some(attempt) if report.endpoint != Some(attempt.address) => {
                Choice::Set(attempt.address)
            }
            Some(_) | None => Choice::LeaveAlone,
        }
    }

    /// Notes that the lane works, by better evidence than the tunnel's: probes are answered, or were a
    /// moment ago. A tunnel that was made anew since is told where.
    pub fn working(&mut self, now: Time, report: &TunnelReport) -> Choice {
        self.next = now.after(LOOK);
        self.received = Some(Received { bytes: report.received_bytes, grew: now });
        self.rest(report);
        self.last.filter(|_| report.endpoint.is_none()).map_or(Choice::LeaveAlone, Choice::Set)
    }

    /// Notes that replies are overdue on a lane that is not yet found down. Once there is `Doubt::Grave`,
    /// an address that is new is tried; nothing else is touched.
    pub fn doubted(&mut self, now: Time, report: &TunnelReport, doubt: Doubt) -> Choice {
        self.next = now.after(LOOK);
        self.count(now, report.received_bytes);
        if let Some(choice) = self.guess(now, report, doubt) {
            return choice;
        }
        let attempt = self.attempt.filter(|attempt| now < attempt.until);
        let unset = attempt.filter(|attempt| report.endpoint != Some(attempt.address));
        unset.map_or(Choice::LeaveAlone, |attempt| Choice::Set(attempt.address))
    }

    /// Notes that a probe was answered which was `sent` then.
    pub fn answered(&mut self, sent: Time) {
        if self.moves.answered(sent) {
            self.attempt = None;
        }
    }

    /// Says whether there is an address that the peer may have moved to.
    #[must_use]
    pub fn may_have_moved(&self) -> bool {
        self.moves.are_possible() || self.attempt.is_some()
    }

    /// Says whether an address is tried as such that nobody was heard from yet.
    #[must_use]
    pub fn is_guessing(&self) -> bool {
        self.moves.is_guessing()
    }

    /// Says since when the tunnel sends to such an address; a probe sent earlier proves nothing of it.
    #[must_use]
    pub fn guessed_since(&self) -> Option<Time> {
        self.moves.since()
    }

    /// Goes on with a guess, begins the next, or takes the last one back. `None` without any.
    fn guess(&mut self, now: Time, report: &TunnelReport, doubt: Doubt) -> Option<Choice> {
        let is_due = self.attempt.is_none_or(|attempt| attempt.until <= now);
        match self.moves.looked(now, report) {
            Look::Settled => {
                self.attempt = None;
                return None;
            }
            Look::Set(_) if !is_due => return Some(Choice::LeaveAlone),
            Look::Unset(address) if !is_due => return Some(Choice::Set(address)),
            Look::NoGuess | Look::Set(_) | Look::Unset(_) => {}
        }
        if doubt == Doubt::Grave
            && let Some(address) = self.moved_to(now)
        {
            self.begin(now, address, FIRST_ATTEMPT);
            self.moves.guess(address, report.endpoint);
            return Some(Choice::Set(address));
        }
        let back = self.moves.give_up()?;
        self.begin(now, back, FIRST_ATTEMPT);
        Some(Choice::Set(back))
    }

    /// Takes an address that a peer which is silent has most likely moved to, unless another attempt is
    /// under way.
    fn moved_to(&mut self, now: Time) -> Option<SocketAddr> {
        let is_silent = self.received.is_none_or(|received| now.since(received.grew) >= SILENCE);
        let is_trying = self
            .attempt
            .is_some_and(|attempt| now < attempt.until && Some(attempt.address) != self.last);
        if !is_silent || is_trying {
            return None;
        }
        let families = self.families;
        self.moves.take(now, |address| families.reach(address))
    }

    /// Returns when [`CandidateSearch::step`] should next be called.
    #[must_use]
    pub fn next_wake(&self) -> Time {
        self.attempt.map_or(self.next, |attempt| attempt.until.min(self.next))
    }

    /// Returns the address being tried; absent while the lane works or nothing is left to try.
    #[must_use]
    pub fn trying(&self) -> Option<SocketAddr> {
        self.attempt.map(|attempt| attempt.address)
    }

    fn rest(&mut self, report: &TunnelReport) {
        self.attempt = None;
        self.worked = true;
        self.last = report.endpoint.or(self.last);
        self.tried.values_mut().for_each(|tries| *tries = 0);
        self.learn(report.endpoint);
    }

    /// Notes the byte counter; returns whether it grew. A counter that fell is a new tunnel's.
    fn count(&mut self, now: Time, bytes: u64) -> bool {
        let before = self.received.map(|received| received.bytes);
        let grew = before.is_some_and(|before| bytes > before);
        if before.is_none() || grew {
            self.received = Some(Received { bytes, grew: now });
        } else if let Some(received) = &mut self.received {
            received.bytes = bytes;
        }
        grew
    }

    /// The first look at a tunnel counts as growth, so a lane found working is not disturbed.
    fn works(&self, now: Time, report: &TunnelReport) -> bool {
        report.handshake_age.is_some_and(|age| age < SESSION)
            && self.received.is_some_and(|received| now.since(received.grew) < QUIET)
    }

    fn is_known(&self, address: SocketAddr) -> bool {
        self.tried.keys().any(|known| known.address == address)
    }

    /// Keeps one learnt address, the newest.
    fn learn(&mut self, endpoint: Option<SocketAddr>) {
        let Some(address) = endpoint.filter(|address| !self.is_known(*address)) else { return };
        let round = self.tried.values().min().copied().unwrap_or(0);
        self.tried.retain(|known, _| known.source != Source::Learnt);
        self.tried.insert(Candidate { source: Source::Learnt, address }, round);
    }

    fn usable(&self) -> impl Iterator<Item = (&Candidate, &u32)> {
        self.tried.iter().filter(|(known, _)| self.families.reach(&known.address))
    }

    fn next_address(&self) -> Option<SocketAddr> {
        self.usable()
            .min_by_key(|(known, tries)| (**tries, **known))
            .map(|(known, _)| known.address)
    }

    /// Starts an attempt of this length at least; later rounds take longer.
    fn begin(&mut self, now: Time, address: SocketAddr, least: Duration) {
        let tries = self.tried.iter_mut().find(|(known, _)| known.address == address);
        let rounds =
            tries.map_or(0, |(_, tries)| std::mem::replace(tries, tries.saturating_add(1)));
        let doublings = rounds.saturating_sub(PATIENT_ROUNDS - 1).min(8);
        let length = least.saturating_mul(1 << doublings).min(ATTEMPT_CEILING);
        self.steps += 1;
        let until = now.after(self.seed.jittered(length, self.steps).max(least));
        self.attempt = Some(Attempt { address, until });
    }
}
