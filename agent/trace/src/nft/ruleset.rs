//! Owns the shape of a ruleset, read from the JSON of `nft -j list ruleset` (libnftables-json(5)).
//! Does not judge rules: their statements stay as nft shows them.

use std::collections::BTreeMap;
use std::fmt;

use sealane_state::filter::{HookKind, HookPoint};
use serde::Deserialize;
use serde_json::Value;

/// All tables, chains and sets of the IP families of a host.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ruleset {
    chains: BTreeMap<ChainId, ChainBody>,
    sets: BTreeMap<(TableFamily, String, String), Vec<Value>>,
    tables: BTreeMap<(TableFamily, String), Life>,
}

/// Why a ruleset cannot be read; a walk without one must say so.
#[derive(Debug, thiserror::Error)]
#[error("nft ruleset: {0}; look at `nft -j list ruleset`")]
pub struct BadRuleset(#[from] serde_json::Error);

/// Families of tables that see routed packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TableFamily {
    /// Both.
    Inet,
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
}

/// A chain's full name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChainId {
    /// Family of its table.
    pub family: TableFamily,
    /// Its table.
    pub table: String,
    /// Its name.
    pub chain: String,
}

/// Where packets enter a chain, and what becomes of those that no rule decides on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseChain {
    /// Chain type.
    pub kind: HookKind,
    /// Netfilter hook.
    pub point: HookPoint,
    /// Lower runs first.
    pub priority: i32,
    /// Whether the policy is `drop`.
    pub drops: bool,
}

/// A rule as nft shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// The number by which `nft -a list chain` shows it.
    pub handle: u64,
    /// Matches and statements in order.
    pub statements: Vec<Value>,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct ChainBody {
    base: Option<BaseChain>,
    rules: Vec<Rule>,
}

/// Whether a table is at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Active,
    Dormant,
    /// It has flags that this version does not know.
    Unclear,
}

impl Ruleset {
    /// Reads the JSON text of `nft -j list ruleset`.
    ///
    /// Objects of other families, and objects that are not understood, are left out.
    ///
    /// # Errors
    /// [`BadRuleset`] when the text is no JSON of that shape.
    pub fn read(text: &str) -> Result<Self, BadRuleset> {
        let listing: Listing = serde_json::from_str(text)?;
        let mut ruleset = Self::default();
        for object in listing.nftables {
            let Some((kind, body)) = object.into_iter().next() else { continue };
            match kind.as_str() {
                "table" => ruleset.add_table(&body),
                "chain" => ruleset.add_chain(body),
                "rule" => ruleset.add_rule(body),
                "set" | "map" => ruleset.add_set(body),
                _ => {}
            }
        }
        Ok(ruleset)
    }

    /// Returns the base chains of a hook in the order in which packets meet them.
    pub fn at(&self, point: HookPoint) -> Vec<(&ChainId, &BaseChain)> {
        let with_base = self.chains.iter().filter_map(|(id, body)| Some((id, body.base.as_ref()?)));
        let mut chains: Vec<_> = with_base
            .filter(|(id, base)| base.point == point && self.life(id) != Life::Dormant)
            .collect();
        // Equal priorities run in the order of their making, which a listing does not show.
        chains.sort_by_key(|(_, base)| base.priority);
        chains
    }

    /// Returns the rules of a chain; empty when there is none of the name.
    pub fn rules(&self, id: &ChainId) -> &[Rule] {
        self.chains.get(id).map_or(&[], |body| &body.rules)
    }

    /// Returns the elements of a named set or map of the chain's table.
    pub fn elements(&self, near: &ChainId, name: &str) -> Option<&[Value]> {
        let key = (near.family, near.table.clone(), name.to_owned());
        self.sets.get(&key).map(Vec::as_slice)
    }

    /// Says whether nobody can tell that the chain's table is at work.
    pub fn is_doubtful(&self, id: &ChainId) -> bool {
        self.life(id) == Life::Unclear
    }

    fn life(&self, id: &ChainId) -> Life {
        self.tables.get(&(id.family, id.table.clone())).copied().unwrap_or(Life::Active)
    }

    fn add_table(&mut self, body: &Value) {
        let (Some(family), Some(name)) = (family_of(body), body["name"].as_str()) else { return };
        let mut life = Life::Active;
        let flags = match &body["flags"] {
            Value::Array(flags) => flags.iter().collect(),
            Value::Null => Vec::new(),
            one => vec![one],
        };
        for flag in flags {
            match flag.as_str() {
                Some("dormant") => life = Life::Dormant,
                Some("owner" | "persist") => {}
                // nft 1.0.6 shows the table's name in place of its flags.
                _ if life == Life::Active => life = Life::Unclear,
                _ => {}
            }
        }
        self.tables.insert((family, name.to_owned()), life);
    }

    fn add_chain(&mut self, body: Value) {
        let Ok(chain) = serde_json::from_value::<ListedChain>(body) else { return };
        let base = chain.base();
        let id = ChainId { family: chain.family, table: chain.table, chain: chain.name };
        self.chains.entry(id).or_default().base = base;
    }

    fn add_rule(&mut self, body: Value) {
        let Ok(rule) = serde_json::from_value::<ListedRule>(body) else { return };
        let id = ChainId { family: rule.family, table: rule.table, chain: rule.chain };
        let statements = match rule.expr {
            Value::Array(statements) => statements,
            // Whoever judges the rule finds a statement that it does not know.
            other => vec![other],
        };
        let rule = Rule { handle: rule.handle, statements };
        self.chains.entry(id).or_default().rules.push(rule);
    }

    fn add_set(&mut self, body: Value) {
        let Ok(set) = serde_json::from_value::<ListedSet>(body) else { return };
        self.sets.insert((set.family, set.table, set.name), set.elem);
    }
}

fn family_of(body: &Value) -> Option<TableFamily> {
    serde_json::from_value(body["family"].clone()).ok()
}

#[derive(Deserialize)]
struct Listing {
    nftables: Vec<BTreeMap<String, Value>>,
}

#[derive(Deserialize)]
struct ListedChain {
    family: TableFamily,
    table: String,
    name: String,
    #[serde(rename = "type")]
    kind: Option<String>,
    hook: Option<String>,
    prio: Option<i32>,
    policy: Option<String>,
}

impl ListedChain {
    fn base(&self) -> Option<BaseChain> {
        let point = match self.hook.as_deref()? {
            "prerouting" => HookPoint::Prerouting,
            "input" => HookPoint::Input,
            "forward" => HookPoint::Forward,
            "output" => HookPoint::Output,
            "postrouting" => HookPoint::Postrouting,
            _ => return None,
        };
        let kind = match self.kind.as_deref() {
            Some("nat") => HookKind::Nat,
            Some("route") => HookKind::Route,
            _ => HookKind::Filter,
        };
        let drops = self.policy.as_deref() == Some("drop");
        Some(BaseChain { kind, point, priority: self.prio.unwrap_or(0), drops })
    }
}

#[derive(Deserialize)]
struct ListedRule {
    family: TableFamily,
    table: String,
    chain: String,
    #[serde(default)]
    handle: u64,
    #[serde(default)]
    expr: Value,
}

#[derive(Deserialize)]
struct ListedSet {
    family: TableFamily,
    table: String,
    name: String,
    #[serde(default)]
    elem: Vec<Value>,
}

impl fmt::Display for TableFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inet => "inet",
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
        })
    }
}
