//! Owns the internet of a lab: the segment between members, and the hosts of the broker and of the
//! administrator. Owns no member.

use std::net::IpAddr;

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};

use crate::lab::address::Family;
use crate::lab::error::LabError;
use crate::lab::host::Host;
use crate::lab::segment::Segment;
use crate::lab::world::Lab;

/// The router's number on the internet.
const ISP: u16 = 1;
/// The broker's.
const BROKER: u16 = 5;
/// The administrator's.
const ADMIN: u16 = 6;

/// What all members have in common.
#[derive(Debug)]
pub struct Ground {
    /// The lab it is in.
    pub lab: Lab,
    /// IP versions of everything in it.
    pub family: Family,
    /// 203.0.113.0/24 and 2001:db8::/64.
    pub internet: Segment,
    /// Everyone's default router; it knows nobody's private networks.
    pub isp: Vec<IpAddr>,
    /// Where the broker runs.
    pub broker: Host,
    /// The broker's addresses.
    pub broker_addresses: Vec<IpAddr>,
    /// Where the administrator types.
    pub admin: Host,
}

impl Ground {
    /// An internet with a broker's and an administrator's host on it.
    ///
    /// # Errors
    /// Those of a new lab.
    pub fn new(name: &str, family: Family) -> Result<Self, LabError> {
        let lab = Lab::new(name)?;
        let subnets = ranges(family, ([203, 0, 113, 0], 24), ([0x2001, 0xdb8, 0], 64))?;
        let internet = Segment::new(&lab, "internet", subnets)?;
        let router = lab.host("isp")?;
        router.enable_forwarding()?;
        let isp = internet.attach(&router, ISP)?.addresses();
        let (broker, admin) = (lab.host("broker")?, lab.host("admin")?);
        let broker_addresses = internet.attach(&broker, BROKER)?.addresses();
        internet.attach(&admin, ADMIN)?;
        Ok(Self { lab, family, internet, isp, broker, broker_addresses, admin })
    }
}

/// The networks of a family from the first bytes or groups of each; the rest is zero.
///
/// # Errors
/// A prefix length that no address has.
pub fn ranges(
    family: Family,
    v4: ([u8; 4], u8),
    v6: ([u16; 3], u8),
) -> Result<Vec<IpNetwork>, LabError> {
    let [a, b, c] = v6.0;
    let v6 = Ipv6Network::new([a, b, c, 0, 0, 0, 0, 0].into(), v6.1);
    match (Ipv4Network::new(v4.0.into(), v4.1), v6) {
        (Ok(v4), Ok(v6)) => Ok(family.select(v4, v6)),
        _ => Err(LabError::Topology("prefix length out of range".to_owned())),
    }
}
