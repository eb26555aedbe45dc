//! Owns the difference between a wanted and an observed host, and the order of its steps. Does not
//! own what a step does to Linux; `kernel` does.
//!
//! The order, and why each part stands where it stands:
//! 0. peers that go and leave nothing to others: who is revoked is cut before anything can take long;
//! 1. the filter, so that no link, route or flow exists unprotected or binds to a foreign NAT rule;
//! 2. settings of the host; 3. links that stand in the way of a wanted one go, wanted ones come;
//! 4. settings of links, devices, addresses, peers, neighbours, forwarding entries;
//! 5. routes, which need all of those; 6. rules, which send packets to the routes;
//! 7. what is no longer wanted, in the reverse of that order.

pub mod addresses;
pub mod filter;
pub mod links;
pub mod model;
pub mod neighbours;
pub mod peers;
pub mod routing;
pub mod settings;

use crate::change::Change;
use crate::host::HostState;

/// Returns the steps that bring a host from `have` to `want`.
///
/// Shape: in the order of application; empty when nothing differs. What both contain is not cut by
/// any prefix of the steps, so a run that stops half-way leaves every common lane working. The one
/// exception is the kernel's: with the last IPv4 address of a link go its IPv4 routes and
/// neighbours, which are put back right after.
pub fn diff(want: &HostState, have: &HostState) -> Vec<Change> {
    let (cleared, have_rest) = links::cleared_way(want, have);
    let have = have_rest.as_ref();

    let mut steps = settings::host_additions(want, have);
    steps.extend(cleared);
    steps.extend(links::additions(want, have));
    steps.extend(settings::link_additions(want, have));
    steps.extend(peers::device_changes(want, have));
    steps.extend(addresses::additions(want, have));
    steps.extend(peers::additions(want, have));
    steps.extend(neighbours::additions(want, have));
    steps.extend(routing::additions(want, have));

    steps.extend(routing::removals(want, have));
    steps.extend(neighbours::removals(want, have));
    steps.extend(peers::removals(want, have));
    steps.extend(addresses::removals(want, have));
    steps.extend(settings::link_removals(want, have));
    steps.extend(links::removals(want, have));
    steps.extend(settings::host_removals(want, have));
    let mut first = peers::departures(want, have);
    first.extend(filter::placed(want, have, steps));
    first
}
