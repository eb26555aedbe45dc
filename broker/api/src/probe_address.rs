//! The address that answers probes, computed from names so that no member can choose it.

use crate::cidr::Cidr;
use crate::names::{ClusterSetId, GatewayId};
use sha2::{Digest, Sha256};
use std::net::{IpAddr, Ipv6Addr};

/// Length of the network that holds every probe address of a clusterset. Unit: bits.
pub const NETWORK_LENGTH: u8 = 48;

/// Returns the network of all probe addresses of a clusterset, a unique local /48.
#[must_use]
pub fn network(id: &ClusterSetId) -> Cidr {
    let address = Ipv6Addr::from(octets(id, &[0; 10]));
    // /48 fits IPv6, so the fallback is never taken.
    Cidr::covering(IpAddr::V6(address), NETWORK_LENGTH)
        .unwrap_or_else(|| Cidr::host(IpAddr::V6(address)))
}

/// Returns the address that answers probes of `gateway` (PROTOCOL.md 3.6).
#[must_use]
pub fn of(id: &ClusterSetId, gateway: &GatewayId) -> Ipv6Addr {
    let hash = Sha256::new()
        .chain_update(b"sealane:v1:probe\0")
        .chain_update(gateway.member.as_str())
        .chain_update([0])
        .chain_update(gateway.gateway.as_str())
        .finalize();
    Ipv6Addr::from(octets(id, &hash[..10]))
}

fn octets(id: &ClusterSetId, host: &[u8]) -> [u8; 16] {
    let hash = Sha256::new().chain_update(b"sealane:v1:ula\0").chain_update(id.as_str()).finalize();
    let mut octets = [0; 16];
    octets[0] = 0xfd;
    octets[1..6].copy_from_slice(&hash[..5]);
    octets[6..].copy_from_slice(host);
    octets
}
