//! Owns the packet whose way is asked for, and how it comes in. Does not know where it goes.

use std::net::IpAddr;

use sealane_state::link::Mac;
use sealane_state::name::LinkName;
use sealane_state::rule::Family;
use sealane_state::wireguard::PublicKey;

use crate::bits::Bits;

/// A packet whose protocol and ports nobody named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Where it comes from; `None`, for packets made here, lets the host choose.
    pub source: Option<IpAddr>,
    /// Where it goes.
    pub destination: IpAddr,
    /// Bytes, IP header included; `None` is as large as each way takes.
    pub size: Option<u32>,
    /// How it comes in.
    pub entry: Entry,
    /// Its mark when it comes in.
    pub mark: Bits,
    /// Its place in its flow.
    pub flow: Flow,
    /// Which of several equal ways to follow, counted from 0; taken modulo their number.
    pub choice: u8,
}

/// How a packet comes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// It is made by this host.
    Host,
    /// By a link that is not ours: pods, a LAN.
    Link(LinkName),
    /// Out of a lane.
    Lane {
        /// The lane link.
        link: LinkName,
        /// Who sends it; `None` when that is not known.
        peer: Option<PublicKey>,
    },
    /// Over the leg from another node of the member.
    Leg {
        /// The leg link.
        link: LinkName,
        /// The other node's end; `None` when that is not known.
        mac: Option<Mac>,
    },
}

impl Entry {
    /// Returns the link; `None` for packets made here.
    pub fn link(&self) -> Option<&LinkName> {
        match self {
            Self::Host => None,
            Self::Link(link) | Self::Lane { link, .. } | Self::Leg { link, .. } => Some(link),
        }
    }
}

/// A packet's place in its flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// The first packet.
    New,
    /// An answer to packets that this host has seen.
    Reply {
        /// The connection's mark.
        mark: Bits,
    },
}

impl Packet {
    /// Returns the IP version.
    pub fn family(&self) -> Family {
        family_of(self.destination)
    }
}

/// Returns the IP version of an address.
pub fn family_of(address: IpAddr) -> Family {
    match address {
        IpAddr::V4(_) => Family::V4,
        IpAddr::V6(_) => Family::V6,
    }
}
