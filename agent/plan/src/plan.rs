//! Owns [`Plan`], the answer. Does not apply it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use sealane_state::host::HostState;
use sealane_state::name::LinkName;
use sealane_state::wireguard::PublicKey;

use crate::name::{GatewayId, LaneId, MemberId, NodeName, UnixSeconds};
use crate::problem::Problem;
use crate::remote::Candidate;
use crate::verdict::Verdicts;

/// What this host should look like, what to probe, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The host as it should be; empty when this host is in no clusterset.
    pub host: HostState,
    /// What to probe.
    pub probes: ProbeTargets,
    /// What was decided and why.
    pub verdicts: Verdicts,
    /// What the plan had to do without, sorted, no duplicates.
    pub problems: Vec<Problem>,
    /// Largest inner packet of our lanes in bytes, to be advertised; `None` on hosts without lanes.
    pub lane_mtu: Option<u32>,
    /// Remote tunnel entry that carries each member; to be given to the next plan.
    pub choices: BTreeMap<MemberId, PublicKey>,
    /// When the passing of time alone changes this plan.
    pub wake_at: Option<UnixSeconds>,
}

/// What to probe.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProbeTargets {
    /// Lanes by identity.
    pub lanes: BTreeMap<LaneId, LaneTarget>,
    /// Own gateways by node.
    pub legs: BTreeMap<NodeName, LegTarget>,
}

/// A lane to probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneTarget {
    /// Whose lane it is.
    pub gateway: GatewayId,
    /// Lane link.
    pub link: LinkName,
    /// Source of probes: our probe address.
    pub source: IpAddr,
    /// Destination of probes: their probe address, of the family of `source`.
    pub destination: IpAddr,
    /// Largest packet worth trying, IP header included, in bytes.
    pub max_mtu: u32,
    /// Addresses to try, in order.
    pub candidates: Vec<Candidate>,
}

/// The leg to an own gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegTarget {
    /// Leg link; the scope of link-local addresses.
    pub link: LinkName,
    /// Source of probes on this host.
    pub source: IpAddr,
    /// Destination of probes on the gateway.
    pub destination: IpAddr,
    /// Largest packet worth trying, IP header included, in bytes.
    pub max_mtu: u32,
}
