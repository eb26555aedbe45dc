//! Owns our marks on a host: the numbers and names by which we know what is ours. What does not
//! bear one of these marks is foreign and is never listed, changed or deleted.

use std::ops::RangeInclusive;

use crate::name::LinkName;

/// rtnetlink protocol number of our routes and rules.
pub const PROTOCOL: u8 = 82;
/// Alias of every link that we make.
pub const LINK_ALIAS: &str = "sealane";
/// Name of our nftables table, family `inet`.
pub const FILTER_TABLE: &str = "sealane";
/// Priorities of our rules.
pub const RULES: RangeInclusive<u32> = 5182..=5189;
/// Rule: packets from a lane to our nodes.
pub const RULE_FROM_LANE: u32 = 5183;
/// Rule: marked packets to the gateway they were steered to.
pub const RULE_STEERED: u32 = 5184;
/// Rule: everything else to the remote prefixes.
pub const RULE_REMOTE: u32 = 5186;
/// Table of remote prefixes.
pub const TABLE_REMOTE: u32 = 5182;
/// Metric of the routes that stand behind those to remote prefixes: above any default metric.
pub const METRIC_BACKSTOP: u32 = 1_000_000;
/// Table of our nodes, on gateways.
pub const TABLE_NODES: u32 = 5183;
/// Table of gateway slot 0; slot n has this plus n.
pub const TABLE_GATEWAY_BASE: u32 = 5200;
/// Tables that may hold routes of ours.
pub const TABLES: RangeInclusive<u32> = 5182..=5327;
/// The node-to-gateway link.
pub const VXLAN_LINK: &str = "sealane-vx";
/// Prefix of lane links; slot n is `sealane` followed by n.
pub const LANE_LINK_PREFIX: &str = "sealane";
/// VXLAN network identifier.
pub const VXLAN_VNI: u32 = 5182;
/// VXLAN UDP port.
pub const VXLAN_PORT: u16 = 4801;
/// Mark of our own encrypted packets.
pub const MARK_ENCRYPTED: u32 = 0x2000;
/// Bits of [`MARK_ENCRYPTED`] that count.
pub const MARK_ENCRYPTED_MASK: u32 = 0x3000;
/// Steering mark of gateway slot 0; slot n has this plus n. Packet and connection mark alike.
pub const MARK_GATEWAY_BASE: u32 = 0x1000;
/// Bits of a steering mark; none of them belongs to kube-proxy, Calico or Cilium.
pub const MARK_MASK: u32 = 0x307f;
/// Highest gateway slot: the mask leaves seven bits, and slot 0 is not used in marks.
pub const GATEWAY_SLOTS: u32 = 127;

/// Says whether a lane link of ours would have this name. That one has it does not make it ours.
pub fn is_lane_link(name: &LinkName) -> bool {
    let slot = name.as_str().strip_prefix(LANE_LINK_PREFIX);
    slot.is_some_and(|slot| matches!(slot.as_bytes(), [b'0'..=b'7']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lane_links_are_numbered_from_0_to_7() {
        for name in ["sealane0", "sealane7"] {
            assert!(is_lane_link(&name.parse().unwrap()), "{name} was not taken for a lane");
        }
        for name in ["sealane", "sealane8", "sealane-vx", "sealane00", "sealane10", "0", "eth0"] {
            assert!(!is_lane_link(&name.parse().unwrap()), "{name} was taken for a lane");
        }
    }
}
