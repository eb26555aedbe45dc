//! Networks in canonical form, and what may be granted. It does not know who is granted what.

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

/// A text is not a network that may stand in a payload. Retrying does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// The text is not how this network is written, or host bits are set.
    #[error(
        "{text:?} is not a canonical CIDR (address RFC 5952, host bits zero, plain decimal length){}",
        did_you_mean(*meant)
    )]
    NotCanonical {
        /// The text, cut short.
        text: String,
        /// The network that a person may have meant by it.
        meant: Option<Cidr>,
    },
    /// The network is shorter than allowed or meets a range that no member can own.
    #[error("{0} may not be granted (too short, or a reserved range)")]
    Forbidden(Cidr),
}

/// A network with its host bits zero. Order: IPv4 before IPv6, then by address, then shorter first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr {
    address: IpAddr,
    length: u8,
}

impl Cidr {
    /// Parses the one canonical text of a network.
    ///
    /// # Errors
    /// [`CidrError::NotCanonical`] for any other text, also for one that means the same network.
    pub fn parse(text: &str) -> Result<Self, CidrError> {
        let refused = || CidrError::NotCanonical {
            text: text.chars().take(64).collect(),
            meant: Self::meant_by(text),
        };
        let (address, length) = text.split_once('/').ok_or_else(refused)?;
        let address: IpAddr = address.parse().map_err(|_| refused())?;
        let length: u8 = length.parse().map_err(|_| refused())?;
        let cidr = Self::covering(address, length).ok_or_else(refused)?;
        if cidr.to_string() == text { Ok(cidr) } else { Err(refused()) }
    }

    /// Reads what is not canonical, to tell a person how it is written; nothing goes by it.
    fn meant_by(text: &str) -> Option<Self> {
        let text = text.trim();
        let Some((address, length)) = text.split_once('/') else {
            return text.parse().ok().map(Self::host);
        };
        Self::covering(address.parse().ok()?, length.parse().ok()?)
    }

    /// Returns the network of `length` bits that holds `address`, none when the length is too big.
    #[must_use]
    pub fn covering(address: IpAddr, length: u8) -> Option<Self> {
        let network = IpNetwork::new(address, length).ok()?;
        Some(Self { address: network.network(), length })
    }

    /// Returns the network that holds this address alone.
    #[must_use]
    pub fn host(address: IpAddr) -> Self {
        Self { address, length: if address.is_ipv4() { 32 } else { 128 } }
    }

    /// Returns the first address of the network.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Returns the prefix length in bits.
    #[must_use]
    pub fn length(&self) -> u8 {
        self.length
    }

    /// Says whether `address` lies in this network; families never mix.
    #[must_use]
    pub fn contains_address(&self, address: IpAddr) -> bool {
        Self::covering(address, self.length)
            .is_some_and(|other| other.address == self.address && other.length == self.length)
    }

    /// Says whether every address of `other` lies in this network.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        self.length <= other.length && self.contains_address(other.address)
    }

    /// Says whether the two networks share an address.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other) || other.contains(self)
    }

    /// Checks that a member may be granted this network (PROTOCOL.md 3.2); `probes` is the clusterset's
    /// own network of probe addresses.
    ///
    /// # Errors
    /// [`CidrError::Forbidden`] when it is shorter than /8 (IPv4) or /16 (IPv6) or meets a reserved range.
    pub fn grantable(self, probes: &Self) -> Result<Self, CidrError> {
        let shortest = if self.address.is_ipv4() { 8 } else { 16 };
        let reserved = || {
            RESERVED.iter().any(|(address, length)| {
                self.overlaps(&Self { address: *address, length: *length })
            })
        };
        if self.length < shortest || reserved() || self.overlaps(probes) {
            return Err(CidrError::Forbidden(self));
        }
        Ok(self)
    }
}

fn did_you_mean(network: Option<Cidr>) -> String {
    network.map(|network| format!("; did you mean {network}")).unwrap_or_default()
}

const fn v4(a: u8, b: u8) -> IpAddr {
    IpAddr::V4(std::net::Ipv4Addr::new(a, b, 0, 0))
}

