//! Owns what else changes when forwarding is set host-wide: what the kernel rewrites by itself, and
//! what we write so that a host keeps its router. Does not own reading, writing or remembering.

use std::fs;
use std::io;
use std::path::Path;

use sealane_state::name::LinkName;
use sealane_state::sysctl::SysctlKey;

/// `accept_ra` of a link that heeds router advertisements although it forwards; `ip-sysctl`.
pub(crate) const HEED_RA_AS_ROUTER: &str = "2";
/// `accept_ra` of a link that heeds them only while it does not forward: the kernel's default.
pub(crate) const HEED_RA_AS_HOST: &str = "1";

/// Lists what the kernel rewrites when `key` is written, for the links that stand below `root`.
/// Empty unless `key` is the host-wide forwarding of a family.
///
/// IPv4: every `forwarding`, and `accept_redirects` of `all` (`inet_forward_change`). IPv6: every
/// `forwarding` (`addrconf_forward_change`).
///
/// # Errors
/// The links cannot be listed.
pub(crate) fn rewritten_with(key: &SysctlKey, root: &Path) -> io::Result<Vec<SysctlKey>> {
    let Some(family) = forwarding_of(key) else {
        return Ok(Vec::new());
    };
    let mut rewritten = Vec::new();
    if family == "ipv4" {
        rewritten.push(SysctlKey::new(["net", family, "conf", "all", "accept_redirects"]));
    }
    let folder = match fs::read_dir(root.join("net").join(family).join("conf")) {
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(rewritten),
        other => other?,
    };
    for entry in folder {
        if let Ok(link) = entry?.file_name().into_string()
            && link != "all"
        {
            rewritten.push(SysctlKey::new(["net", family, "conf", &link, "forwarding"]));
        }
    }
    Ok(rewritten)
}

/// Returns what `side` shows after the host-wide setting became `value`, unless another hand wrote
/// it since. For `accept_ra` this is what we write.
pub(crate) fn shown<'a>(side: &SysctlKey, value: &'a str) -> &'a str {
    match side.components().last().map(String::as_str) {
        Some("accept_redirects") if value == "0" => "1",
        Some("accept_redirects") => "0",
        Some("accept_ra") => HEED_RA_AS_ROUTER,
        _ => value,
    }
}

/// Whether writing `key` has the kernel drop the default routes that came by router advertisement,
/// and ignore further ones, on links that heed them as hosts.
pub(crate) fn ends_ra(key: &SysctlKey) -> bool {
    forwarding_of(key) == Some("ipv6")
}

/// Returns `accept_ra` of a link.
pub(crate) fn accept_ra(link: &LinkName) -> SysctlKey {
    SysctlKey::new(["net", "ipv6", "conf", link.as_str(), "accept_ra"])
}

/// Returns IPv6 `forwarding` of a link.
pub(crate) fn forwarding(link: &LinkName) -> SysctlKey {
    SysctlKey::new(["net", "ipv6", "conf", link.as_str(), "forwarding"])
}

/// Whether `side` is an `accept_ra`: it goes back last, as setting any IPv6 `forwarding` to 1 drops
/// the advertised default routes of all links that heed advertisements as hosts.
pub(crate) fn goes_back_last(side: &SysctlKey) -> bool {
    side.components().last().is_some_and(|name| name == "accept_ra")
}

fn forwarding_of(key: &SysctlKey) -> Option<&'static str> {
    match key.components().iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["net", "ipv4", "ip_forward"] => Some("ipv4"),
        ["net", "ipv6", "conf", "all", "forwarding"] => Some("ipv6"),
        _ => None,
    }
}
