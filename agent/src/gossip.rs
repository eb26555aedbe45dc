//! Owns what peers tell this host and it tells them, between loop and lanes: what is told now, whom to
//! ask, and how asking went. Believes nothing; bytes and timing are `sealane-api`'s.

pub mod desk;
pub mod wire;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sealane_api::clusterset::ListPosition;
use sealane_api::gossip::rhythm::{Ended, Rhythm};
use sealane_api::gossip::standing::{self, ListStanding};
use sealane_api::gossip::telling::Telling;
use sealane_api::kinds::{AdvertisementSpec, ClusterSetSpec};
use sealane_api::names::ClusterId;
use sealane_probe::datagram::Digest;
use tokio::task::AbortHandle;

use self::desk::Peers;
use crate::spacing::Spacing;

/// What is told is looked at again after this, for words that expired.
const LOOK: Duration = Duration::from_secs(10);
/// Words that only the moment refused are asked for again after this.
const SOON: Duration = Duration::from_secs(1);

/// Something that a peer told.
#[derive(Debug)]
pub struct Told {
    /// Its address inside the lane or leg.
    pub from: IpAddr,
    /// A ClusterSet.
    pub list: Option<Box<ClusterSetSpec>>,
    /// Words of gateways, in the order told.
    pub words: Vec<AdvertisementSpec>,
    /// How asking ended; `None` while more is to come.
    pub ended: Option<Ended>,
}

/// How what one peer told was taken, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Reception {
    /// Nothing was wrong with it.
    #[default]
    Sound,
    /// Some of it was refused for the moment.
    TooMuch,
    /// Some of it nobody will ever believe.
    Hostile,
    /// Some of it bears a signature that nobody made: nothing more is read of that answer.
    Forged,
}

/// Least time between two announcements to all peers; probes say the same a little later.
const BETWEEN_ANNOUNCEMENTS: Duration = Duration::from_secs(1);

/// Telling and asking.
pub struct Gossip {
    origin: Instant,
    telling: Arc<Telling>,
    rhythm: Rhythm<IpAddr, Option<ClusterId>>,
    peers: Arc<Peers>,
    receptions: BTreeMap<IpAddr, Reception>,
    readers: BTreeMap<IpAddr, AbortHandle>,
    looked: Option<Instant>,
    is_stale: bool,
    /// Whether peers were not yet told that something else is told.
    has_news: bool,
    announcements: Spacing,
    /// The own words that are told, by their signatures.
    said: Vec<String>,
}

impl Default for Gossip {
    fn default() -> Self {
        Self {
            origin: Instant::now(),
            telling: Arc::default(),
            rhythm: Rhythm::default(),
            peers: Arc::default(),
            receptions: BTreeMap::new(),
            readers: BTreeMap::new(),
            looked: None,
            is_stale: true,
            has_news: false,
            announcements: Spacing::of(BETWEEN_ANNOUNCEMENTS),
            said: Vec::new(),
        }
    }
}

impl Gossip {
    /// Has what is told looked at again: something else is believed now.
    pub fn mark_stale(&mut self) {
        self.is_stale = true;
    }

