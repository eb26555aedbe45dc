//! Owns a set of watched paths: which is due next, and which one a datagram is of, both found without
//! a look at the others. Does not own sockets or clocks, nor what follows from a path's health.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use sealane_probe::datagram::Digest;
use sealane_probe::path::{Path, Received, Transmit};
use sealane_probe::time::Time;
use sealane_state::facts::Observation;

use super::watched::{End, News, Watched};
use super::ways;
use crate::probe_io::{Sent, Way};

/// Paths by identity.
///
/// A turn costs what is due in it, whatever the number of paths: with a thousand, each answered probe
/// would otherwise cost a thousand looks.
#[derive(Debug)]
pub struct PathSet<Id, Target> {
    all: BTreeMap<Id, Watched<Target>>,
    due: BTreeSet<(Time, Id)>,
    by_end: BTreeMap<Way, BTreeMap<IpAddr, Id>>,
}

impl<Id, Target> Default for PathSet<Id, Target> {
    fn default() -> Self {
        Self { all: BTreeMap::new(), due: BTreeSet::new(), by_end: BTreeMap::new() }
    }
}

impl<Id: Ord + Clone, Target: End + Clone + PartialEq> PathSet<Id, Target> {
    /// Takes the targets of a new plan and the host it was made for. Paths whose way is the same keep
    /// what they know; `start` makes the others, `adjust` tells each what is new.
    pub(super) fn follow(
        &mut self,
        targets: &BTreeMap<Id, Target>,
        seen: &Observation,
        mut start: impl FnMut(&Id, &Target) -> Path,
        mut adjust: impl FnMut(&Target, &mut Path),
    ) {
        self.all.retain(|id, watched| {
            targets.get(id).is_some_and(|target| {
                target.destination() == watched.destination()
                    && ways::of(target, seen) == *watched.way()
            })
        });
        for (id, target) in targets {
            let watched = self.all.entry(id.clone()).or_insert_with(|| {
                Watched::begin(target.clone(), ways::of(target, seen), start(id, target))
            });
            watched.follow(target, &mut adjust);
        }
        self.sort();
    }

    /// Gives paths other identities; what is known of them stays.
    pub(super) fn rename(&mut self, mut name: impl FnMut(Id) -> Id) {
        let all = std::mem::take(&mut self.all).into_iter();
        self.all = all.map(|(id, watched)| (name(id), watched)).collect();
        self.sort();
    }

    /// Sends what is due by `send`, which says what became of it.
    pub fn send_due(
        &mut self,
        now: Time,
        digest: Option<Digest>,
        mut send: impl FnMut(&Way, &Transmit) -> Sent,
    ) -> News {
        let is_due = |(at, _): &&(Time, Id)| *at <= now;
        let due: Vec<Id> = self.due.iter().take_while(is_due).map(|(_, id)| id.clone()).collect();
        let sent = due
            .iter()
            .filter_map(|id| self.touch(id, |watched| watched.send_due(now, digest, &mut send)));
        sent.max().unwrap_or_default()
    }

    /// Takes a datagram that came by this way from this address. Returns `None` when it is no reply
    /// that a path waits for.
    pub fn received(
        &mut self,
        now: Time,
        (way, from): (&Way, IpAddr),
        bytes: &[u8],
    ) -> Option<(Received, News)> {
        let id = self.by_end.get(way)?.get(&from)?.clone();
        self.touch(&id, |watched| watched.received(now, bytes).ok())?
    }

    /// Returns when something is next due; `None` without a path.
    pub fn next_due(&self) -> Option<Time> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Returns one path.
    pub fn get(&self, id: &Id) -> Option<&Watched<Target>> {
        self.all.get(id)
    }

    /// Returns all paths, in the order of their identities.
    pub fn iter(&self) -> impl Iterator<Item = (&Id, &Watched<Target>)> {
        self.all.iter()
    }

    /// Returns the ways that paths take.
    pub fn ways(&self) -> impl Iterator<Item = &Way> {
        self.by_end.keys()
    }

    /// Returns the other ends, and how each is reached.
    pub fn ends(&self) -> impl Iterator<Item = (&Way, IpAddr)> {
        self.by_end.iter().flat_map(|(way, ends)| ends.keys().map(move |address| (way, *address)))
    }

    /// Returns the way to an address.
    pub fn way_to(&self, address: IpAddr) -> Option<&Way> {
        let mut ways = self.by_end.iter();
        ways.find(|(_, ends)| ends.contains_key(&address)).map(|(way, _)| way)
    }

    /// Does something to every path.
    pub(super) fn touch_all(
        &mut self,
        mut act: impl FnMut(&Id, &mut Watched<Target>) -> News,
    ) -> News {
        let news = self.all.iter_mut().map(|(id, watched)| act(id, watched));
        let news = news.max().unwrap_or_default();
        self.sort();
        news
    }

    /// Does something to one path and puts it where it now belongs among those that are due.
    fn touch<Answer>(
        &mut self,
        id: &Id,
        act: impl FnOnce(&mut Watched<Target>) -> Answer,
    ) -> Option<Answer> {
        let watched = self.all.get_mut(id)?;
        let mut place = (watched.next_transmit(), id.clone());
        let answer = act(watched);
        let next = watched.next_transmit();
        if next != place.0 {
            self.due.remove(&place);
            place.0 = next;
            self.due.insert(place);
        }
        Some(answer)
    }

    fn sort(&mut self) {
        let due = |(id, watched): (&Id, &Watched<Target>)| (watched.next_transmit(), id.clone());
        self.due = self.all.iter().map(due).collect();
        self.by_end.clear();
        for (id, watched) in &self.all {
            let on_way = self.by_end.entry(watched.way().clone()).or_default();
            on_way.entry(watched.destination()).or_insert_with(|| id.clone());
        }
    }
}
