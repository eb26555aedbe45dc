//! Owns what is refused, what is no longer believed, and since when; and that it is told in measure:
//! each object and reason once, and never more lines in a second than people can read. Judges nothing.

use std::collections::{BTreeMap, BTreeSet};

use sealane_api::names::GatewayId;
use sealane_api::reason::{Dropped, Reason, Rejected};
use sealane_api::time::{DAY_SECONDS, UnixTime};
use sealane_broker::board::Kind;

/// Log lines between two calls of [`Refusals::breathe`]; the rest is summed up.
const LINES: u32 = 20;
/// Objects and reasons remembered as told; beyond, everything may be told once more.
const MOST_TOLD: usize = 16_384;
/// Bytes of their names; beyond, likewise.
const MOST_TOLD_BYTES: usize = 4 * 1024 * 1024;
/// Characters of an object's name, and of what is wrong with it, in a log line.
const NAME_CHARACTERS: usize = 256;
/// Characters of a member's name in a log line.
const MEMBER_CHARACTERS: usize = 63;

/// Kind and name of an object on the broker.
pub type Key = (Kind, String);

/// An object that was refused and is still offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Member that the object claims to come from; hostile text, for display only. Empty for what a
    /// peer told.
    pub member: String,
    /// Why it was refused.
    pub rejected: Rejected,
    /// Since when it has been refused for this reason.
    pub since: UnixTime,
}

/// All refusals that stand.
#[derive(Debug, Default)]
pub struct Refusals {
    standing: BTreeMap<Key, Refusal>,
    /// Gateways that were believed until a newer list or certificate, or time, ended it.
    ended: BTreeMap<GatewayId, Refusal>,
    told: BTreeSet<(Key, Reason)>,
    told_bytes: usize,
    lines: u32,
    untold: u64,
}

impl Refusals {
    /// Notes a refusal; says whether it is to be counted: the first of this object and reason.
    pub fn note(&mut self, key: Key, refusal: Refusal) -> bool {
        let reason = refusal.rejected.reason;
        if self.standing.get(&key).is_some_and(|held| held.rejected.reason == reason) {
            return false;
        }
        if self.told.len() >= MOST_TOLD || self.told_bytes >= MOST_TOLD_BYTES {
            self.told.clear();
            self.told_bytes = 0;
        }
        let is_news = self.told.insert((key.clone(), reason));
        if is_news {
            self.told_bytes += key.1.len();
            self.tell(&key, &refusal);
        }
        self.standing.insert(key, refusal);
        is_news
    }

    /// Forgets an object that is not offered any more, or not refused for the moment.
    pub fn remove(&mut self, key: &Key) {
        self.standing.remove(key);
    }

    /// Forgets an object that is believed: what is refused of it later is news.
    pub fn believed(&mut self, key: &Key) {
        if self.standing.remove(key).is_some() {
            self.retain_told(|of| of != key);
        }
    }

    fn retain_told(&mut self, is_kept: impl Fn(&Key) -> bool) {
        self.told.retain(|(key, _)| is_kept(key));
        self.told_bytes = self.told.iter().map(|((_, name), _)| name.len()).sum();
    }

    /// Forgets that a gateway ended: it is believed anew.
    pub fn resumed(&mut self, object: &str) {
        self.ended.retain(|gateway, _| gateway.to_string() != object);
    }

    /// Notes that a gateway is no longer believed.
    pub fn note_ended(&mut self, dropped: Dropped, now: UnixTime) {
        let Dropped { gateway, rejected } = dropped;
        tracing::warn!(%gateway, reason = rejected.reason.as_str(),
            "advertisement no longer believed");
        let member = gateway.member.to_string();
        self.ended.insert(gateway, Refusal { member, rejected, since: now });
    }

    /// Stops telling of gateways that ended a day ago, unless they may come back by a replay.
    pub fn forget_ended(&mut self, now: UnixTime, may_come_back: impl Fn(&GatewayId) -> bool) {
        self.ended.retain(|gateway, refusal| {
            may_come_back(gateway) || now < refusal.since.plus_seconds(DAY_SECONDS)
        });
    }

