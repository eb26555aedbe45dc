//! Owns the little of IP that a tunnel must read and write: versions, addresses, lengths and the
//! internet checksum (RFC 1071). Parses no options and no extension headers.

use std::net::IpAddr;

/// Protocol number of TCP.
pub const TCP: u8 = 6;
/// Protocol number of UDP.
pub const UDP: u8 = 17;

/// The destination address of an IP packet.
#[must_use]
pub fn destination(packet: &[u8]) -> Option<IpAddr> {
    match version(packet)? {
        4 => address::<4>(packet, 16),
        _ => address::<16>(packet, 24),
    }
}

/// The source address of an IP packet.
#[must_use]
pub fn source(packet: &[u8]) -> Option<IpAddr> {
    match version(packet)? {
        4 => address::<4>(packet, 12),
        _ => address::<16>(packet, 8),
    }
}

/// 4 or 6, if the packet has at least the fixed header of that version.
#[must_use]
pub fn version(packet: &[u8]) -> Option<u8> {
    match packet.first()? >> 4 {
        4 if packet.len() >= 20 => Some(4),
        6 if packet.len() >= 40 => Some(6),
        _ => None,
    }
}

fn address<const N: usize>(packet: &[u8], at: usize) -> Option<IpAddr>
where
    IpAddr: From<[u8; N]>,
{
    let bytes: [u8; N] = packet.get(at..at + N)?.try_into().ok()?;
    Some(IpAddr::from(bytes))
}

/// Adds bytes to a running one's complement sum. The sum is in the order of the machine; odd tails
/// count as if followed by a zero.
#[must_use]
pub fn sum(bytes: &[u8], start: u64) -> u64 {
    let mut total = start;
    let mut words = bytes.chunks_exact(4);
    for word in &mut words {
        total += u64::from(u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
    }
    let mut last = [0; 4];
    let tail = words.remainder();
    last[..tail.len()].copy_from_slice(tail);
    total + u64::from(u32::from_ne_bytes(last))
}

/// Folds a running sum to 16 bits.
#[must_use]
pub const fn fold(total: u64) -> [u8; 2] {
    let mut folded = total;
    while folded > 0xffff {
        folded = (folded & 0xffff) + (folded >> 16);
    }
    // Below 0x10000 now.
    (folded as u16).to_ne_bytes()
}

/// The checksum field for a running sum.
#[must_use]
pub const fn checksum(total: u64) -> [u8; 2] {
    let [a, b] = fold(total);
    [!a, !b]
}

/// The sum of the pseudo-header of a packet whose transport part is `len` bytes long.
#[must_use]
pub fn pseudo_header(packet: &[u8], protocol: u8, len: usize) -> u64 {
    let addresses = match packet.first().map(|first| first >> 4) {
        Some(4) => packet.get(12..20),
        _ => packet.get(8..40),
    };
    // Lengths above 64 KiB do not occur: every packet fits an IP length field.
    let len = (len as u16).to_be_bytes();
    sum(&[0, protocol, len[0], len[1]], sum(addresses.unwrap_or(&[]), 0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn slow(bytes: &[u8]) -> u16 {
        let mut total: u32 = 0;
        for pair in bytes.chunks(2) {
            total += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            total = (total & 0xffff) + (total >> 16);
        }
        !(total as u16)
    }

    proptest! {
        #[test]
        fn the_checksum_is_that_of_rfc_1071(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
            let ours = u16::from_be_bytes(checksum(sum(&bytes, 0)));
            let theirs = slow(&bytes);
            prop_assert!(ours == theirs || (ours ^ theirs) == 0xffff && (ours == 0 || theirs == 0));
        }
    }

    #[test]
    fn a_short_header_has_no_addresses() {
        assert_eq!(destination(&[0x45; 19]), None);
        assert_eq!(source(&[0x60; 39]), None);
        assert_eq!(destination(&[]), None);
        assert_eq!(destination(&[0x55; 60]), None);
    }
}
