//! Owns link changes and which links cannot stay while others come. Does not own what links carry.

use std::borrow::Cow;

use crate::change::Change;
use crate::diff::model;
use crate::host::HostState;
use crate::link::{Link, LinkKind};
use crate::name::LinkName;

/// Returns the deletions that must precede every addition, and what is then left of `have`.
///
/// Those are: a link that is wanted under the same name but of another kind or with other fixed
/// attributes; an unwanted VXLAN link with the identifier and port of a new one; an unwanted
/// WireGuard device on the UDP port of a wanted one.
pub fn cleared_way<'a>(want: &HostState, have: &'a HostState) -> (Vec<Change>, Cow<'a, HostState>) {
    let mut rest = Cow::Borrowed(have);
    let mut steps = Vec::new();
    for (name, link) in &have.links {
        let in_the_way = match want.links.get(name) {
            Some(wanted) => wanted.kind != link.kind,
            None => takes_vxlan_port(want, link) || takes_listen_port(want, have, name),
        };
        if in_the_way {
            let step = Change::DeleteLink(name.clone());
            model::apply_to(rest.to_mut(), &step);
            steps.push(step);
        }
    }
    (steps, rest)
}

fn takes_vxlan_port(want: &HostState, link: &Link) -> bool {
    let LinkKind::Vxlan(old) = &link.kind else { return false };
    want.links.values().any(|new| match &new.kind {
        LinkKind::Vxlan(new) => new.vni == old.vni && new.port == old.port,
        LinkKind::WireGuard(_) => false,
    })
}

fn takes_listen_port(want: &HostState, have: &HostState, name: &LinkName) -> bool {
    have.devices
        .get(name)
        .is_some_and(|old| want.devices.values().any(|new| new.listen_port == old.listen_port))
}

/// Returns the links to make and the links whose MTU or state differs.
pub fn additions(want: &HostState, have: &HostState) -> Vec<Change> {
    let step = |(name, link): (&LinkName, &Link)| match have.links.get(name) {
        None => Some(Change::AddLink(name.clone(), link.clone())),
        Some(old) if old != link => Some(Change::SetLink(name.clone(), link.clone())),
        Some(_) => None,
    };
    want.links.iter().filter_map(step).collect()
}

/// Returns the links to take away.
pub fn removals(want: &HostState, have: &HostState) -> Vec<Change> {
    let unwanted = have.links.keys().filter(|name| !want.links.contains_key(*name));
    unwanted.cloned().map(Change::DeleteLink).collect()
}
