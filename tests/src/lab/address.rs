//! Owns how a test names addresses: a family, a list of subnets, the nth address in each.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};

use crate::lab::error::LabError;

/// Which IP versions a topology has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4 addresses only (links still have their IPv6 link-local address, as on most hosts).
    V4,
    /// IPv6 addresses only.
    V6,
    /// Both.
    Dual,
}

impl Family {
    /// All three, for tests that must hold on each.
    pub const ALL: [Self; 3] = [Self::V4, Self::V6, Self::Dual];

    /// The one or two of `v4` and `v6` that this family has, IPv4 first.
    pub fn select(self, v4: Ipv4Network, v6: Ipv6Network) -> Vec<IpNetwork> {
        match self {
            Self::V4 => vec![v4.into()],
            Self::V6 => vec![v6.into()],
            Self::Dual => vec![v4.into(), v6.into()],
        }
    }
}

/// Address number `n` of each subnet, with the subnet's prefix length.
///
/// # Errors
/// A subnet too small to have it.
pub fn nth(subnets: &[IpNetwork], n: u16) -> Result<Vec<IpNetwork>, LabError> {
    subnets.iter().map(|subnet| nth_of(*subnet, n)).collect()
}

fn nth_of(subnet: IpNetwork, n: u16) -> Result<IpNetwork, LabError> {
    let address: IpAddr = match subnet.network() {
        IpAddr::V4(base) => Ipv4Addr::from_bits(base.to_bits().wrapping_add(n.into())).into(),
        IpAddr::V6(base) => Ipv6Addr::from_bits(base.to_bits().wrapping_add(n.into())).into(),
    };
    match IpNetwork::new(address, subnet.prefix()) {
        Ok(network) if subnet.contains(address) => Ok(network),
        _ => Err(LabError::Topology(format!("{subnet}: has no address number {n}"))),
    }
}

/// `-4` or `-6`, as `ip` wants it.
pub fn flag(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "-4" } else { "-6" }
}

/// `ip` or `ip6`, as `nft` wants it.
pub fn nft_family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "ip" } else { "ip6" }
}

/// The address as the only member of its network (/32 or /128).
pub fn single(address: IpAddr) -> IpNetwork {
    IpNetwork::from(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_names_one_address_in_each_family() {
        let subnets = ["192.0.2.0/24".parse().unwrap(), "2001:db8::/64".parse().unwrap()];
        let addresses = nth(&subnets, 0x11).unwrap();
        assert_eq!(addresses[0].to_string(), "192.0.2.17/24");
        assert_eq!(addresses[1].to_string(), "2001:db8::11/64");
    }

    #[test]
    fn a_subnet_too_small_is_an_error_that_names_it() {
        let error = nth(&["192.0.2.0/30".parse().unwrap()], 9).unwrap_err();
        assert!(error.to_string().contains("192.0.2.0/30"), "{error}");
    }
}
