//! Owns address changes, and what the kernel drops with the last IPv4 address of a link.

use crate::address::Address;
use crate::change::Change;
use crate::host::HostState;
use crate::name::LinkName;

/// Returns the addresses to add, each after the one that it cannot stand beside.
pub fn additions(want: &HostState, have: &HostState) -> Vec<Change> {
    let mut steps = Vec::new();
    for address in want.addresses.difference(&have.addresses) {
        let displaced = have.addresses.iter().filter(|old| displaces(address, old));
        steps.extend(displaced.cloned().map(Change::DeleteAddress));
        steps.push(Change::AddAddress(address.clone()));
    }
    steps
}

/// Returns the addresses to remove from links that stay, and the IPv4 neighbours and routes to put
/// back after a link's last IPv4 address went.
pub fn removals(want: &HostState, have: &HostState) -> Vec<Change> {
    let mut steps = Vec::new();
    let unwanted = have.addresses.difference(&want.addresses);
    for address in unwanted.filter(|address| want.links.contains_key(&address.link)) {
        if !want.addresses.iter().any(|new| displaces(new, address)) {
            steps.push(Change::DeleteAddress(address.clone()));
        }
    }
    for link in want.links.keys() {
        if carries_v4(have, link) && !carries_v4(want, link) {
            let neighbours = want.neighbours.iter();
            let dropped = neighbours.filter(|n| &n.link == link && n.address.is_ipv4());
            steps.extend(dropped.cloned().map(Change::PutNeighbour));
            let dropped = want.routes.iter().filter(|(key, route)| {
                key.destination.is_ipv4() && route.target.link() == Some(link)
            });
            steps.extend(dropped.map(|(key, route)| Change::PutRoute(*key, route.clone())));
        }
    }
    steps
}

/// An IPv6 address stands on a link once, whatever its prefix length.
fn displaces(new: &Address, old: &Address) -> bool {
    let same_place = new.link == old.link && new.net.ip() == old.net.ip();
    same_place && new.net.is_ipv6() && new.net.prefix() != old.net.prefix()
}

fn carries_v4(state: &HostState, link: &LinkName) -> bool {
    state.addresses.iter().any(|address| &address.link == link && address.net.is_ipv4())
}
