//! Owns what keeps a plan from being whole: each problem names the thing, the cause and the next
//! step. Does not decide who is told.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use sealane_state::name::LinkName;
use sealane_state::rule::Family;
use sealane_view::status::{ProblemView, Severity};

use crate::documents::members;
use crate::name::{GatewayId, MemberId, NodeName, UnixSeconds};
use crate::verdict::LaneRole;

/// Something that the plan had to do without. Sorted, so that equal worlds give equal lists.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Problem {
    /// The host runs none of the WireGuard backends that the options allow.
    NoBackend,
    /// No link carries a default route, so the lane MTU is a guess.
    UplinkUnknown,
    /// Less than the minimum of IPv6 is left for packets in the leg. Lanes never have less.
    MtuTooSmall {
        /// The link of the leg.
        link: LinkName,
        /// What is left, in bytes.
        mtu: u32,
    },
    /// The kernel offers no such family.
    FamilyNotOffered(Family),
    /// Others have networks of this family, our member has none.
    FamilyNotOwned(Family),
    /// Our member has networks of this family, this host has no source inside them.
    NoHostSource(Family),
    /// A configured source lies outside our networks.
    SourceNotOwn(IpAddr),
    /// A prefix overlaps a network of our own member.
    OverlapsOwn {
        /// The prefix.
        prefix: IpNetwork,
        /// Who claims it.
        member: MemberId,
        /// What it overlaps.
        own: IpNetwork,
    },
    /// A prefix overlaps a network that this host is connected to.
    OverlapsHost {
        /// The prefix.
        prefix: IpNetwork,
        /// Who claims it.
        member: MemberId,
        /// The foreign link.
        link: LinkName,
        /// What it overlaps.
        network: IpNetwork,
    },
    /// A prefix covers a route of the host's own, which leads nowhere any more.
    ShadowsRoute {
        /// The prefix.
        prefix: IpNetwork,
        /// Who claims it.
        member: MemberId,
        /// Where the host's route led.
        route: IpNetwork,
    },
    /// A prefix covers an address that must be reached outside the lanes.
    CoversReserved {
        /// The prefix.
        prefix: IpNetwork,
        /// Who claims it.
        member: MemberId,
        /// The address.
        address: IpAddr,
    },
    /// Two members claim overlapping prefixes.
    PrefixTaken {
        /// The prefix that is left out.
        prefix: IpNetwork,
        /// Who claims it.
        member: MemberId,
        /// Who has it.
        holder: MemberId,
    },
    /// The keyring holds no pre-shared key for a lane.
    PskMissing(GatewayId),
    /// A remote tunnel entry has our own key.
    OwnKey(GatewayId),
    /// A remote tunnel entry has the key of another.
    DuplicateTunnelKey {
        /// Whose entry is left out.
        gateway: GatewayId,
        /// Whose entry is used.
        holder: GatewayId,
    },
    /// Two gateways of a member share a slot, which kernel WireGuard cannot tell apart.
    SlotShared {
        /// Whose traffic may be refused.
        gateway: GatewayId,
        /// Whose is taken.
        holder: GatewayId,
        /// The slot.
        slot: u8,
    },
    /// A tunnel entry has a slot that no lane link stands for.
    BadSlot {
        /// Whose.
        gateway: GatewayId,
        /// The slot.
        slot: u8,
    },
    /// A gateway does not answer.
    LaneDown {
        /// Whose lane.
        gateway: GatewayId,
        /// What becomes of its packets.
        role: LaneRole,
    },
    /// A gateway of our own member does not answer this node.
    LegDown(NodeName),
    /// A gateway that does not answer advertises no address to try.
    NoCandidate(GatewayId),
    /// Neither end can be probed in a family that both have.
    NoProbeFamily(GatewayId),
    /// A gateway without IPv6 that names no IPv4 address for probes: no lane of it opens.
    NoProbeAddress,
    /// An advertisement has expired and is held.
    Held {
        /// Whose.
        gateway: GatewayId,
        /// When it expired.
        expired: UnixSeconds,
    },
    /// Our member has no other node with lanes, and neither has this one.
    NoGateway,
    /// No link of this host has its own underlay address.
    UnderlayNotHere(NodeName),
    /// A node has no underlay address of the family that the legs use.
    UnderlayFamily {
        /// The node.
        node: NodeName,
        /// The family.
        family: Family,
    },
    /// A gateway does not know which pods a node has.
    PodNetworksUnknown(NodeName),
    /// More gateways than marks.
    TooManyGateways(NodeName),
}

