//! Owns whether a packet fits the way out, and what becomes of one that does not.

use sealane_state::rule::Family;

/// Smallest MTU of a link that carries IPv6 (RFC 8200 section 5).
const SMALLEST_V6: u32 = 1280;

/// MTU of a link that did not tell its own.
const ETHERNET: u32 = 1500;

/// Whether a packet fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fit {
    /// It does.
    Whole(String),
    /// It does not, or may not: what becomes of it.
    TooLarge(String),
}

/// Who sends the packet that may be too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// A process of this host.
    Host,
    /// Somebody else.
    Other,
}

/// The limits of a way out, in bytes with the IP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The smaller one of the route's and the link's MTU.
    pub mtu: Option<u32>,
    /// What probes found to cross the lane whole.
    pub probed: Option<u32>,
}

/// Judges a packet of `size` bytes; `None` is one that fills the way.
pub fn fit(size: Option<u32>, limits: Limits, family: Family, sender: Sender) -> Fit {
    let full = limits.mtu.unwrap_or(ETHERNET);
    let named = size.is_some();
    let size = size.unwrap_or(full);
    if let Some(mtu) = limits.mtu
        && size > mtu
    {
        return Fit::TooLarge(format!(
            "takes {mtu} bytes, the packet has {size}: {}",
            fate(mtu, family, sender)
        ));
    }
    match limits.probed {
        Some(probed) if size > probed => Fit::TooLarge(format!(
            "lets {probed} bytes cross whole, the packet has {size}: it is lost or comes in pieces"
        )),
        _ if named => Fit::Whole(format!("takes the packet of {size} bytes")),
        _ => Fit::Whole(format!("takes packets of up to {size} bytes")),
    }
}

fn fate(mtu: u32, family: Family, sender: Sender) -> String {
    match (family, sender) {
        (_, Sender::Host) => "its sender is told at once, or it is sent in pieces".to_owned(),
        (Family::V4, Sender::Other) => format!(
            "with DF it is dropped and its sender gets ICMP fragmentation needed, mtu {mtu}; else it is sent in pieces"
        ),
        (Family::V6, Sender::Other) => format!(
            "it is dropped and its sender gets ICMPv6 packet too big, mtu {}",
            mtu.max(SMALLEST_V6)
        ),
    }
}