const fn v6(first: u16) -> IpAddr {
    IpAddr::V6(std::net::Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, 0))
}

/// Ranges that no member can own. `::/8` holds loopback and the IPv4-mapped addresses.
const RESERVED: [(IpAddr, u8); 8] = [
    (v4(0, 0), 8),
    (v4(127, 0), 8),
    (v4(169, 254), 16),
    (v4(224, 0), 4),
    (IpAddr::V4(std::net::Ipv4Addr::BROADCAST), 32),
    (v6(0), 8),
    (v6(0xfe80), 10),
    (v6(0xff00), 8),
];

/// Returns what of `advertised` lies in `granted`. Shape: sorted, no duplicates; a network granted
/// only in part is cut down to the parts.
#[must_use]
pub fn clip(advertised: &[Cidr], granted: &[Cidr]) -> Vec<Cidr> {
    let mut kept: Vec<Cidr> = advertised
        .iter()
        .flat_map(|network| granted.iter().filter_map(|grant| common(network, grant)))
        .collect();
    kept.sort_unstable();
    kept.dedup();
    kept
}

/// Two of these networks overlap only when one contains the other, so the narrower is what is common.
fn common(one: &Cidr, other: &Cidr) -> Option<Cidr> {
    if one.contains(other) {
        Some(*other)
    } else if other.contains(one) {
        Some(*one)
    } else {
        None
    }
}

/// Networks with their owners, sorted, for finding overlaps and owners without comparing all pairs.
#[derive(Debug, Clone, Default)]
pub struct Ownership {
    sorted: Vec<(Cidr, usize)>,
    lengths: BTreeSet<u8>,
}

impl Ownership {
    /// Sorts `(network, owner)` pairs; owners are indices of the caller's own list.
    #[must_use]
    pub fn of(pairs: impl IntoIterator<Item = (Cidr, usize)>) -> Self {
        let mut sorted: Vec<(Cidr, usize)> = pairs.into_iter().collect();
        sorted.sort_unstable();
        let lengths = sorted.iter().map(|(network, _)| network.length).collect();
        Self { sorted, lengths }
    }

    /// Returns the first two networks of different owners that overlap. Time: linear.
    #[must_use]
    pub fn first_overlap(&self) -> Option<((Cidr, usize), (Cidr, usize))> {
        // Sorted networks are disjoint or nested, so the ones that can still contain the next form a
        // stack; an ancestor of another owner would have been found when its child was pushed.
        let mut around: Vec<(Cidr, usize)> = Vec::new();
        for next in &self.sorted {
            while around.last().is_some_and(|outer| !outer.0.contains(&next.0)) {
                around.pop();
            }
            if let Some(outer) = around.last().filter(|outer| outer.1 != next.1) {
                return Some((*outer, *next));
            }
            around.push(*next);
        }
        None
    }

    /// Says whether any of the networks holds `address`. Time: logarithmic, per prefix length in use.
    #[must_use]
    pub fn covers(&self, address: IpAddr) -> bool {
        self.lengths.iter().any(|length| {
            Cidr::covering(address, *length).is_some_and(|network| {
                let at = self.sorted.partition_point(|(other, _)| *other < network);
                self.sorted.get(at).is_some_and(|(other, _)| *other == network)
            })
        })
    }
}

impl From<Cidr> for IpNetwork {
    fn from(cidr: Cidr) -> Self {
        // A `Cidr` is only built with a length that fits its family; /0 is never built otherwise.
        IpNetwork::new(cidr.address, cidr.length).unwrap_or_else(|_| IpNetwork::from(cidr.address))
    }
}

impl TryFrom<String> for Cidr {
    type Error = CidrError;
    fn try_from(text: String) -> Result<Self, CidrError> {
        Self::parse(&text)
    }
}

impl std::str::FromStr for Cidr {
    type Err = CidrError;
    fn from_str(text: &str) -> Result<Self, CidrError> {
        Self::parse(text)
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> Self {
        cidr.to_string()
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.address, self.length))
    }
}

impl fmt::Debug for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
