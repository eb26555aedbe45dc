//! Owns the sentence about a destination that no member advertises: who was granted it, or what comes
//! nearest. Does not own where the packet ends.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use crate::snapshot::Snapshot;

/// Grants that are named where none fits.
const NEAREST: usize = 2;

/// Says that no member advertises `destination`; `None` when one does, our own included.
///
/// `grants` are the networks that the ClusterSet grants, with the member; in any order.
pub fn of_nobody(
    snapshot: Snapshot<'_>,
    destination: IpAddr,
    grants: &[(IpNetwork, String)],
) -> Option<String> {
    if snapshot.is_ours(destination) || snapshot.member_of(destination).is_some() {
        return None;
    }
    let holding = grants.iter().filter(|(network, _)| network.contains(destination));
    let granted = match holding.max_by_key(|(network, _)| network.prefix()) {
        Some((network, member)) => format!(
            "the list grants {network} to {member}, but no accepted gateway of it advertises the \
             address: sealane status says why"
        ),
        None => nearest(destination, grants),
    };
    Some(format!("no member advertises it; {granted}"))
}

fn nearest(destination: IpAddr, grants: &[(IpNetwork, String)]) -> String {
    let mut near: Vec<_> = grants
        .iter()
        .filter(|(network, _)| network.is_ipv4() == destination.is_ipv4())
        .map(|(network, member)| (common_bits(network.network(), destination), network, member))
        .collect();
    near.sort_by(|a, b| b.0.cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    let named: Vec<String> = near
        .iter()
        .take(NEAREST)
        .map(|(_, network, member)| format!("{network} of {member}"))
        .collect();
    match named.as_slice() {
        [] => "the list grants no network of this family".to_owned(),
        named => format!("the nearest grants are {}", named.join(" and ")),
    }
}

/// Counts the leading bits that two addresses of one family share.
fn common_bits(one: IpAddr, other: IpAddr) -> u32 {
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros(),
        (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros(),
        _ => 0,
    }
}