impl Problem {
    /// Returns how much of the host it touches.
    pub fn severity(&self) -> Severity {
        match self {
            Self::NoBackend | Self::NoGateway | Self::NoProbeAddress | Self::UnderlayNotHere(_) => {
                Severity::Host
            }
            Self::UplinkUnknown
            | Self::FamilyNotOffered(_)
            | Self::FamilyNotOwned(_)
            | Self::ShadowsRoute { .. }
            | Self::NoCandidate(_)
            | Self::Held { .. } => Severity::Notice,
            _ => Severity::Part,
        }
    }

    /// Returns the typed reason, for documents and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoBackend => "NoBackend",
            Self::UplinkUnknown => "UplinkUnknown",
            Self::MtuTooSmall { .. } => "MtuTooSmall",
            Self::FamilyNotOffered(_) => "FamilyNotOffered",
            Self::FamilyNotOwned(_) => "FamilyNotOwned",
            Self::NoHostSource(_) => "NoHostSource",
            Self::SourceNotOwn(_) => "SourceNotOwn",
            Self::OverlapsOwn { .. } => "OverlapsOwn",
            Self::OverlapsHost { .. } => "OverlapsHost",
            Self::ShadowsRoute { .. } => "ShadowsRoute",
            Self::CoversReserved { .. } => "CoversReserved",
            Self::PrefixTaken { .. } => "PrefixTaken",
            Self::PskMissing(_) => "PskMissing",
            Self::OwnKey(_) => "OwnKey",
            Self::DuplicateTunnelKey { .. } => "DuplicateTunnelKey",
            Self::SlotShared { .. } => "SlotShared",
            Self::BadSlot { .. } => "BadSlot",
            Self::LaneDown { role: LaneRole::AgentSilent, .. } => "AgentSilent",
            Self::LaneDown { .. } => "LaneDown",
            Self::LegDown(_) => "LegDown",
            Self::NoCandidate(_) => "NoCandidate",
            Self::NoProbeFamily(_) => "NoProbeFamily",
            Self::NoProbeAddress => "NoProbeAddress",
            Self::Held { .. } => "Held",
            Self::NoGateway => "NoGateway",
            Self::UnderlayNotHere(_) => "UnderlayNotHere",
            Self::UnderlayFamily { .. } => "UnderlayFamily",
            Self::PodNetworksUnknown(_) => "PodNetworksUnknown",
            Self::TooManyGateways(_) => "TooManyGateways",
        }
    }

    /// Returns it as people read it.
    pub fn view(&self) -> ProblemView {
        let (thing, cause, next) = self
            .prefix_sentences()
            .or_else(|| self.lane_sentences())
            .or_else(|| self.leg_sentences())
            .unwrap_or_else(|| self.host_sentences());
        ProblemView {
            severity: self.severity(),
            reason: self.reason().to_owned(),
            thing,
            cause,
            next: next.to_owned(),
        }
    }

    fn prefix_sentences(&self) -> Option<Sentences> {
        Some(match self {
            Self::OverlapsOwn { prefix, member, own } => (
                format!("prefix {prefix} of member {member}"),
                format!("it overlaps {own} of our own member"),
                "grant one of the two members other addresses",
            ),
            Self::OverlapsHost { prefix, member, link, network } => (
                format!("prefix {prefix} of member {member}"),
                format!("it overlaps {network} on link {link} of this host"),
                "renumber the link or the member; the prefix is left out on this host only",
            ),
            Self::ShadowsRoute { prefix, member, route } => (
                format!("prefix {prefix} of member {member}"),
                format!("the lane takes the packets of this host's own route to {route}"),
                "remove the route if the lane replaces it, else have the member advertise less",
            ),
            Self::CoversReserved { prefix, member, address } => (
                format!("prefix {prefix} of member {member}"),
                format!("it covers {address}, which this host needs outside the lanes"),
                "move the broker or resolver, or have the member advertise less",
            ),
            Self::PrefixTaken { prefix, member, holder } => (
                format!("prefix {prefix} of member {member}"),
                format!("member {holder} has overlapping addresses"),
                "sign a ClusterSet without the overlap",
            ),
            _ => return None,
        })
    }

    fn lane_sentences(&self) -> Option<Sentences> {
        Some(match self {
            Self::PskMissing(gateway) => (
                format!("lane to {gateway}"),
                "no pre-shared key has been derived for it".to_owned(),
                "wait for the keyring; restart the agent if it stays",
            ),
            Self::OwnKey(gateway) => (
                format!("lane to {gateway}"),
                "it advertises the tunnel key of this host".to_owned(),
                "one host is a copy of the other: remove the state directory of the copy and join anew",
            ),
            Self::DuplicateTunnelKey { gateway, holder } => (
                format!("lane to {gateway}"),
                format!("it advertises the tunnel key of {holder}"),
                "one host is a copy of the other: remove the state directory of the copy and join anew",
            ),
            Self::SlotShared { gateway, holder, slot } => (
                format!("lane to {gateway}"),
                format!(
                    "{holder} has slot {slot} too, and kernel WireGuard takes packets from one only"
                ),
                "set tunnel.backend = \"userspace\" here, or have one gateway fewer in that member",
            ),
            Self::BadSlot { gateway, slot } => (
                format!("lane to {gateway}"),
                format!("its slot {slot} is above 7"),
                "run the same release of sealane-agent on both ends",
            ),
            Self::LaneDown { gateway, role } => {
                (format!("lane to {gateway}"), format!("it {}", members::why(*role)), wake(*role))
            }
            Self::NoCandidate(gateway) => (
                format!("lane to {gateway}"),
                "it does not answer and advertises no address to try".to_owned(),
                "usual for a gateway behind NAT, which calls us; else configure its public endpoint",
            ),
            Self::NoProbeFamily(gateway) => (
                format!("lane to {gateway}"),
                "the two ends share no family for probes".to_owned(),
                "set probe in [networks] of its agent.toml, or boot this host without ipv6.disable=1",
            ),
            Self::Held { gateway, expired } => (
                format!("advertisement of {gateway}"),
                format!("it expired at {} and is held", expired.0),
                "see to it that the gateway's agent reaches the broker",
            ),
            _ => return None,
        })
    }

    fn leg_sentences(&self) -> Option<Sentences> {
        Some(match self {
            Self::NoGateway => (
                "this node".to_owned(),
                "no node of our member carries lanes".to_owned(),
                "set gateway = true for one of the [[nodes]] in agent.toml",
            ),
            Self::LegDown(node) => (
                format!("gateway {node} of our member"),
                "it does not answer this node".to_owned(),
                "see that its host and sealane-agent run, and that UDP 4801 passes between the two",
            ),
            Self::UnderlayNotHere(node) => (
                format!("node {node}"),
                "none of its addresses is on a link of this host".to_owned(),
                "correct the node's addresses",
            ),
            Self::UnderlayFamily { node, family } => (
                format!("leg to node {node}"),
                format!("it has no {} underlay address", text(*family)),
                "give all nodes of the member an address of one family",
            ),
            Self::PodNetworksUnknown(node) => (
                format!("node {node}"),
                "its own pod networks are not known".to_owned(),
                "name them in [[nodes]] pods; until then packets take the cluster's own way to it",
            ),
            Self::TooManyGateways(node) => (
                format!("gateway {node}"),
                "all steering marks are taken".to_owned(),
                "have fewer gateways in this member",
            ),
            _ => return None,
        })
    }

    fn host_sentences(&self) -> Sentences {
        match self {
            Self::NoBackend => (
                "lanes of this host".to_owned(),
                "no WireGuard backend that the options allow can run here".to_owned(),
                "load the wireguard module, install sealane-tunnel, or set tunnel.backend = \"auto\"",
            ),
            Self::NoProbeAddress => (
                "lanes of this host".to_owned(),
                "the kernel has no IPv6, and no IPv4 address to probe from is configured"
                    .to_owned(),
                "set probe in [networks] on both gateways of a lane, or boot without ipv6.disable=1",
            ),
            Self::MtuTooSmall { link, mtu } => (
                format!("link {link}"),
                format!("{mtu} bytes are left for a packet, IPv6 needs 1280"),
                "raise the MTU of the uplink or of the path",
            ),
            Self::FamilyNotOffered(family) => (
                format!("{} on this host", text(*family)),
                "the kernel does not offer it".to_owned(),
                "boot without ipv6.disable=1, or have members of the other family only",
            ),
            Self::FamilyNotOwned(family) => (
                format!("{} networks of other members", text(*family)),
                "our member has none, so no answer would come back".to_owned(),
                "grant and advertise a network of that family for this member",
            ),
            Self::NoHostSource(family) => (
                format!("{} packets of this host itself", text(*family)),
                "no address of this host lies in our member's networks".to_owned(),
                "give this host an address inside networks; pods are not affected",
            ),
            Self::SourceNotOwn(address) => (
                format!("source {address}"),
                "it lies outside our member's networks".to_owned(),
                "choose an address that other members accept from us",
            ),
            _ => (
                "lane MTU".to_owned(),
                "no link of this host carries a default route".to_owned(),
                "set tunnel.mtu in agent.toml if 1420 does not fit",
            ),
        }
    }
}

/// What to look at when a gateway does not answer.
fn wake(role: LaneRole) -> &'static str {
    match role {
        LaneRole::AgentSilent => {
            "start sealane-agent there, or let port 5183 in from its lane link; packets cross meanwhile"
        }
        _ => {
            "sealane peers shows its endpoint and last handshake: see that its host and tunnel run, \
             and that UDP port 51820 of one side is open"
        }
    }
}

/// The thing, the cause, the next step.
type Sentences = (String, String, &'static str);

fn text(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}
