//! Owns congestion marks between inner and outer header (RFC 6040, normal mode). DSCP is not
//! carried: it would tell observers what is inside.

use crate::inet;
use crate::refusal::Refusal;

/// "Congestion experienced".
const CE: u8 = 3;
/// "ECN-capable transport, code point 1".
const ECT_1: u8 = 1;

/// The two bits for the outer header of a packet.
#[must_use]
pub fn outer(packet: &[u8]) -> u8 {
    inner(packet).unwrap_or(0)
}

/// Carries the outer header's two bits into a decrypted packet.
///
/// # Errors
/// [`Refusal::Congestion`]: marked on the way, though the inner transport did not offer it.
pub fn decapsulate(packet: &mut [u8], outer: u8) -> Result<(), Refusal> {
    let outer = outer & 3;
    let Some(inner) = inner(packet) else { return Ok(()) };
    match (inner, outer) {
        (0, CE) => Err(Refusal::Congestion),
        (1 | 2, CE) => {
            set(packet, CE);
            Ok(())
        }
        (2, ECT_1) => {
            set(packet, ECT_1);
            Ok(())
        }
        _ => Ok(()),
    }
}

fn inner(packet: &[u8]) -> Option<u8> {
    match inet::version(packet)? {
        4 => Some(packet[1] & 3),
        _ => Some((packet[1] >> 4) & 3),
    }
}

fn set(packet: &mut [u8], ecn: u8) {
    if inet::version(packet) == Some(4) {
        packet[1] = packet[1] & !3 | ecn;
        let header_len = usize::from(packet[0] & 15) * 4;
        if (20..=packet.len()).contains(&header_len) {
            packet[10..12].fill(0);
            let sum = inet::checksum(inet::sum(&packet[..header_len], 0));
            packet[10..12].copy_from_slice(&sum);
        }
    } else {
        packet[1] = packet[1] & !0x30 | ecn << 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(ecn: u8) -> Vec<u8> {
        let mut packet = vec![0x45, 0xb8 | ecn, 0, 20, 0, 1, 0, 0, 64, 17, 0, 0];
        packet.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        let sum = inet::checksum(inet::sum(&packet, 0));
        packet[10..12].copy_from_slice(&sum);
        packet
    }

    fn v6(ecn: u8) -> Vec<u8> {
        let mut packet = vec![0; 40];
        packet[0] = 0x6b;
        packet[1] = 0x8f | ecn << 4;
        packet
    }

    /// RFC 6040, figure 4: rows inner, columns outer; 9 is "drop".
    const DECAPSULATION: [[u8; 4]; 4] = [[0, 0, 0, 9], [1, 1, 1, 3], [2, 1, 2, 3], [3, 3, 3, 3]];

    #[test]
    fn decapsulation_is_the_table_of_rfc_6040() {
        for (inner, row) in (0u8..).zip(DECAPSULATION) {
            for (outer, want) in (0u8..).zip(row) {
                for mut packet in [v4(inner), v6(inner)] {
                    let got = decapsulate(&mut packet, outer).map_or(9, |()| super::outer(&packet));
                    assert_eq!(got, want, "inner {inner}, outer {outer}");
                    assert_eq!(
                        packet[1] & 0x0f | packet[0],
                        if packet[0] == 0x45 { packet[1] & 0x0f | 0x45 } else { 0x6f }
                    );
                    if packet[0] == 0x45 {
                        assert_eq!(inet::checksum(inet::sum(&packet, 0)), [0, 0], "checksum");
                        assert_eq!(packet[1] & 0xfc, 0xb8, "DSCP stays");
                    }
                }
            }
        }
    }

    #[test]
    fn encapsulation_copies_ecn_and_hides_dscp() {
        for ecn in 0..4 {
            assert_eq!(outer(&v4(ecn)), ecn);
            assert_eq!(outer(&v6(ecn)), ecn);
        }
        assert_eq!(outer(&[]), 0);
    }
}