    /// Forgets objects of a kind that are not offered any more.
    pub fn retain(&mut self, kind: Kind, names: &BTreeSet<String>) {
        let is_offered = |(of, name): &Key| *of != kind || names.contains(name);
        self.standing.retain(|key, _| is_offered(key));
        self.retain_told(is_offered);
    }

    /// Returns what is refused for a reason that `due` picks.
    pub fn picked(&self, due: impl Fn(Reason) -> bool) -> Vec<Key> {
        let due = |(_, refusal): &(&Key, &Refusal)| due(refusal.rejected.reason);
        self.standing.iter().filter(due).map(|(key, _)| key.clone()).collect()
    }

    /// Returns all refusals, by kind and object name; gateways that ended are listed under their own
    /// names, unless what they offer now is refused too.
    pub fn all(&self) -> BTreeMap<Key, Refusal> {
        let ended = self.ended.iter().map(|(gateway, refusal)| {
            ((Kind::Advertisement, gateway.to_string()), refusal.clone())
        });
        let offered = self.standing.iter();
        ended.chain(offered.map(|(key, refusal)| (key.clone(), refusal.clone()))).collect()
    }

    /// Lets a second pass: sums up what was not told, and tells again.
    pub fn breathe(&mut self) {
        self.lines = 0;
        let untold = std::mem::take(&mut self.untold);
        if untold > 0 {
            tracing::warn!(objects = untold, "further objects refused; see `sealane status`");
        }
    }

    fn tell(&mut self, (_, name): &Key, refusal: &Refusal) {
        if self.lines >= LINES {
            self.untold += 1;
            return;
        }
        self.lines += 1;
        let Rejected { reason, detail } = &refusal.rejected;
        let (name, detail) = (cut(name, NAME_CHARACTERS), cut(detail, NAME_CHARACTERS));
        let member = cut(&refusal.member, MEMBER_CHARACTERS);
        tracing::warn!(object = %name.escape_debug(), member = %member.escape_debug(),
            reason = reason.as_str(), detail = %detail.escape_debug(), "object refused");
    }
}

fn cut(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        (Kind::Advertisement, name.to_owned())
    }

    fn refusal(reason: Reason) -> Refusal {
        Refusal { member: String::new(), rejected: reason.into(), since: UnixTime(1) }
    }

    #[test]
    fn an_object_that_flips_between_two_faults_counts_once_for_each() {
        let mut refusals = Refusals::default();
        let mut counted = 0;
        for _ in 0..100 {
            for reason in [Reason::BadSignature, Reason::Malformed] {
                counted += u32::from(refusals.note(key("b.g1"), refusal(reason)));
                refusals.remove(&key("b.g1"));
            }
        }
        assert_eq!(counted, 2);
        assert!(refusals.all().is_empty());
    }

    #[test]
    fn a_fault_that_comes_back_after_belief_is_news() {
        let mut refusals = Refusals::default();
        assert!(refusals.note(key("b.g1"), refusal(Reason::BadSignature)));
        refusals.believed(&key("b.g1"));
        assert!(refusals.note(key("b.g1"), refusal(Reason::BadSignature)));
    }

    #[test]
    fn a_flood_of_names_neither_fills_the_log_nor_the_memory() {
        let mut refusals = Refusals::default();
        for number in 0..MOST_TOLD + 100 {
            let name = key(&format!("b.g{number}"));
            refusals.note(name.clone(), refusal(Reason::BadSignature));
            refusals.remove(&name);
        }
        assert!(refusals.told.len() <= MOST_TOLD);
        assert_eq!(refusals.lines, LINES);
        assert_eq!(refusals.untold, (MOST_TOLD + 100) as u64 - u64::from(LINES));
        refusals.breathe();
        assert_eq!((refusals.lines, refusals.untold), (0, 0));
    }

    #[test]
    fn long_names_do_not_fill_the_memory_either() {
        let mut refusals = Refusals::default();
        let long = "x".repeat(32 * 1024);
        for number in 0..1_000 {
            let name = key(&format!("{long}{number}"));
            refusals.note(name.clone(), refusal(Reason::BadName));
            refusals.remove(&name);
        }
        let held: usize = refusals.told.iter().map(|((_, name), _)| name.len()).sum();
        assert!(held <= MOST_TOLD_BYTES + 2 * long.len(), "{held}");
        assert_eq!(held, refusals.told_bytes);
    }
}
