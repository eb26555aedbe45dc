//! Owns packet sizes: of lanes, of the leg and of single destinations. Does not measure paths.

use std::collections::BTreeSet;

use ipnetwork::IpNetwork;
use sealane_state::name::LinkName;
use sealane_state::rule::Family;

use crate::prefix;
use crate::problem::Problem;
use crate::world::World;

/// Smallest MTU that a link must have for IPv6 (RFC 8200, section 5).
pub const IPV6_MINIMUM: u32 = 1280;

/// What WireGuard adds at most: IPv6 40, UDP 8, data header 16, tag 16.
const LANE_OVERHEAD: u32 = 80;

/// Lane MTU where nothing is known: an Ethernet frame's 1500 less [`LANE_OVERHEAD`].
const LANE_DEFAULT: u32 = 1420;

/// Largest MTU that Linux takes for an IP tunnel.
const LARGEST: u32 = 65_535;

/// Returns the largest inner packet of this host's lanes, in bytes.
///
/// The option decides, else the uplink: the links of the default routes, or where there is none the
/// links with addresses; the smallest of them, so that every outer packet fits.
pub fn of_lanes(world: &World, problems: &mut BTreeSet<Problem>) -> u32 {
    if let Some(mtu) = world.options.mtu {
        return mtu.clamp(IPV6_MINIMUM, LARGEST);
    }
    let Some(uplink) = default_route_mtu(world).or_else(|| smallest_link_mtu(world)) else {
        problems.insert(Problem::UplinkUnknown);
        return LANE_DEFAULT;
    };
    uplink.saturating_sub(LANE_OVERHEAD).clamp(IPV6_MINIMUM, LARGEST)
}

/// Returns the MTU of the leg over a link of `underlay_mtu` bytes.
///
/// VXLAN adds 50 bytes over IPv4, 70 over IPv6: outer IP, UDP 8, VXLAN 8, inner Ethernet 14. More
/// than a lane takes would only be refused one hop later.
pub fn of_leg(underlay_mtu: u32, outer: Family, lane_mtu: u32) -> u32 {
    let overhead = match outer {
        Family::V4 => 50,
        Family::V6 => 70,
    };
    underlay_mtu.saturating_sub(overhead).min(lane_mtu)
}

/// Reports a link of ours that is too narrow for IPv6.
pub fn check(link: &LinkName, mtu: u32, problems: &mut BTreeSet<Problem>) {
    if mtu < IPV6_MINIMUM {
        problems.insert(Problem::MtuTooSmall { link: link.clone(), mtu });
    }
}

/// Returns the MTU to be set on a route: only where the path takes less than the link.
///
/// Never below the minimum of IPv6 for an IPv6 destination: the kernel would send fragments.
pub fn of_route(destination: IpNetwork, path: Option<u32>, link_mtu: u32) -> Option<u32> {
    let path = match prefix::family(destination) {
        Family::V4 => path?,
        Family::V6 => path?.max(IPV6_MINIMUM),
    };
    (path < link_mtu).then_some(path)
}

fn default_route_mtu(world: &World) -> Option<u32> {
    let host = &world.host;
    let defaults = host.routes.iter().filter(|(key, _)| key.destination.prefix() == 0);
    defaults
        .filter_map(|(_, route)| {
            let link = host.links.get(route.target.link()?).filter(|link| !link.ours)?;
            Some(route.mtu.map_or(link.mtu, |limit| limit.min(link.mtu)))
        })
        .min()
}

fn smallest_link_mtu(world: &World) -> Option<u32> {
    let usable = world.host.links.values().filter(|link| {
        let addressed = link.addresses.iter().any(|net| !net.ip().is_loopback());
        link.running && addressed && !link.ours
    });
    usable.map(|link| link.mtu).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_gets_an_mtu_only_where_the_path_is_narrower_than_the_link() {
        let (v4, v6) = ("10.2.0.0/16".parse().unwrap(), "fd02::/48".parse().unwrap());
        assert_eq!(of_route(v4, Some(1420), 1420), None);
        assert_eq!(of_route(v4, Some(1400), 1420), Some(1400));
        assert_eq!(of_route(v4, Some(1000), 1420), Some(1000));
        assert_eq!(of_route(v6, Some(1000), 1420), Some(1280));
        assert_eq!(of_route(v6, None, 1420), None);
    }

    #[test]
    fn the_leg_is_never_wider_than_the_lane() {
        assert_eq!(of_leg(1500, Family::V4, 1420), 1420);
        assert_eq!(of_leg(1400, Family::V4, 1420), 1350);
        assert_eq!(of_leg(1400, Family::V6, 1420), 1330);
    }
}
