//! Owns changes of permanent neighbours and VXLAN forwarding entries. Does not own the links.

use crate::change::Change;
use crate::host::HostState;
use crate::neighbour::{Fdb, Neighbour};

/// Returns the entries to add or replace.
pub fn additions(want: &HostState, have: &HostState) -> Vec<Change> {
    let neighbours = want.neighbours.difference(&have.neighbours).cloned();
    let fdb = want.fdb.difference(&have.fdb).cloned();
    neighbours.map(Change::PutNeighbour).chain(fdb.map(Change::PutFdb)).collect()
}

/// Returns the entries to remove from links that stay; those that an addition replaced are gone.
pub fn removals(want: &HostState, have: &HostState) -> Vec<Change> {
    let same_neighbour = |a: &Neighbour, b: &Neighbour| a.link == b.link && a.address == b.address;
    let neighbours = have.neighbours.difference(&want.neighbours).filter(|old| {
        want.links.contains_key(&old.link)
            && !want.neighbours.iter().any(|new| same_neighbour(old, new))
    });
    let replaced = |old: &Fdb| {
        want.fdb
            .iter()
            .any(|new| new.link == old.link && new.mac == old.mac && !have.fdb.contains(new))
    };
    let fdb = have
        .fdb
        .difference(&want.fdb)
        .filter(|old| want.links.contains_key(&old.link) && !replaced(old));
    let fdb = fdb.cloned().map(Change::DeleteFdb);
    fdb.chain(neighbours.cloned().map(Change::DeleteNeighbour)).collect()
}
