//! Owns what one host tells and asks inside its lanes: the product's telling, rhythm and frames, without
//! the sockets. Believes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use sealane_agent::gossip::Reception;
use sealane_api::clusterset::ListPosition;
use sealane_api::gossip::frame::{Frame, HEADER_BYTES, Header};
use sealane_api::gossip::rhythm::{Ended, Rhythm};
use sealane_api::gossip::standing::{self, ListStanding};
use sealane_api::gossip::telling::Telling;
use sealane_api::kinds::{AdvertisementSpec, ClusterSetSpec};
use sealane_probe::datagram::Digest;
use sealane_probe::time::Time;

/// What is told is looked at again after this.
const LOOK: Duration = Duration::from_secs(10);
/// Words that only the moment refused are asked for again after this.
const SOON: Duration = Duration::from_secs(1);
/// A question without an answer ends after this.
const PATIENCE: Duration = Duration::from_secs(5);

/// An answer, read.
#[derive(Debug, Default)]
pub struct Told {
    /// A list.
    pub list: Option<ClusterSetSpec>,
    /// Words of gateways.
    pub words: Vec<AdvertisementSpec>,
}

/// Telling and asking.
#[derive(Default)]
pub struct Gossip {
    /// What is told now.
    pub telling: Telling,
    rhythm: Rhythm<IpAddr, IpAddr>,
    asked: BTreeMap<IpAddr, (u64, Time)>,
    questions: u64,
    looked: Option<Time>,
    /// Something else is believed since what is told was made.
    pub is_stale: bool,
    said: Option<String>,
}

impl Gossip {
    /// Takes the own word as it was said last.
    pub fn says(&mut self, word: Option<&AdvertisementSpec>) {
        let signature = word.map(|spec| &spec.signed.signature);
        if self.said.as_ref() != signature {
            self.said = signature.cloned();
            self.is_stale = true;
        }
    }

    /// Says whether what is told is to be made anew.
    #[must_use]
    pub fn is_due(&self, now: Time) -> bool {
        self.is_stale || self.looked.is_none_or(|at| now.since(at) >= LOOK)
    }

    /// Takes what is told from now on; says whether it is anything else.
    pub fn tell(&mut self, now: Time, telling: Telling) -> bool {
        (self.looked, self.is_stale) = (Some(now), false);
        let is_news = telling.digest() != self.telling.digest();
        self.telling = telling;
        is_news
    }

    /// Takes what probes brought, and who is a peer at all; returns whom to ask, each with the number of
    /// the question and its bytes.
    pub fn turn(
        &mut self,
        now: Time,
        heard: Vec<(IpAddr, Digest)>,
        peers: &BTreeSet<IpAddr>,
    ) -> Vec<(IpAddr, u64, Vec<u8>)> {
        // Each simulated member has one address inside the lanes.
        self.rhythm.follow(&peers.iter().map(|peer| (*peer, *peer)).collect());
        for (peer, digest) in heard {
            self.rhythm.heard(peer, from_probe(digest));
        }
        self.asked.retain(|peer, _| peers.contains(peer));
        let late: Vec<IpAddr> = self
            .asked
            .iter()
            .filter_map(|(peer, (_, at))| (now.since(*at) >= PATIENCE).then_some(*peer))
            .collect();
        for peer in late {
            self.asked.remove(&peer);
            self.rhythm.ended(peer, now.since_origin(), Ended::Failed);
        }
        let due = self.rhythm.due(now.since_origin(), self.telling.digest());
        due.into_iter()
            .map(|peer| {
                self.questions += 1;
                self.asked.insert(peer, (self.questions, now));
                (peer, self.questions, Frame::Ask(self.telling.standing().clone()).encode())
            })
            .collect()
    }

    /// Returns the frames that answer a question.
    #[must_use]
    pub fn answer(&self, question: &[u8]) -> Vec<Vec<u8>> {
        let Some(Frame::Ask(theirs)) = read(question) else { return Vec::new() };
        let frames = self.telling.answer(&theirs);
        frames.iter().map(|frame| frame.to_vec()).chain([Frame::End.encode()]).collect()
    }

    /// Takes an answer; `None` when nobody waits for it.
    pub fn told(&mut self, peer: IpAddr, question: u64, frames: &[Vec<u8>]) -> Option<Told> {
        self.asked.get(&peer).filter(|(awaited, _)| *awaited == question)?;
        let mut told = Told::default();
        for frame in frames {
            match read(frame) {
                Some(Frame::List(list)) => {
                    told.list.get_or_insert(*list);
                }
                Some(Frame::Word(word)) => told.words.push(*word),
                _ => {}
            }
        }
        Some(told)
    }

    /// Notes how an answer was taken.
    pub fn took(&mut self, now: Time, peer: IpAddr, reception: Reception) {
        self.asked.remove(&peer);
        let ended = match reception {
            Reception::Sound => Ended::Answered,
            Reception::TooMuch => Ended::Later(SOON),
            Reception::Hostile | Reception::Forged => Ended::Failed,
        };
        self.rhythm.ended(peer, now.since_origin(), ended);
    }

    /// Returns when there is somebody to ask, if nothing else happens.
    #[must_use]
    pub fn next_wake(&self) -> Option<Time> {
        let due = self.rhythm.next_wake(self.telling.digest()).map(Time::from_origin);
        let late = self.asked.values().map(|(_, at)| at.after(PATIENCE)).min();
        due.into_iter().chain(late).min()
    }

    /// Returns what probes say of this host.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let standing::Digest { list, words } = self.telling.digest();
        let ListPosition { link_index, version } = list.position;
        Digest { link_index, version, hash: list.hash, positions: words }
    }
}

fn read(frame: &[u8]) -> Option<Frame> {
    let (head, payload) = frame.split_first_chunk::<HEADER_BYTES>()?;
    let header = Header::parse(*head).ok()?;
    Frame::parse(header.kind, payload).ok()
}

fn from_probe(digest: Digest) -> standing::Digest {
    let position = ListPosition { link_index: digest.link_index, version: digest.version };
    let list = ListStanding { position, hash: digest.hash };
    standing::Digest { list, words: digest.positions }
}
