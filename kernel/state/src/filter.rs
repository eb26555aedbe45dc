//! Owns our one nftables table (`inet sealane`): its sets and chains. Does not own other tables,
//! nor how the text reaches the kernel.

use std::collections::{BTreeMap, BTreeSet};

use ipnetwork::IpNetwork;

use crate::rule::Family;

/// The whole table; what differs is changed in one transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilterTable {
    /// Named interval sets of prefixes, by name.
    pub sets: BTreeMap<String, PrefixSet>,
    /// Chains by name; a chain may jump only to chains of this table.
    pub chains: BTreeMap<String, Chain>,
}

/// A named set of prefixes of one family; elements never overlap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrefixSet {
    /// IP version of all elements.
    pub family: Family,
    /// Elements, host bits zero.
    pub elements: BTreeSet<IpNetwork>,
}

/// A chain and its rules in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Where packets enter it; `None` for a chain that others jump to.
    pub hook: Option<Hook>,
    /// Rules in order of evaluation.
    pub rules: Vec<FilterRule>,
}

/// Where a base chain is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hook {
    /// Chain type.
    pub kind: HookKind,
    /// Netfilter hook.
    pub point: HookPoint,
    /// Numeric priority; lower runs first (`srcnat` is 100, `dstnat` -100, `mangle` -150, `raw` -300).
    pub priority: i32,
}

/// nftables base chain types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookKind {
    /// `type filter`.
    Filter,
    /// `type nat`.
    Nat,
    /// `type route`.
    Route,
}

/// Netfilter hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookPoint {
    /// Before routing.
    Prerouting,
    /// To local processes.
    Input,
    /// From one link to another.
    Forward,
    /// From local processes.
    Output,
    /// After routing.
    Postrouting,
}

/// One rule, as nft syntax without its comment.
///
/// Equality is by text. What was read back carries the text of the wanted rule when the kernel's
/// listing proves it unchanged, and [`FilterRule::foreign`] otherwise.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FilterRule(pub String);

impl FilterRule {
    /// A rule in our table that is not, or no longer, what we wrote.
    pub fn foreign(shown: &str) -> Self {
        Self(format!("# changed by another hand: {shown}"))
    }
}
