//! Owns [`Change`], one step from what a host looks like to what it should look like.

use crate::address::Address;
use crate::filter::FilterTable;
use crate::link::Link;
use crate::name::LinkName;
use crate::neighbour::{Fdb, Neighbour};
use crate::route::{Route, RouteKey};
use crate::rule::Rule;
use crate::sysctl::SysctlKey;
use crate::wireguard::{Device, Peer, PublicKey};

/// One step; each is idempotent and stands for itself, so a failed one does not stop the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Remember the present value once, then write this one.
    SetSysctl(SysctlKey, String),
    /// Write back the remembered value and forget it.
    RestoreSysctl(SysctlKey),
    /// Make a link (for a userspace WireGuard link: start its process), set its MTU, bring it up.
    AddLink(LinkName, Link),
    /// Bring MTU and state of an existing link of the same kind to these values.
    SetLink(LinkName, Link),
    /// Take a link away; its addresses, neighbours, routes and peers go with it.
    DeleteLink(LinkName),
    /// Set key, port and mark of a device; its peers are not touched.
    SetDevice(LinkName, Device),
    /// Add a peer or bring an existing one to this configuration without losing its session.
    PutPeer(LinkName, PublicKey, Peer),
    /// Remove a peer.
    DeletePeer(LinkName, PublicKey),
    /// Add an address.
    AddAddress(Address),
    /// Remove an address.
    DeleteAddress(Address),
    /// Add or replace a permanent neighbour.
    PutNeighbour(Neighbour),
    /// Remove a neighbour.
    DeleteNeighbour(Neighbour),
    /// Add or replace a forwarding entry.
    PutFdb(Fdb),
    /// Remove a forwarding entry.
    DeleteFdb(Fdb),
    /// Add or replace a route.
    PutRoute(RouteKey, Route),
    /// Remove a route.
    DeleteRoute(RouteKey),
    /// Add a rule.
    AddRule(Rule),
    /// Remove a rule.
    DeleteRule(Rule),
    /// Make our nftables table this one, in one transaction.
    ReplaceFilter(FilterTable),
    /// Remove our nftables table.
    DeleteFilter,
}
