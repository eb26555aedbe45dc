//! Owns the header that a TUN device with IFF_VNET_HDR puts before each packet
//! (`struct virtio_net_hdr`, in the byte order of the machine).

/// Length of the header in bytes.
pub const LEN: usize = 10;
/// Flag: the transport checksum is still partial.
pub const NEEDS_CSUM: u8 = 1;
/// Not a superpacket.
pub const GSO_NONE: u8 = 0;
/// TCP over IPv4.
pub const GSO_TCPV4: u8 = 1;
/// TCP over IPv6.
pub const GSO_TCPV6: u8 = 4;
/// UDP datagrams of one size, over either.
pub const GSO_UDP_L4: u8 = 5;
/// Or-ed to the type: the first segment carries CWR.
pub const GSO_ECN: u8 = 0x80;

/// What the kernel tells, or is told, of the packet that follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VnetHeader {
    /// [`NEEDS_CSUM`] or others, which need nothing.
    pub flags: u8,
    /// One of the `GSO_` types.
    pub gso_type: u8,
    /// Length of all headers; the kernel gets it wrong on forwarded packets.
    pub hdr_len: u16,
    /// Payload bytes per segment.
    pub gso_size: u16,
    /// Where the transport header starts.
    pub csum_start: u16,
    /// Where in it the checksum is.
    pub csum_offset: u16,
}

impl VnetHeader {
    /// Reads a header.
    #[must_use]
    pub fn parse(bytes: &[u8; LEN]) -> Self {
        let field = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        Self {
            flags: bytes[0],
            gso_type: bytes[1],
            hdr_len: field(2),
            gso_size: field(4),
            csum_start: field(6),
            csum_offset: field(8),
        }
    }

    /// Writes a header.
    #[must_use]
    pub fn to_bytes(self) -> [u8; LEN] {
        let mut bytes = [self.flags, self.gso_type, 0, 0, 0, 0, 0, 0, 0, 0];
        let fields = [self.hdr_len, self.gso_size, self.csum_start, self.csum_offset];
        for (at, field) in (2..).step_by(2).zip(fields) {
            bytes[at..at + 2].copy_from_slice(&field.to_ne_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_header_reads_back_as_written(bytes in any::<[u8; LEN]>()) {
            prop_assert_eq!(VnetHeader::parse(&bytes).to_bytes(), bytes);
        }
    }
}
