//! Owns our nftables table: what may come out of a lane or a leg, which source flows keep, how they
//! are pinned to exits, and the size of TCP segments. Does not own the exits.
//!
//! Only links, addresses, numbers and set names of ours stand in rules; no name that another member
//! chose ever does.

pub mod guard;
pub mod nat;
pub mod pin;
pub mod size;

use std::collections::{BTreeMap, BTreeSet};

use ipnetwork::IpNetwork;
use sealane_state::filter::{Chain, FilterRule, FilterTable, Hook, HookKind, HookPoint, PrefixSet};
use sealane_state::name::LinkName;
use sealane_state::rule::Family;

use crate::claims::Claims;
use crate::ground::{FAMILIES, Ground};
use crate::leg::Leg;
use crate::prefix;
use crate::source::Sources;
use crate::steering::Steering;

/// What the table is made from.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'f> {
    /// The host.
    pub ground: &'f Ground<'f>,
    /// Remote prefixes.
    pub claims: &'f Claims<'f>,
    /// Lane links.
    pub lanes: &'f BTreeMap<LinkName, u8>,
    /// The leg.
    pub leg: Option<&'f Leg<'f>>,
    /// Exits.
    pub steering: &'f Steering,
    /// Sources of this host.
    pub sources: &'f Sources,
}

impl Facts<'_> {
    /// Returns all links of ours, lanes and leg.
    pub fn our_links(&self) -> Vec<&LinkName> {
        self.lanes.keys().chain(self.leg.map(|leg| &leg.link)).collect()
    }

    /// Returns the lane links.
    pub fn lane_links(&self) -> Vec<&LinkName> {
        self.lanes.keys().collect()
    }
}

/// Returns the table for this host.
pub fn table(facts: &Facts<'_>) -> FilterTable {
    let mut table = FilterTable { sets: sets(facts), chains: BTreeMap::new() };
    if !facts.our_links().is_empty() {
        guard::add(facts, &mut table);
        pin::add(facts, &mut table);
        nat::add(facts, &mut table);
        size::add(facts, &mut table);
    }
    table
}

fn sets(facts: &Facts<'_>) -> BTreeMap<String, PrefixSet> {
    let own = prefix::aggregated(facts.ground.me.networks.all());
    let claims = facts.claims.claimants.iter().flat_map(|claimant| &claimant.prefixes).copied();
    let remote = prefix::aggregated(claims);
    let ends = facts.leg.into_iter().flat_map(|leg| leg.ends.values());
    let nodes = ends.flat_map(|end| &end.node.underlay).map(|address| prefix::host(*address));
    let nodes: Vec<IpNetwork> = nodes.collect();
    let mut sets = BTreeMap::new();
    for family in FAMILIES {
        let mut add = |name: &str, prefixes: &[IpNetwork]| {
            let of_family = prefixes.iter().filter(|prefix| prefix::family(**prefix) == family);
            let elements: BTreeSet<IpNetwork> = of_family.copied().collect();
            sets.insert(format!("{name}{}", digit(family)), PrefixSet { family, elements });
        };
        add("local", &own);
        add("remote", &remote);
        if facts.leg.is_some() {
            add("nodes", &nodes);
        }
    }
    sets
}

/// Adds a base chain, unless it would be empty.
fn base(table: &mut FilterTable, name: &str, hook: Hook, rules: Vec<String>) {
    if !rules.is_empty() {
        table.chains.insert(name.to_owned(), chain(Some(hook), rules));
    }
}

/// Adds a chain that others jump to.
fn target(table: &mut FilterTable, name: String, rules: Vec<String>) {
    table.chains.insert(name, chain(None, rules));
}

fn chain(hook: Option<Hook>, rules: Vec<String>) -> Chain {
    Chain { hook, rules: rules.into_iter().map(FilterRule).collect() }
}

fn hook(kind: HookKind, point: HookPoint, priority: i32) -> Hook {
    Hook { kind, point, priority }
}

/// Returns a match on links: one name, or a set of them.
fn links(names: &[&LinkName]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    match &quoted[..] {
        [one] => one.clone(),
        several => format!("{{ {} }}", several.join(", ")),
    }
}

/// Returns the same with the loopback link.
fn links_and_loopback(names: &[&LinkName]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!(", \"{name}\"")).collect();
    format!("{{ \"lo\"{} }}", quoted.concat())
}

/// Returns the nft word for a family's header.
fn ip(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

/// Returns the digit that ends the names of a family's sets.
fn digit(family: Family) -> char {
    match family {
        Family::V4 => '4',
        Family::V6 => '6',
    }
}
