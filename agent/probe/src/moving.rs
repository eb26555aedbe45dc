//! Owns where a peer may have moved to: which addresses are new on its list, which one is guessed, and
//! what proves a guess. Does not own whose turn it is, nor when a lane is in doubt.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::candidates::{Candidate, TunnelReport};
use crate::time::Time;

/// An address that joined the list this long before the lane fell silent has nothing to do with it.
pub const MOVING: Duration = Duration::from_secs(15);

/// Whether a list has an address that the one before had not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// It has.
    Some,
    /// It has not, or the lane never worked: then all are new.
    None,
}

/// What a look at the tunnel says of a guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// There is none.
    NoGuess,
    /// The peer was heard from since: it is where the tunnel sends now.
    Settled,
    /// The tunnel sends there; nobody was heard from yet.
    Set(SocketAddr),
    /// The tunnel does not send there yet.
    Unset(SocketAddr),
}

/// The new addresses of one peer, and the one that is guessed.
#[derive(Debug, Default)]
pub(crate) struct Moves {
    joined: BTreeMap<Candidate, Time>,
    guess: Option<Guess>,
}

#[derive(Clone, Copy, Debug)]
struct Guess {
    address: SocketAddr,
    /// Where the tunnel sent before the first guess.
    back: Option<SocketAddr>,
    /// Where it sent when this one was made.
    from: Option<SocketAddr>,
    /// When the tunnel was first seen to send there, and the bytes it had received by then.
    set: Option<(Time, u64)>,
}

impl Moves {
    /// Takes the addresses that joined the list; forgets those that left it, or joined long ago.
    pub(crate) fn follow(
        &mut self,
        now: Time,
        is_listed: impl Fn(&SocketAddr) -> bool,
        joined: impl Iterator<Item = Candidate>,
    ) -> Joined {
        self.joined.retain(|known, since| is_listed(&known.address) && is_new(now, *since));
        let before = self.joined.len();
        self.joined.extend(joined.map(|candidate| (candidate, now)));
        if self.joined.len() > before { Joined::Some } else { Joined::None }
    }

    /// Says whether there is an address to guess.
    pub(crate) fn are_possible(&self) -> bool {
        !self.joined.is_empty()
    }

    /// Takes the first new address that can be used.
    pub(crate) fn take(
        &mut self,
        now: Time,
        is_usable: impl Fn(&SocketAddr) -> bool,
    ) -> Option<SocketAddr> {
        while let Some((candidate, since)) = self.joined.pop_first() {
            if is_new(now, since) && is_usable(&candidate.address) {
                return Some(candidate.address);
            }
        }
        None
    }

    /// Begins to guess `address`; `endpoint` is where the tunnel sends now.
    pub(crate) fn guess(&mut self, address: SocketAddr, endpoint: Option<SocketAddr>) {
        let back = self.guess.map_or(endpoint, |before| before.back);
        self.guess = Some(Guess { address, back, from: endpoint, set: None });
    }

    /// Takes what the tunnel reports. It sends to where it last heard from the peer: bytes that come
    /// while it sends to the guessed address, or another address all at once, are the peer's word.
    pub(crate) fn looked(&mut self, now: Time, report: &TunnelReport) -> Look {
        let Some(guess) = &mut self.guess else { return Look::NoGuess };
        let is_set = report.endpoint == Some(guess.address);
        let heard = match guess.set {
            Some((_, bytes)) => !is_set || report.received_bytes > bytes,
            // Neither here nor there: the peer called before the guess was written.
            None => !is_set && report.endpoint.is_some() && report.endpoint != guess.from,
        };
        if heard {
            self.guess = None;
            return Look::Settled;
        }
        if !is_set {
            return Look::Unset(guess.address);
        }
        guess.set.get_or_insert((now, report.received_bytes));
        Look::Set(guess.address)
    }

    /// Takes the answer to a probe that was `sent` then; returns whether it proves the guess.
    pub(crate) fn answered(&mut self, sent: Time) -> bool {
        let is_right = self.since().is_some_and(|since| since <= sent);
        if is_right {
            self.guess = None;
        }
        is_right
    }

    /// Gives the guess up; returns where the tunnel sent before.
    pub(crate) fn give_up(&mut self) -> Option<SocketAddr> {
        self.guess.take()?.back
    }

    /// Says whether an address is guessed.
    pub(crate) fn is_guessing(&self) -> bool {
        self.guess.is_some()
    }

    /// Says since when the tunnel sends to the guessed address.
    pub(crate) fn since(&self) -> Option<Time> {
        self.guess?.set.map(|(since, _)| since)
    }
}

fn is_new(now: Time, since: Time) -> bool {
    now.since(since) < MOVING
}
