//! Owns permanent neighbours and VXLAN forwarding entries on links of ours.

use std::net::IpAddr;

use crate::link::Mac;
use crate::name::LinkName;

/// A permanent ARP or ND entry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Neighbour {
    /// The link that reaches it.
    pub link: LinkName,
    /// Next-hop address; an IPv6 one also serves IPv4 routes given `via inet6`.
    pub address: IpAddr,
    /// Link-layer address behind it.
    pub mac: Mac,
}

/// A permanent VXLAN forwarding entry: frames to `mac` leave towards `remote`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fdb {
    /// The VXLAN link.
    pub link: LinkName,
    /// Inner destination link-layer address.
    pub mac: Mac,
    /// Outer destination address.
    pub remote: IpAddr,
}
