//! Owns when the kernel would refuse a step. Does not own what a step does.

use sealane_state::address::Address;
use sealane_state::change::Change;
use sealane_state::host::HostState;
use sealane_state::link::{Link, LinkKind};
use sealane_state::name::LinkName;
use sealane_state::rule::{MarkMatch, Rule, Sense};

/// Says why the kernel would answer `EEXIST`, `ENOENT` or `ENODEV`; `None` when it would not.
pub(crate) fn obstacle(now: &HostState, step: &Change) -> Option<&'static str> {
    let no_link = |name: &LinkName| !now.links.contains_key(name);
    let (bad, why) = match step {
        Change::AddLink(name, link) => (link_stands(now, name, link), "such a link stands"),
        Change::SetLink(name, _) | Change::DeleteLink(name) => (no_link(name), "no such link"),
        Change::SetDevice(name, _) => (no_link(name), "no such link"),
        Change::PutPeer(name, ..) => (!now.devices.contains_key(name), "no such device"),
        Change::DeletePeer(name, key) => {
            let peers = now.devices.get(name).map(|device| &device.peers);
            (peers.is_none_or(|peers| !peers.contains_key(key)), "no such peer")
        }
        Change::AddAddress(new) => {
            let stands = now.addresses.iter().any(|old| same_ipv6(old, new));
            (stands || no_link(&new.link), "such an address stands, or no such link")
        }
        Change::DeleteAddress(gone) => (!now.addresses.contains(gone), "no such address"),
        Change::PutNeighbour(new) => (no_link(&new.link), "no such link"),
        Change::DeleteNeighbour(gone) => (!now.neighbours.contains(gone), "no such neighbour"),
        Change::PutFdb(new) => (no_link(&new.link), "no such link"),
        Change::DeleteFdb(gone) => (!now.fdb.contains(gone), "no such entry"),
        Change::PutRoute(_, route) => (route.target.link().is_some_and(no_link), "no such link"),
        Change::DeleteRoute(key) => (!now.routes.contains_key(key), "no such route"),
        Change::AddRule(new) => {
            (now.rules.iter().any(|old| senseless(old) == senseless(new)), "rule stands")
        }
        Change::DeleteRule(gone) => (!now.rules.contains(gone), "no such rule"),
        Change::SetSysctl(key, _) | Change::RestoreSysctl(key) => {
            (key.link().is_some_and(|link| no_link(&link)), "no such link")
        }
        Change::ReplaceFilter(_) => (false, ""),
        Change::DeleteFilter => (now.filter.is_none(), "no such table"),
    };
    bad.then_some(why)
}

/// A name stands once, and so does a VXLAN identifier on a port (`vxlan_vni_in_use`).
fn link_stands(now: &HostState, name: &LinkName, link: &Link) -> bool {
    let place = |link: &Link| match &link.kind {
        LinkKind::Vxlan(vxlan) => Some((vxlan.vni, vxlan.port)),
        LinkKind::WireGuard(_) => None,
    };
    let taken = now.links.values().filter_map(place).any(|taken| Some(taken) == place(link));
    taken || now.links.contains_key(name)
}

fn same_ipv6(a: &Address, b: &Address) -> bool {
    a.link == b.link && a.net.ip() == b.net.ip() && a.net.is_ipv6()
}

/// The kernel takes rules that differ in the sense of a mark alone for the same rule.
fn senseless(rule: &Rule) -> Rule {
    let mark = rule.mark.map(|mark| MarkMatch { sense: Sense::Is, ..mark });
    Rule { mark, ..rule.clone() }
}
