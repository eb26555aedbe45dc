//! Owns the padding of packets before they are encrypted: to 16 bytes, never past the MTU, so that
//! full segments of a train stay equal (WireGuard paper, 5.4.6).

use std::ops::Range;

const UNIT: usize = 16;

/// The padded length of a packet of `len` bytes on a link of this MTU.
#[must_use]
pub const fn padded_len(len: usize, mtu: usize) -> usize {
    if mtu == 0 || len >= mtu {
        return len;
    }
    let round = len.next_multiple_of(UNIT);
    if round < mtu { round } else { mtu }
}

/// Lends the packet at `range` with zeros after it, then puts back what was there: in a split
/// superpacket that is the next segment. Short by what the buffer lacks.
pub fn with_padding<T>(
    buffer: &mut [u8],
    range: Range<usize>,
    mtu: usize,
    seal: impl FnOnce(&[u8]) -> T,
) -> T {
    let end = (range.start + padded_len(range.len(), mtu)).min(buffer.len());
    let mut kept = [0; UNIT];
    let kept = &mut kept[..end - range.end];
    kept.copy_from_slice(&buffer[range.end..end]);
    buffer[range.end..end].fill(0);
    let result = seal(&buffer[range.start..end]);
    buffer[range.end..end].copy_from_slice(kept);
    result
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn padding_stops_at_the_mtu() {
        assert_eq!(padded_len(0, 1420), 0);
        assert_eq!(padded_len(1, 1420), 16);
        assert_eq!(padded_len(84, 1420), 96);
        assert_eq!(padded_len(1419, 1420), 1420);
        assert_eq!(padded_len(1420, 1420), 1420);
        assert_eq!(padded_len(1299, 1299), 1299);
        assert_eq!(padded_len(1500, 1420), 1500, "a packet above the MTU is left as it is");
    }

    proptest! {
        #[test]
        fn what_lies_behind_a_packet_is_neither_sent_nor_lost(
            len in 0usize..100, mtu in 0usize..120, tail in 0usize..40, fill in 1u8..
        ) {
            let mut buffer = vec![fill; len + tail];
            let sealed = with_padding(&mut buffer, 0..len, mtu, <[u8]>::to_vec);
            prop_assert!(sealed.len() <= len.max(mtu));
            prop_assert!(sealed[..len].iter().all(|byte| *byte == fill));
            prop_assert!(sealed[len..].iter().all(|byte| *byte == 0));
            prop_assert!(buffer.iter().all(|byte| *byte == fill));
        }
    }
}
