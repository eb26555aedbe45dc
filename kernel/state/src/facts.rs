//! Owns read-only facts of a host: what is there beside our own things. Never diffed, never applied.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

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
    /// WireGuard backends that a lane link of ours stands on; they are among `backends`, even while
    /// no further lane could be started.
    pub standing: BTreeSet<Backend>,
    /// Families that the kernel offers (IPv6 may be off at boot).
    pub families: BTreeSet<Family>,
    /// Per lane link and peer: counters and the endpoint in use.
    pub peers: BTreeMap<LinkName, BTreeMap<PublicKey, PeerFacts>>,
    /// Per userspace lane link: the version of the program behind it; `None` when it does not say.
    pub tunnels: BTreeMap<LinkName, Option<String>>,
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
    /// Bears our mark. A name like ours says nothing.
    pub ours: bool,
}

/// What a WireGuard device says of a peer right now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PeerFacts {
    /// Counters.
    pub counters: PeerCounters,
    /// Endpoint in use; moved by authenticated packets.
    pub endpoint: Option<SocketAddr>,
    /// Whether it is still sent to under the key that our device had before its present one.
    pub lags: bool,
}

/// Every rule and route of a host, foreign ones too, for walking the way of a packet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoutingSnapshot {
    /// Rules in the order in which the kernel tries them; the families are independent.
    pub rules: Vec<SeenRule>,
    /// Routes by table, then in the order of the kernel's dump; cached and cloned ones left out.
    pub routes: BTreeMap<u32, Vec<SeenRoute>>,
}

/// A routing rule of anyone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenRule {
    /// Order; lower runs first.
    pub priority: u32,
    /// IP version it holds for.
    pub family: Family,
    /// rtnetlink protocol number of who made it; 0 is unknown, 2 the kernel, 82 us.
    pub protocol: u8,
    /// Whether the rule holds when its conditions do not (`not`).
    pub inverted: bool,
    /// Condition on the source; `None` is any.
    pub from: Option<IpNetwork>,
    /// Condition on the destination; `None` is any.
    pub to: Option<IpNetwork>,
    /// Condition on the link the packet came in by; `lo` means made by this host.
    pub input: Option<LinkName>,
    /// Condition on the link that a local socket is bound to.
    pub output: Option<LinkName>,
    /// Condition on the packet mark: value and mask.
    pub mark: Option<(u32, u32)>,
    /// Further conditions, as `ip rule` would show them; whoever walks cannot judge them.
    pub other_conditions: Vec<String>,
    /// What the rule does.
    pub action: SeenAction,
    /// A match of this prefix length or shorter in the table does not count.
    pub suppressed_length: Option<u32>,
}

/// What a rule does with packets that meet its conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SeenAction {
    /// Look up a table; the next rule follows when nothing matches there.
    Lookup(u32),
    /// Go on at the rule of this priority.
    Goto(u32),
    /// Look up the table of the packet's VRF.
    Vrf,
    /// Refuse or drop; the word that `ip rule` shows.
    Refuse(String),
    /// Nothing.
    Nop,
}

/// A route of anyone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenRoute {
    /// Destination, host bits zero.
    pub destination: IpNetwork,
    /// Route priority as the kernel shows it; lower wins.
    pub metric: u32,
    /// rtnetlink protocol number of who made it.
    pub protocol: u8,
    /// Type as `ip route` shows it: `unicast`, `local`, `unreachable`, ...
    pub kind: String,
    /// Ways out; several are ECMP, none with kinds that do not forward.
    pub hops: Vec<SeenHop>,
    /// Preferred source.
    pub source: Option<IpAddr>,
    /// Path MTU in bytes.
    pub mtu: Option<u32>,
}

/// One way out of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenHop {
    /// Link that packets leave by; `None` when it is not in this namespace or went meanwhile.
    pub link: Option<LinkName>,
    /// Next hop, of either family.
    pub gateway: Option<IpAddr>,
    /// Share among the hops, from 1.
    pub weight: u16,
    /// Whether the kernel takes no packets here now: link down, carrier lost, or dead.
    pub unusable: bool,
}

/// A packet whose way is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteQuestion {
    /// Where it goes.
    pub destination: IpAddr,
    /// Where it comes from; `None` lets the kernel choose, for packets made here.
    pub source: Option<IpAddr>,
    /// Link that it comes in by; `None` for packets made here. Needs `source`.
    pub input: Option<LinkName>,
    /// Its mark; 0 is none.
    pub mark: u32,
}

/// What the kernel would do with a packet right now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteAnswer {
    /// Table that the route is from.
    pub table: u32,
    /// Type as `ip route` shows it; `unicast` is forwarded or sent, `local` delivered here.
    pub kind: String,
    /// The way out.
    pub hop: SeenHop,
    /// Source that a packet made here gets.
    pub source: Option<IpAddr>,
    /// Path MTU in bytes, where route or cache know one.
    pub mtu: Option<u32>,
}
