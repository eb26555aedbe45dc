//! Owns kernel settings that we need. Does not own what they were before; the host's ledger does.

use std::fmt;

use crate::name::LinkName;

/// A setting below `/proc/sys`, as a list of path components.
///
/// Components, not a dotted text, because link names may hold dots.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SysctlKey(Vec<String>);

impl SysctlKey {
    /// Makes a key from components such as `["net", "ipv4", "ip_forward"]`.
    pub fn new<const N: usize>(components: [&str; N]) -> Self {
        Self(components.iter().map(|part| (*part).to_owned()).collect())
    }

    /// Returns the components below `/proc/sys`.
    pub fn components(&self) -> &[String] {
        &self.0
    }

    /// Returns the link that the setting belongs to, such as `eth0` in `net/ipv4/conf/eth0/mtu`.
    ///
    /// `None` for host-wide settings; `all` and `default` are no links.
    pub fn link(&self) -> Option<LinkName> {
        match self.0.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["net", _, "conf" | "neigh", "all" | "default", ..] => None,
            ["net", _, "conf" | "neigh", link, _, ..] => link.parse().ok(),
            _ => None,
        }
    }
}

impl<S: Into<String>> FromIterator<S> for SysctlKey {
    fn from_iter<I: IntoIterator<Item = S>>(components: I) -> Self {
        Self(components.into_iter().map(Into::into).collect())
    }
}

impl fmt::Display for SysctlKey {
    /// Prints the `sysctl(8)` spelling: `/` inside a component's dot is kept apart by `/`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("/"))
    }
}

impl fmt::Debug for SysctlKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_setting_below_a_link_belongs_to_one() {
        let cases = [
            ("net/ipv4/conf/eth0/rp_filter", Some("eth0")),
            ("net/ipv6/conf/eth0.7/accept_ra", Some("eth0.7")),
            ("net/ipv6/neigh/sealane-vx/mcast_solicit", Some("sealane-vx")),
            ("net/ipv4/conf/all/rp_filter", None),
            ("net/ipv6/conf/default/accept_ra", None),
            ("net/ipv4/neigh/default/gc_thresh1", None),
            ("net/ipv4/ip_forward", None),
            ("net/ipv4/conf/eth0", None),
            ("net/ipv4/conf/no name/rp_filter", None),
        ];
        for (path, link) in cases {
            let key: SysctlKey = path.split('/').collect();
            assert_eq!(key.link().map(|link| link.to_string()).as_deref(), link, "{path}");
        }
    }

    #[test]
    fn a_dot_in_a_link_name_does_not_part_components() {
        let key = SysctlKey::new(["net", "ipv4", "conf", "eth0.7", "rp_filter"]);
        assert_eq!(key.components(), ["net", "ipv4", "conf", "eth0.7", "rp_filter"]);
        assert_eq!(key.to_string(), "net/ipv4/conf/eth0.7/rp_filter");
    }
}
