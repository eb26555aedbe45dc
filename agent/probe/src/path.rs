//! Owns one path as a whole: a lane, or a leg between a node and its gateway. Joins health, path MTU
//! and (for a lane) the search for the peer's address, turns due probes into datagrams and replies
//! into a report. Does not own sockets, clocks, or the answers to the other end's requests.

use std::net::{IpAddr, SocketAddr};

use thiserror::Error;

use crate::candidates::{Candidate, CandidateSearch, Choice, Families, TunnelReport};
use crate::datagram::{self, Datagram, Digest, HEADER_BYTES, Kind, Malformed};
use crate::health::{Health, Heard, Interest, State};
use crate::moving::Joined;
use crate::mtu::{MtuSearch, Phase};
use crate::seed::Seed;
use crate::time::Time;
use crate::window::{Loss, Rtt};

/// What a path is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathConfig {
    /// Where probes go: the other end's address inside the path. The port is [`datagram::PORT`].
    pub remote: IpAddr,
    /// MTU of the device probes leave by, in bytes.
    pub link_mtu: u16,
    /// How soon a death must be noticed.
    pub interest: Interest,
    /// Drawn from the operating system, once per path and run.
    pub seed: Seed,
}

/// A datagram to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub to: SocketAddr,
    /// UDP payload.
    pub payload: Vec<u8>,
}

/// A reply that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// What the other end knows of the clusterset, if it gossips.
    pub digest: Option<Digest>,
}

/// Why a datagram was not taken. Nothing changed; sending the same bytes again never helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Rejected {
    /// Not a probe at all.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Requests belong to the responder.
    #[error("probe request where a reply was due; it belongs to the responder")]
    Request,
    /// Not the secret of that request: a reply to an earlier run, or a guess.
    #[error("reply {0} does not carry the nonce of its request")]
    Nonce(u64),
    /// Answered before.
    #[error("reply {0} came twice")]
    Duplicate(u64),
    /// Nothing that was sent lately is answered by it.
    #[error("reply {0} answers nothing that was asked lately")]
    Unasked(u64),
}

/// What is known of a path now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathReport {
    /// Whether packets cross it both ways.
    pub state: State,
    /// When that last changed.
    pub since: Time,
    /// When a reply was last taken; absent if none ever was.
    pub last_reply: Option<Time>,
    /// Round-trip times; absent before the first reply.
    pub rtt: Option<Rtt>,
    /// Loss over the last hundred probes.
    pub loss: Loss,
    /// Probes in a row answered in time, up to now.
    pub answered_in_a_row: u32,
    /// Largest inner IP packet known to cross, in bytes; absent before 1280 has.
    pub path_mtu: Option<u16>,
    /// How far the search for it is.
    pub mtu_phase: Phase,
    /// The endpoint being tried; absent while the lane works, and always on a leg.
    pub trying: Option<SocketAddr>,
}

/// One path.
#[derive(Debug)]
pub struct Path {
    remote: IpAddr,
    seed: Seed,
    health: Health,
    mtu: MtuSearch,
    search: Option<CandidateSearch>,
    endpoint: Option<SocketAddr>,
    last_reply: Option<Time>,
    /// The coming up that the path MTU was last proved for.
    proved_since: Option<Time>,
}

impl Path {
    /// Starts a leg between a node and a gateway: its address is known, nothing is searched for.
    #[must_use]
    pub fn leg(now: Time, config: PathConfig) -> Path {
        Path {
            remote: config.remote,
            seed: config.seed,
            health: Health::new(now, config.seed, config.interest),
            mtu: MtuSearch::new(config.link_mtu, config.interest),
            search: None,
            endpoint: None,
            last_reply: None,
            proved_since: None,
        }
    }

    /// Starts a lane, whose peer may be reached at any of `candidates`.
    #[must_use]
    pub fn lane(
        now: Time,
        config: PathConfig,
        candidates: &[Candidate],
        families: Families,
    ) -> Path {
        let mut search = CandidateSearch::new(now, config.seed, families);
        search.set_candidates(now, candidates);
        Path { search: Some(search), ..Path::leg(now, config) }
    }

    /// Takes how soon a death must be noticed from now on.
    pub fn set_interest(&mut self, interest: Interest) {
        self.health.set_interest(interest);
        self.mtu.set_interest(interest);
    }

    /// Takes the MTU of the device probes leave by, in bytes.
    pub fn set_link_mtu(&mut self, now: Time, link_mtu: u16) {
        self.mtu.set_link(now, link_mtu);
    }

    /// Takes the addresses the peer advertises now; progress is kept. A leg has none. When one is new,
    /// the lane is probed at once: it may have moved.
    pub fn set_candidates(&mut self, now: Time, candidates: &[Candidate]) {
        let Some(search) = &mut self.search else { return };
        if search.set_candidates(now, candidates) == Joined::Some
            && self.health.state() == State::Up
        {
            self.health.hasten();
        }
    }

    /// Returns whether the peer may have moved: a reply is overdue since it advertises an address that is
    /// new, or nobody was heard from where it is sought. The tunnel is to be asked often then.
    #[must_use]
    pub fn may_have_moved(&self) -> bool {
        let Some(search) = &self.search else { return false };
        let is_in_doubt = self.health.state() == State::Up && self.health.is_in_doubt();
        search.is_guessing() || is_in_doubt && search.may_have_moved()
    }

    /// Takes the families this host can send to now.
    pub fn set_families(&mut self, families: Families) {
        if let Some(search) = &mut self.search {
            search.set_families(families);
        }
    }

