//! Owns setting changes: those of the host stand around everything, those of a link right after
//! the link. Does not own the values they had before us.

use crate::change::Change;
use crate::host::HostState;
use crate::sysctl::SysctlKey;

/// Returns the host-wide settings to write.
pub fn host_additions(want: &HostState, have: &HostState) -> Vec<Change> {
    additions(want, have, |key| !of_our_link(key, want))
}

/// Returns the settings below wanted links to write; they exist only once the link does.
pub fn link_additions(want: &HostState, have: &HostState) -> Vec<Change> {
    additions(want, have, |key| of_our_link(key, want))
}

/// Returns the settings below our links to write back, while the links still exist.
pub fn link_removals(want: &HostState, have: &HostState) -> Vec<Change> {
    removals(want, have, |key| of_our_link(key, have))
}

/// Returns the host-wide settings to write back.
pub fn host_removals(want: &HostState, have: &HostState) -> Vec<Change> {
    removals(want, have, |key| !of_our_link(key, have))
}

fn additions(
    want: &HostState,
    have: &HostState,
    in_scope: impl Fn(&SysctlKey) -> bool,
) -> Vec<Change> {
    let differing = |(key, value): &(&SysctlKey, &String)| have.sysctls.get(*key) != Some(*value);
    let scoped = want.sysctls.iter().filter(|(key, _)| in_scope(key)).filter(differing);
    scoped.map(|(key, value)| Change::SetSysctl(key.clone(), value.clone())).collect()
}

fn removals(
    want: &HostState,
    have: &HostState,
    in_scope: impl Fn(&SysctlKey) -> bool,
) -> Vec<Change> {
    let unwanted = have.sysctls.keys().filter(|key| !want.sysctls.contains_key(*key));
    unwanted.filter(|key| in_scope(key)).cloned().map(Change::RestoreSysctl).collect()
}

fn of_our_link(key: &SysctlKey, state: &HostState) -> bool {
    key.link().is_some_and(|link| state.links.contains_key(&link))
}
