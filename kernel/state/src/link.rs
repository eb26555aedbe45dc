//! Owns the links we create and their attributes. Does not own addresses or WireGuard peers.

use std::fmt;
use std::net::IpAddr;

use crate::name::LinkName;

/// A link of ours.
///
/// Links of ours are always wanted up; `up` is false only in what was observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Kind and the attributes that cannot change without making the link anew.
    pub kind: LinkKind,
    /// Largest IP packet in bytes, IP header included.
    pub mtu: u32,
    /// Whether the link is administratively up.
    pub up: bool,
}

/// What a link is; two links of different `LinkKind` are different links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkKind {
    /// A WireGuard device; its keys and peers are a [`crate::wireguard::Device`] of the same name.
    WireGuard(Backend),
    /// The node-to-gateway leg; `nolearning`, all forwarding entries programmed by us.
    Vxlan(Vxlan),
}

/// Who runs the WireGuard protocol of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Backend {
    /// The kernel's own `wireguard` link kind.
    Kernel,
    /// A `sealane-tunnel` process of the device's name, behind a TUN device.
    Userspace,
}

/// Attributes of a VXLAN link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vxlan {
    /// VXLAN network identifier, 24 bits.
    pub vni: u32,
    /// UDP destination port, both ends.
    pub port: u16,
    /// Outer source address.
    pub local: IpAddr,
    /// Link that carries `local`; outer packets leave by it.
    pub underlay: LinkName,
    /// Link-layer address of this end, known to the other ends beforehand.
    pub mac: Mac,
}

/// A 48-bit link-layer address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
