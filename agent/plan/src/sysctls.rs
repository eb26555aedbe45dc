//! Owns the kernel settings that a host needs: forwarding, and what our own links must not inherit.
//! Names no setting of a foreign link. What host-wide forwarding does to those, and `accept_ra` of
//! links with an advertised router, which the kernel room holds with it, goes back when we leave.

use std::collections::BTreeMap;

use sealane_state::address::Address;
use sealane_state::host::HostState;
use sealane_state::link::{Backend, LinkKind};
use sealane_state::name::LinkName;
use sealane_state::rule::Family;
use sealane_state::sysctl::SysctlKey;

use crate::ground::Ground;
use crate::leg::Leg;
use crate::prefix;
use crate::source::Sources;
use crate::world::NodeRole;

/// Puts the settings into `host`, whose links stand already.
pub fn place(
    ground: &Ground<'_>,
    leg: Option<&Leg<'_>>,
    lane_links: &BTreeMap<LinkName, u8>,
    sources: &Sources,
    host: &mut HostState,
) {
    for family in ground.usable.iter().filter(|family| forwards(ground, leg, **family)) {
        let key = match family {
            Family::V4 => SysctlKey::new(["net", "ipv4", "ip_forward"]),
            Family::V6 => SysctlKey::new(["net", "ipv6", "conf", "all", "forwarding"]),
        };
        host.sysctls.insert(key, "1".to_owned());
    }
    if ground.offered.contains(&Family::V6) {
        // `disable_ipv6` of `all` and `default` is often set; links of ours need an address.
        for link in host.links.keys() {
            let key = SysctlKey::new(["net", "ipv6", "conf", link.as_str(), "disable_ipv6"]);
            host.sysctls.insert(key, "0".to_owned());
        }
    }
    let by_kernel = LinkKind::WireGuard(Backend::Kernel);
    if host.links.values().any(|link| link.kind == by_kernel) {
        // Kernel WireGuard does this itself when a link goes up (`wg_open`), and never undoes it. As a
        // setting of ours it goes back when we leave.
        let key = SysctlKey::new(["net", "ipv4", "conf", "all", "send_redirects"]);
        host.sysctls.insert(key, "0".to_owned());
    }
    loosen_reverse_path(ground, leg, lane_links, sources, host);
}

/// Packets of one member may come in by several links of ours, while the route back names one. The
/// check is loosened on those links alone, and only where they have an IPv4 address: the kernel
/// ignores the setting on a link without one.
fn loosen_reverse_path(
    ground: &Ground<'_>,
    leg: Option<&Leg<'_>>,
    lane_links: &BTreeMap<LinkName, u8>,
    sources: &Sources,
    host: &mut HostState,
) {
    if !ground.usable.contains(&Family::V4) {
        return;
    }
    let shared_leg = leg.filter(|leg| {
        let other_gateways = leg.ends.values().any(|end| end.node.role == NodeRole::Gateway);
        ground.gateway().is_some() && other_gateways
    });
    let lanes = lane_links.keys().filter(|_| lane_links.len() > 1);
    for link in shared_leg.map(|leg| &leg.link).into_iter().chain(lanes) {
        let key = SysctlKey::new(["net", "ipv4", "conf", link.as_str(), "rp_filter"]);
        host.sysctls.insert(key, "2".to_owned());
        if let Some(source) = sources.of(Family::V4) {
            host.addresses.insert(Address { link: link.clone(), net: prefix::host(source) });
        }
    }
}

/// Whether packets of others cross this host: it has nodes behind its leg, or networks that are more
/// than its own addresses.
fn forwards(ground: &Ground<'_>, leg: Option<&Leg<'_>>, family: Family) -> bool {
    let mut own = ground.me.networks.all().filter(|net| prefix::family(*net) == family);
    let is_local = |address| ground.foreign_networks().any(|(_, net)| net.ip() == address);
    leg.is_some() || own.any(|net| prefix::host(net.ip()) != net || !is_local(net.ip()))
}
