//! Owns policy routing rules in our priority range. Does not own tables.

use crate::name::LinkName;

/// IP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// A routing rule: packets that match look up `table`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// Order; lower runs first. Ours is 5182 to 5189.
    pub priority: u32,
    /// IP version it holds for.
    pub family: Family,
    /// Match on the link that the packet came in by.
    pub input: Option<LinkName>,
    /// Match on the packet mark.
    pub mark: Option<MarkMatch>,
    /// Table to look up.
    pub table: u32,
}

/// A packet mark match as `ip rule` takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MarkMatch {
    /// Value under the mask.
    pub value: u32,
    /// Bits that count.
    pub mask: u32,
    /// `Is`: the rule holds when the bits are equal; `IsNot`: when they differ.
    pub sense: Sense,
}

/// Whether a match must hold or must not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sense {
    /// The match must hold.
    Is,
    /// The match must not hold (`ip rule add not ...`).
    IsNot,
}
