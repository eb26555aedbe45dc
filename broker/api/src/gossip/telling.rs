//! What a host tells on: its list and the words it believes, framed once and shared by all who ask.
//! Whoever serves it needs no receiver and no lock.

use super::frame::{Frame, MAX_WORDS};
use super::standing::{self, Digest, ListStanding, NameHash, Standing, WordStanding};
use crate::clusterset;
use crate::receiver::Receiver;
use crate::time::UnixTime;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A whole frame.
pub type FrameBytes = Arc<[u8]>;

/// Everything a host can tell at one moment.
#[derive(Clone, Debug)]
pub struct Telling {
    standing: Standing,
    /// Hashed once: it is asked for in each turn of a host's loop.
    digest: Digest,
    list: Option<FrameBytes>,
    words: BTreeMap<NameHash, FrameBytes>,
}

impl Default for Telling {
    fn default() -> Self {
        let standing = Standing::default();
        let digest = standing.digest();
        Self { standing, digest, list: None, words: BTreeMap::new() }
    }
}

impl Telling {
    /// Returns what `receiver` can tell now; frames that `before` has already are shared with it.
    #[must_use]
    pub fn of(receiver: &Receiver, now: UnixTime, before: &Self) -> Self {
        let mut telling = Self::default();
        if let Some((standing, frame)) = list(receiver, before) {
            telling.standing.list = standing;
            telling.list = Some(frame);
        }
        for (id, held) in receiver.words(now).take(MAX_WORDS) {
            let Some(spec) = &held.spec else { continue };
            let (name, standing) = (NameHash::of(id), WordStanding::of(held));
            let known = before.words.get(&name);
            let known = known.filter(|_| before.standing.words.get(&name) == Some(&standing));
            let frame = known
                .cloned()
                .unwrap_or_else(|| Frame::Word(Box::new(spec.clone())).encode().into());
            telling.standing.words.insert(name, standing);
            telling.words.insert(name, frame);
        }
        telling.digest = telling.standing.digest();
        telling
    }

    /// Returns how far this host is: what it asks others with.
    #[must_use]
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Returns that in brief, for probes.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// Returns what a host that stands at `theirs` lacks, framed, the list first; without the end.
    #[must_use]
    pub fn answer(&self, theirs: &Standing) -> Vec<FrameBytes> {
        let list = self.list.iter().filter(|_| self.standing.list.is_news_to(&theirs.list));
        let words = self.words.iter().filter(|(name, _)| {
            let ours = self.standing.words.get(name);
            let theirs = theirs.words.get(name);
            ours.is_some_and(|ours| theirs.is_none_or(|theirs| ours.is_news_to(theirs)))
        });
        list.chain(words.map(|(_, frame)| frame)).cloned().collect()
    }
}

fn list(receiver: &Receiver, before: &Telling) -> Option<(ListStanding, FrameBytes)> {
    let position = receiver.clusterset()?.position;
    let spec = receiver.held().clusterset.as_ref()?;
    let payload = spec.signed.decode(clusterset::MAX_BYTES).ok()?;
    let standing = ListStanding { position, hash: standing::head(&payload.digest()) };
    let known = before.list.as_ref().filter(|_| before.standing.list == standing);
    let frame = known.cloned();
    let frame = frame.unwrap_or_else(|| Frame::List(Box::new(spec.clone())).encode().into());
    Some((standing, frame))
}
