//! Owns what we remember of the table that we wrote: its content beside the kernel's view of it.
//! Does not own the file.

use std::collections::{BTreeMap, BTreeSet};

use ipnetwork::IpNetwork;
use sealane_state::filter::{Chain, FilterRule, FilterTable, Hook, HookKind, HookPoint, PrefixSet};
use sealane_state::rule::Family;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::nft::listing::{ListedChain, Listing, hex};

/// The table that we wrote last, and how the kernel showed it right after.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    /// SHA-256 of the text listing without counters; lower-case hexadecimal.
    listing: String,
    sets: BTreeMap<String, RecordedSet>,
    pub(super) chains: BTreeMap<String, RecordedChain>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordedSet {
    #[serde(with = "FamilyCode")]
    family: Family,
    elements: BTreeSet<IpNetwork>,
}

/// A chain that we wrote.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RecordedChain {
    hook: Option<RecordedHook>,
    pub(super) rules: Vec<RecordedRule>,
}

/// A rule that we wrote.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RecordedRule {
    /// The text as it was wanted.
    pub(super) text: String,
    /// Hash of how the kernel shows it.
    pub(super) shown: String,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordedHook {
    #[serde(with = "KindCode")]
    kind: HookKind,
    #[serde(with = "PointCode")]
    point: HookPoint,
    priority: i32,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Family", rename_all = "lowercase")]
enum FamilyCode {
    V4,
    V6,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "HookKind", rename_all = "lowercase")]
enum KindCode {
    Filter,
    Nat,
    Route,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "HookPoint", rename_all = "lowercase")]
enum PointCode {
    Prerouting,
    Input,
    Forward,
    Output,
    Postrouting,
}

/// Returns the number that stands in a rule's comment: the first 8 bytes of SHA-256 of its text.
pub(super) fn tag(rule: &FilterRule) -> u64 {
    let digest = Sha256::digest(rule.0.as_bytes());
    digest.iter().take(8).fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

impl Record {
    /// Remembers `table` as written; `None` when the listing shows another one.
    pub(super) fn of(table: &FilterTable, shown: &str, listing: &Listing) -> Option<Self> {
        let as_wanted = listing.strange.is_empty()
            && listing.sets == table.sets
            && listing.chains.len() == table.chains.len();
        if !as_wanted {
            return None;
        }
        let chains = table
            .chains
            .iter()
            .map(|(name, chain)| {
                let recorded = recorded_chain(chain, listing.chains.get(name)?)?;
                Some((name.clone(), recorded))
            })
            .collect::<Option<_>>()?;
        let sets = table.sets.iter().map(|(name, set)| (name.clone(), recorded_set(set)));
        Some(Self { listing: digest(shown), sets: sets.collect(), chains })
    }

    /// Returns the table as it was wanted, if the kernel still shows it as it did.
    pub(super) fn table_if_shown(&self, shown: &str) -> Option<FilterTable> {
        if digest(shown) != self.listing {
            return None;
        }
        let sets = self.sets.iter().map(|(name, set)| {
            let set = PrefixSet { family: set.family, elements: set.elements.clone() };
            (name.clone(), set)
        });
        let chains = self.chains.iter().map(|(name, chain)| {
            let rules = chain.rules.iter().map(|rule| FilterRule(rule.text.clone())).collect();
            let hook = chain.hook.map(|RecordedHook { kind, point, priority }| Hook {
                kind,
                point,
                priority,
            });
            (name.clone(), Chain { hook, rules })
        });
        Some(FilterTable { sets: sets.collect(), chains: chains.collect() })
    }
}

fn digest(shown: &str) -> String {
    hex(&Sha256::digest(shown.as_bytes()))
}

fn recorded_set(set: &PrefixSet) -> RecordedSet {
    RecordedSet { family: set.family, elements: set.elements.clone() }
}

fn recorded_chain(chain: &Chain, listed: &ListedChain) -> Option<RecordedChain> {
    if listed.hook != chain.hook || listed.rules.len() != chain.rules.len() {
        return None;
    }
    let rules = chain
        .rules
        .iter()
        .zip(&listed.rules)
        .map(|(rule, shown)| {
            let ours = shown.tag == Some(tag(rule));
            ours.then(|| RecordedRule { text: rule.0.clone(), shown: shown.shown.clone() })
        })
        .collect::<Option<_>>()?;
    let hook =
        chain.hook.map(|Hook { kind, point, priority }| RecordedHook { kind, point, priority });
    Some(RecordedChain { hook, rules })
}
