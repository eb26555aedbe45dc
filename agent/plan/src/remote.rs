//! Owns what is believed of other members' gateways: verified, accepted, clipped to their grants.
//! Does not verify, and knows no wire format.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnetwork::IpNetwork;
use sealane_state::wireguard::PublicKey;

use crate::name::UnixSeconds;

/// Networks of a member by kind; host bits zero.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks {
    /// Pod addresses.
    pub pods: BTreeSet<IpNetwork>,
    /// Service addresses.
    pub services: BTreeSet<IpNetwork>,
    /// Other addresses, such as a LAN.
    pub external: BTreeSet<IpNetwork>,
}

impl Networks {
    /// Returns the networks of all kinds: pods, then services, then external ones.
    pub fn all(&self) -> impl Iterator<Item = IpNetwork> + '_ {
        self.pods.iter().chain(&self.services).chain(&self.external).copied()
    }
}

/// A gateway of another member whose advertisement was accepted and is not withdrawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteGateway {
    /// Accepted networks: advertised, and granted to its member.
    pub networks: Networks,
    /// Its address inside the lanes.
    pub probe: Ipv6Addr,
    /// Its IPv4 address inside the lanes, from its own grant.
    pub probe4: Option<Ipv4Addr>,
    /// Tunnel entries in the advertised order; two while its key is being rotated.
    pub tunnels: Vec<RemoteTunnel>,
    /// Whether it wants new traffic.
    pub state: GatewayState,
    /// When its advertisement expires; afterwards it is held until `until`.
    pub expires: UnixSeconds,
    /// From when on it no longer counts; `None` while it is held without limit.
    pub until: Option<UnixSeconds>,
}

/// Whether a gateway wants new traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GatewayState {
    /// It does.
    Active,
    /// It is about to stop: used only where no other gateway of its member answers.
    Draining,
}

/// A tunnel entry of a remote gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteTunnel {
    /// WireGuard public key.
    pub key: PublicKey,
    /// Index 0 to 7 that tells the gateways of one member apart on kernel WireGuard.
    pub slot: u8,
    /// Largest inner packet that it takes, in bytes.
    pub mtu: u32,
    /// Where it may be reached.
    pub candidates: Vec<Candidate>,
}

/// An address that a remote gateway may be reached by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    /// How the gateway knows it; in this order candidates are tried.
    pub kind: CandidateKind,
    /// Address and UDP port.
    pub endpoint: SocketAddr,
}

/// How a gateway knows an address of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CandidateKind {
    /// It is on a link of the gateway.
    Private,
    /// It was configured as reachable from elsewhere.
    Public,
    /// Two other members have seen it.
    Observed,
}
