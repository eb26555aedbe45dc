//! Owns where in the order the nftables table is replaced or removed. Does not own its content.

use crate::change::Change;
use crate::host::HostState;

/// Returns `steps` with the filter's change in its place.
///
/// First, because a flow that starts under a foreign NAT rule stays bound to it, and a link must
/// not exist unprotected. Last, when the steps only take away: the old table then protects what
/// still stands.
pub fn placed(want: &HostState, have: &HostState, steps: Vec<Change>) -> Vec<Change> {
    if want.filter == have.filter {
        return steps;
    }
    let change = match &want.filter {
        Some(table) => Change::ReplaceFilter(table.clone()),
        None => Change::DeleteFilter,
    };
    let late = want.filter.is_none() || only_takes_away(&steps);
    let mut placed = Vec::with_capacity(steps.len() + 1);
    if late {
        placed.extend(steps);
        placed.push(change);
    } else {
        placed.push(change);
        placed.extend(steps);
    }
    placed
}

fn only_takes_away(steps: &[Change]) -> bool {
    let mut takes_link = false;
    for step in steps {
        match step {
            Change::DeleteLink(_) => takes_link = true,
            Change::AddLink(..)
            | Change::PutPeer(..)
            | Change::PutFdb(_)
            | Change::PutRoute(..)
            | Change::AddRule(_) => return false,
            _ => {}
        }
    }
    takes_link
}
