//! Owns the answers to other ends' requests: whom to answer, how often, with what. Does not own
//! sockets, and does not decide who a peer is: the plan names the sources.
//!
//! Nobody can make it amplify: it answers known sources only, one 64-byte reply for one request of at
//! least 64 bytes, and a bounded number a second.

use std::collections::BTreeMap;
use std::net::IpAddr;

use thiserror::Error;

use crate::datagram::{Datagram, Digest, HEADER_BYTES, Kind, Malformed};
use crate::time::Time;

/// Answers a second for one source, in the long run: three times what a path in doubt asks for.
pub const ANSWERS_PER_SECOND: u64 = 100;
/// Answers for one source at once.
pub const BURST: u64 = 100;

/// Bucket units of one answer: a bucket fills by one unit in a microsecond times the rate.
const ANSWER: u64 = 1_000_000;

/// An answer to send back to where the request came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// UDP payload.
    pub payload: [u8; HEADER_BYTES as usize],
    /// What the requester knows of the clusterset, if it gossips.
    pub digest: Option<Digest>,
}

/// Why a request gets no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Silence {
    /// The plan names no such source; it may after the next plan.
    #[error("probe from {0}, which is neither a peer nor a node of ours")]
    UnknownSource(IpAddr),
    /// Too many requests; a later one is answered.
    #[error("more than {ANSWERS_PER_SECOND} probes a second from {0}")]
    TooMany(IpAddr),
    /// Not a probe at all.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Replies belong to a path.
    #[error("probe reply where a request was due; it belongs to a path")]
    Reply,
}

/// Answers requests.
#[derive(Debug, Default)]
pub struct Responder {
    buckets: BTreeMap<IpAddr, Bucket>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    units: u64,
    at: Time,
}

impl Responder {
    /// Takes the addresses that are answered from now on: peers' probe addresses and our own nodes.
    /// A source that stays keeps its count, so naming it again gives it nothing.
    pub fn set_sources(&mut self, now: Time, sources: impl IntoIterator<Item = IpAddr>) {
        let full = Bucket { units: BURST * ANSWER, at: now };
        let known = std::mem::take(&mut self.buckets);
        let keep = |source: IpAddr| (source, known.get(&source).copied().unwrap_or(full));
        self.buckets = sources.into_iter().map(keep).collect();
    }

    /// Answers one request; `digest` is what this end knows of the clusterset.
    ///
    /// # Errors
    /// [`Silence`] says why there is no answer.
    pub fn answer(
        &mut self,
        now: Time,
        source: IpAddr,
        bytes: &[u8],
        digest: Option<Digest>,
    ) -> Result<Answer, Silence> {
        let bucket = self.buckets.get_mut(&source).ok_or(Silence::UnknownSource(source))?;
        let request = Datagram::parse(bytes)?;
        if request.kind == Kind::Reply {
            return Err(Silence::Reply);
        }
        if !bucket.take(now) {
            return Err(Silence::TooMany(source));
        }
        Ok(Answer { payload: request.reply(digest), digest: request.digest })
    }
}

impl Bucket {
    fn take(&mut self, now: Time) -> bool {
        let elapsed = u64::try_from(now.since(self.at).as_micros()).unwrap_or(u64::MAX);
        let filled = self.units.saturating_add(elapsed.saturating_mul(ANSWERS_PER_SECOND));
        self.units = filled.min(BURST * ANSWER);
        self.at = self.at.max(now);
        let enough = self.units >= ANSWER;
        if enough {
            self.units -= ANSWER;
        }
        enough
    }
}