    /// Goes on where another path of this lane ended: at the remote address that worked.
    pub fn resume_at(&mut self, address: SocketAddr) {
        if let Some(search) = &mut self.search {
            search.resume_at(address);
        }
    }

    /// Returns the remote address that worked last.
    #[must_use]
    pub fn last_endpoint(&self) -> Option<SocketAddr> {
        self.search.as_ref().and_then(CandidateSearch::last)
    }

    /// Takes what the tunnel reports of the peer; returns what to do with its endpoint.
    ///
    /// A lane that probes find up is left alone, unless its peer has most likely moved, or its tunnel was
    /// made anew and knows no endpoint: it goes on where it worked. A new endpoint has its path MTU proved
    /// again. A lane
    /// wants this at each [`Path::next_wake`]; a leg never.
    pub fn tunnel_reported(&mut self, now: Time, report: &TunnelReport) -> Choice {
        let moved = self.endpoint.is_some() && self.endpoint != report.endpoint;
        self.endpoint = report.endpoint;
        if moved {
            self.mtu.reprove(now);
        }
        let may_have_moved = self.may_have_moved();
        let Some(search) = &mut self.search else { return Choice::LeaveAlone };
        let before = search.guessed_since();
        let choice = match self.health.state() {
            State::Up if may_have_moved => search.doubted(now, report, self.health.doubt()),
            State::Up => search.working(now, report),
            State::Unknown | State::Down => search.step(now, report),
        };
        // Whether an address is the right one is told by whoever answers there.
        if matches!(choice, Choice::Set(_)) || search.guessed_since() > before {
            self.health.hasten();
        }
        choice
    }

    /// Returns the next datagram that is due; call until it returns none. `digest` is what this end
    /// knows of the clusterset.
    pub fn poll_transmit(&mut self, now: Time, digest: Option<Digest>) -> Option<Transmit> {
        let due = self.health.poll(now);
        self.steer_mtu(now);
        if let Some(due) = due {
            return Some(self.request(now, HEADER_BYTES, due.sequence, digest));
        }
        let due = self.mtu.poll(now, self.health.timeout())?;
        let size = due.packet.saturating_sub(datagram::overhead(self.remote));
        Some(self.request(now, size, due.sequence, digest))
    }

    /// Takes a datagram that came from this path's remote address.
    ///
    /// # Errors
    /// [`Rejected`] says why it was not taken; then nothing has changed.
    pub fn received(&mut self, now: Time, bytes: &[u8]) -> Result<Received, Rejected> {
        let reply = Datagram::parse(bytes)?;
        if reply.kind == Kind::Request {
            return Err(Rejected::Request);
        }
        if reply.nonce != self.seed.nonce(reply.size, reply.sequence) {
            return Err(Rejected::Nonce(reply.sequence));
        }
        if reply.size == HEADER_BYTES {
            match self.health.replied(now, reply.sequence, reply.sent) {
                Heard::Fresh => {
                    if let Some(search) = &mut self.search {
                        search.answered(reply.sent);
                    }
                }
                Heard::Duplicate => return Err(Rejected::Duplicate(reply.sequence)),
                Heard::Unknown => return Err(Rejected::Unasked(reply.sequence)),
            }
        } else {
            let packet = reply.size.saturating_add(datagram::overhead(self.remote));
            if !self.mtu.replied(now, reply.sequence, packet) {
                return Err(Rejected::Unasked(reply.sequence));
            }
        }
        self.last_reply = Some(now);
        self.steer_mtu(now);
        Ok(Received { digest: reply.digest })
    }

    /// Takes the local stack's refusal (`EMSGSIZE`) to send `payload` bytes.
    pub fn refused(&mut self, now: Time, payload: usize) {
        let payload = u16::try_from(payload).unwrap_or(u16::MAX);
        self.mtu.refused(now, payload.saturating_add(datagram::overhead(self.remote)));
    }

    /// Returns when [`Path::poll_transmit`] next has something to do, or the tunnel is to be asked.
    #[must_use]
    pub fn next_wake(&self) -> Time {
        let transmit = self.next_transmit();
        self.search.as_ref().map_or(transmit, |search| search.next_wake().min(transmit))
    }

    /// Returns when [`Path::poll_transmit`] next has something to do.
    #[must_use]
    pub fn next_transmit(&self) -> Time {
        let health = self.health.next_wake();
        self.mtu.next_wake().map_or(health, |mtu| mtu.min(health))
    }

    /// Returns what is known now.
    #[must_use]
    pub fn report(&self) -> PathReport {
        PathReport {
            state: self.health.state(),
            since: self.health.since(),
            last_reply: self.last_reply,
            rtt: self.health.rtt(),
            loss: self.health.loss(),
            answered_in_a_row: self.health.answered_in_a_row(),
            path_mtu: self.mtu.path_mtu(),
            mtu_phase: self.mtu.phase(),
            trying: self.search.as_ref().and_then(CandidateSearch::trying),
        }
    }

    fn steer_mtu(&mut self, now: Time) {
        match self.health.state() {
            State::Up if !self.health.is_in_doubt() => self.mtu.resume(),
            State::Up | State::Unknown | State::Down => self.mtu.pause(),
        }
        if self.proved_since != Some(self.health.since()) && self.health.state() == State::Up {
            self.proved_since = Some(self.health.since());
            self.mtu.reprove(now);
        }
    }

    fn request(&self, now: Time, size: u16, sequence: u64, digest: Option<Digest>) -> Transmit {
        let nonce = self.seed.nonce(size, sequence);
        let request = Datagram { kind: Kind::Request, size, sequence, nonce, sent: now, digest };
        Transmit { to: SocketAddr::new(self.remote, datagram::PORT), payload: request.encode() }
    }
}
