//! Owns [`HostState`], the one type for what a host should look like and what it does look like.

use std::collections::{BTreeMap, BTreeSet};

use crate::address::Address;
use crate::filter::FilterTable;
use crate::link::Link;
use crate::name::LinkName;
use crate::neighbour::{Fdb, Neighbour};
use crate::route::{Route, RouteKey};
use crate::rule::Rule;
use crate::sysctl::SysctlKey;
use crate::wireguard::Device;

/// Everything of ours on a host, wanted or observed. Empty means: no trace of us.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostState {
    /// Links by name.
    pub links: BTreeMap<LinkName, Link>,
    /// WireGuard configuration of the links of that kind.
    pub devices: BTreeMap<LinkName, Device>,
    /// Addresses on our links.
    pub addresses: BTreeSet<Address>,
    /// Permanent neighbours on our links.
    pub neighbours: BTreeSet<Neighbour>,
    /// VXLAN forwarding entries on our links.
    pub fdb: BTreeSet<Fdb>,
    /// Routes in our tables.
    pub routes: BTreeMap<RouteKey, Route>,
    /// Rules in our priority range.
    pub rules: BTreeSet<Rule>,
    /// The nftables table `inet sealane`.
    pub filter: Option<FilterTable>,
    /// Settings we hold, with the value they have or should have.
    pub sysctls: BTreeMap<SysctlKey, String>,
}
