//! Owns the reasons: what was decided for each member, lane, prefix and source, and why.
//! Decides nothing itself.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use sealane_state::name::LinkName;
use sealane_state::rule::Family;

use crate::health::PathState;
use crate::name::{GatewayId, LaneId, MemberId, NodeName};
use crate::problem::Problem;

/// All verdicts of a plan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdicts {
    /// Per member on the list or with a gateway, the own one left out.
    pub members: BTreeMap<MemberId, MemberVerdict>,
    /// Per planned lane; empty on hosts without lanes.
    pub lanes: BTreeMap<LaneId, LaneVerdict>,
    /// Per accepted remote prefix, those left out too; and per granted one of a member that no
    /// gateway speaks for any more.
    pub prefixes: BTreeMap<IpNetwork, PrefixVerdict>,
    /// Per family that our member has.
    pub sources: BTreeMap<Family, SourceVerdict>,
}

/// Whether packets reach a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberVerdict {
    /// The state of the way that was chosen.
    pub state: MemberState,
    /// Gateways that lead there: its own where this host has lanes, else those of our member.
    pub gateways: usize,
    /// Those of them that answer.
    pub live: usize,
    /// The lane that carries it; `None` on hosts without lanes and where none does.
    pub lane: Option<LaneId>,
}

/// Whether packets reach a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemberState {
    /// All its gateways answer.
    Up,
    /// Some answer.
    Degraded,
    /// None has answered yet, and not all have failed.
    Connecting,
    /// All fail.
    Down,
    /// None is known.
    Absent,
    /// This host has no lanes: our own gateways answer, and only they know whether packets arrive.
    Unknown,
}

/// What was decided for a lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneVerdict {
    /// Whose lane it is.
    pub gateway: GatewayId,
    /// Link that holds the peer.
    pub link: LinkName,
    /// Whether it answers.
    pub state: PathState,
    /// Why it carries the member's traffic, or why not.
    pub role: LaneRole,
}

/// Why a lane carries traffic, or why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LaneRole {
    /// Carries: the only one.
    Only,
    /// Carries: the best.
    Best,
    /// Carries: as good as any, and it did before.
    Kept,
    /// Carries only what the better ones do not reach.
    Partial,
    /// Ready to take over.
    Standby,
    /// Its gateway is about to stop.
    Draining,
    /// Carries, although its gateway's agent does not answer: packets come back through it.
    AgentSilent,
    /// Carries, although nothing comes back: no other gateway answers, and the tunnel still has a
    /// session.
    LastResort,
    /// Does not answer.
    Failed,
}

/// What was decided for a remote prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrefixVerdict {
    /// Whose it is.
    pub member: MemberId,
    /// What becomes of packets to it.
    pub way: Way,
}

/// What becomes of packets to a remote prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// They leave by this lane.
    Lane(LaneId),
    /// They leave by these gateways of our own member.
    Legs(Vec<NodeName>),
    /// They are refused: no way is alive.
    Unreachable,
    /// They are refused: the member is listed, and none of its gateways speaks for them.
    Unspoken,
    /// They are refused, or not ours to route; the problem says why.
    LeftOut(Problem),
}

/// The source of this host's own packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceVerdict {
    /// Configured.
    Configured(IpAddr),
    /// The network address of this node's pod network, put on a link of ours.
    PodNetwork(IpAddr),
    /// A local address on a foreign link.
    Local(IpAddr),
    /// The network address of our first network, put on a link of ours.
    Network(IpAddr),
    /// None is set.
    None,
}

impl SourceVerdict {
    /// Returns the address, where there is one.
    pub fn address(self) -> Option<IpAddr> {
        match self {
            Self::Configured(address)
            | Self::PodNetwork(address)
            | Self::Local(address)
            | Self::Network(address) => Some(address),
            Self::None => None,
        }
    }
}
