//! Owns the names that facts and verdicts are keyed by. Does not check their form: members and
//! gateways come from verified objects, nodes from our own cluster or configuration.

use std::fmt;

use sealane_state::wireguard::PublicKey;

/// Name of a member of the clusterset.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub String);

/// Name of a node. A gateway goes by the name of its node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(pub String);

/// A gateway of some member.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GatewayId {
    /// Whose it is.
    pub member: MemberId,
    /// Which of theirs.
    pub gateway: NodeName,
}

/// A lane: a pair of tunnel entries, one of ours and one of a remote gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId {
    /// WireGuard key of our tunnel entry.
    pub own: PublicKey,
    /// WireGuard key of theirs.
    pub remote: PublicKey,
}

/// Wall clock, Unix seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixSeconds(pub u64);

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for GatewayId {
    /// Prints `member.gateway`, as its advertisement is named.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.member, self.gateway)
    }
}