    /// Takes the own words as they were said last; they are to be told if they are others than before.
    pub fn says<'a>(&mut self, words: impl IntoIterator<Item = &'a AdvertisementSpec>) {
        let said: Vec<String> =
            words.into_iter().map(|spec| spec.signed.signature.clone()).collect();
        if self.said != said {
            self.said = said;
            self.is_stale = true;
        }
    }

    /// Says whether what is told is to be looked at again.
    pub fn is_due(&self) -> bool {
        self.is_stale || self.looked.is_none_or(|at| at.elapsed() >= LOOK)
    }

    /// Returns what is told.
    pub fn telling(&self) -> &Arc<Telling> {
        &self.telling
    }

    /// Takes what is told from now on; says whether it is anything else.
    pub fn tell(&mut self, telling: Telling) -> bool {
        (self.looked, self.is_stale) = (Some(Instant::now()), false);
        let is_news = telling.digest() != self.telling.digest();
        self.telling = Arc::new(telling);
        self.has_news |= is_news;
        is_news
    }

    /// Says whether all peers are to be told now that there is news, and notes it if so.
    pub fn announces(&mut self) -> bool {
        let announces = self.has_news && self.announcements.grants(Instant::now());
        self.has_news &= !announces;
        announces
    }

    /// Says whether these are the peers that were taken last.
    pub fn follows(&self, peers: &Arc<Peers>) -> bool {
        Arc::ptr_eq(&self.peers, peers)
    }

    /// Returns who of these knows what this host knows.
    pub fn agreeing(&self, heard: &[(IpAddr, Digest)]) -> Vec<IpAddr> {
        let ours = self.digest();
        heard.iter().filter(|(_, theirs)| *theirs == ours).map(|(peer, _)| *peer).collect()
    }

    /// Takes what probes brought, and who is a peer at all.
    pub fn hear(&mut self, heard: Vec<(IpAddr, Digest)>, peers: &Arc<Peers>) {
        if !self.follows(peers) {
            self.peers = Arc::clone(peers);
            self.rhythm.follow(peers);
            self.receptions.retain(|peer, _| peers.contains_key(peer));
            self.readers.retain(|peer, _| peers.contains_key(peer));
        }
        for (peer, digest) in heard {
            self.rhythm.heard(peer, from_probe(digest));
        }
    }

    /// Returns whom to ask now. Who has told for long gives its place to those who wait.
    pub fn due(&mut self) -> Vec<IpAddr> {
        while let Some(slow) = self.rhythm.overdue(self.origin.elapsed(), self.telling.digest()) {
            tracing::debug!(peer = %slow, "peer tells too slowly, while others wait");
            self.took(slow, Reception::Sound, Some(Ended::Failed));
        }
        self.rhythm.due(self.origin.elapsed(), self.telling.digest())
    }

    /// Takes who reads what a peer tells, until it ended.
    pub fn reads(&mut self, peer: IpAddr, reader: AbortHandle) {
        self.readers.insert(peer, reader);
    }

    /// Notes how a part of what a peer told was taken, and that asking it ended, if it did.
    pub fn took(&mut self, peer: IpAddr, reception: Reception, ended: Option<Ended>) {
        let worst = self.receptions.entry(peer).or_default();
        *worst = reception.max(*worst);
        let ended = if *worst == Reception::Forged { Some(Ended::Failed) } else { ended };
        let Some(ended) = ended else { return };
        if let Some(reader) = self.readers.remove(&peer) {
            reader.abort();
        }
        let ended = match (self.receptions.remove(&peer).unwrap_or_default(), ended) {
            (Reception::Hostile | Reception::Forged, _) => Ended::Failed,
            (Reception::TooMuch, Ended::Answered) => Ended::Later(SOON),
            (_, ended) => ended,
        };
        self.rhythm.ended(peer, self.origin.elapsed(), ended);
    }

    /// Returns when there is somebody to ask or news to announce, if nothing else happens.
    pub fn next_wake(&self) -> Option<Instant> {
        let asking = self.rhythm.next_wake(self.telling.digest()).map(|at| self.origin + at);
        let announcing = self.announcements.until().filter(|_| self.has_news);
        asking.into_iter().chain(announcing).min()
    }

    /// Returns what probes say of this host.
    pub fn digest(&self) -> Digest {
        let standing::Digest { list, words } = self.telling.digest();
        Digest {
            link_index: list.position.link_index,
            version: list.position.version,
            hash: list.hash,
            positions: words,
        }
    }
}

fn from_probe(digest: Digest) -> standing::Digest {
    let position = ListPosition { link_index: digest.link_index, version: digest.version };
    let list = ListStanding { position, hash: digest.hash };
    standing::Digest { list, words: digest.positions }
}
