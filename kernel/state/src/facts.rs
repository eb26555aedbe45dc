//! Owns read-only facts of a host: what is there beside our own things. Never diffed, never applied.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use ipnetwork::IpNetwork;

use crate::host::HostState;
use crate::link::Backend;
use crate::name::LinkName;
use crate::route::{Route, RouteKey};
use crate::rule::Family;
use crate::sysctl::SysctlKey;
use crate::wireguard::{PeerCounters, PublicKey};

/// One look at a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observation {
    /// What bears our mark.
    pub ours: HostState,
    /// What else matters to a decision or a diagnosis.
    pub facts: HostFacts,
}

/// What a host has besides our things.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// All links, ours too, by name.
    pub links: BTreeMap<LinkName, LinkFacts>,
    /// Foreign routes of the tables that foreign rules look up (main, default, ...), by key; the
    /// kernel's local table is left out. ECMP and exotic routes appear by their first way out.
    pub routes: BTreeMap<RouteKey, Route>,
    /// Settings that a plan may want, with their present values.
    pub sysctls: BTreeMap<SysctlKey, String>,
    /// WireGuard backends that this host can run.
    pub backends: BTreeSet<Backend>,
    /// Families that the kernel offers (IPv6 may be off at boot).
    pub families: BTreeSet<Family>,
    /// Per lane link and peer: counters and the endpoint in use.
    pub peers: BTreeMap<LinkName, BTreeMap<PublicKey, PeerFacts>>,
}

/// A link, ours or foreign.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkFacts {
    /// Kernel index.
    pub index: u32,
    /// Largest IP packet in bytes.
    pub mtu: u32,
    /// Administratively up and with carrier.
    pub running: bool,
    /// Addresses with prefix length; tentative and deprecated ones left out.
    pub addresses: BTreeSet<IpNetwork>,
}

/// What a WireGuard device says of a peer right now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PeerFacts {
    /// Counters.
    pub counters: PeerCounters,
    /// Endpoint in use; moved by authenticated packets.
    pub endpoint: Option<SocketAddr>,
}
