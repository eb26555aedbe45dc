//! Owns the cutting of a superpacket from a TUN device into the packets it stands for, in place:
//! each segment's header is written over the end of the payload before it, which has been sent.

use std::ops::Range;

use thiserror::Error;

use crate::inet;
use crate::virtio::{GSO_ECN, GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, NEEDS_CSUM, VnetHeader};

/// The longest headers taken: IPv4 with options and TCP with options need 120 bytes.
const MAX_HEADER: usize = 256;
const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

/// Why a packet from the TUN device is dropped.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum SplitError {
    /// The headers do not fit the packet, or each other.
    #[error("packet and offload header do not agree")]
    Inconsistent,
    /// A kind of offload that was not asked for.
    #[error("offload type {0} was not asked for")]
    Kind(u8),
}

/// Walks over the segments of one superpacket, or over one plain packet.
pub struct Segments {
    layout: Option<Layout>,
    header: [u8; MAX_HEADER],
    len: usize,
    next: usize,
}

#[derive(Clone, Copy)]
struct Layout {
    transport: usize,
    payload: usize,
    size: usize,
    protocol: u8,
}

impl Segments {
    /// Prepares a packet; a plain one gets its checksum completed here.
    ///
    /// # Errors
    /// [`SplitError`]: the packet must be dropped.
    pub fn of(vnet: VnetHeader, packet: &mut [u8]) -> Result<Self, SplitError> {
        inet::version(packet).ok_or(SplitError::Inconsistent)?;
        let mut segments =
            Self { layout: None, header: [0; MAX_HEADER], len: packet.len(), next: 0 };
        if vnet.gso_type & !GSO_ECN == GSO_NONE {
            if vnet.flags & NEEDS_CSUM != 0 {
                complete_checksum(vnet, packet)?;
            }
            return Ok(segments);
        }
        let layout = layout(vnet, packet)?;
        segments.header[..layout.payload].copy_from_slice(&packet[..layout.payload]);
        segments.layout = Some(layout);
        Ok(segments)
    }

    /// Writes the next segment into the packet and tells where it is. What lies after a segment is
    /// the payload of the next.
    pub fn next_in(&mut self, packet: &mut [u8]) -> Option<Range<usize>> {
        let Some(layout) = self.layout else {
            let whole = (self.next == 0).then_some(0..self.len);
            self.next = 1;
            return whole;
        };
        let from = layout.payload + self.next * layout.size;
        if from >= self.len {
            return None;
        }
        let end = (from + layout.size).min(self.len);
        let range = from - layout.payload..end;
        let place = Place { number: self.next, last: end == self.len };
        layout.write(&self.header[..layout.payload], packet.get_mut(range.clone())?, place);
        self.next += 1;
        Some(range)
    }
}

/// Where a segment stands among its siblings.
#[derive(Clone, Copy)]
struct Place {
    number: usize,
    last: bool,
}

impl Layout {
    fn write(self, header: &[u8], segment: &mut [u8], place: Place) {
        segment[..header.len()].copy_from_slice(header);
        let len = segment.len();
        if segment[0] >> 4 == 4 {
            segment[2..4].copy_from_slice(&length(len));
            let id = u16::from_be_bytes([segment[4], segment[5]]).wrapping_add(place.number as u16);
            segment[4..6].copy_from_slice(&id.to_be_bytes());
            let options_end = usize::from(segment[0] & 15) * 4;
            segment[10..12].fill(0);
            let sum = inet::checksum(inet::sum(&segment[..options_end], 0));
            segment[10..12].copy_from_slice(&sum);
        } else {
            segment[4..6].copy_from_slice(&length(len - 40));
        }
        let at = self.transport;
        if self.protocol == inet::TCP {
            self.write_tcp(&mut segment[at..], place);
        } else {
            segment[at + 4..at + 6].copy_from_slice(&length(len - at));
        }
        let field = at + if self.protocol == inet::TCP { 16 } else { 6 };
        segment[field..field + 2].fill(0);
        let pseudo = inet::pseudo_header(segment, self.protocol, len - at);
        let mut sum = inet::checksum(inet::sum(&segment[at..], pseudo));
        if self.protocol == inet::UDP && sum == [0, 0] {
            sum = [0xff, 0xff];
        }
        segment[field..field + 2].copy_from_slice(&sum);
    }

    fn write_tcp(self, tcp: &mut [u8], place: Place) {
        let seq = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
        let seq = seq.wrapping_add((place.number * self.size) as u32);
        tcp[4..8].copy_from_slice(&seq.to_be_bytes());
        if !place.last {
            tcp[13] &= !(FIN | PSH);
        }
        if place.number > 0 {
            tcp[13] &= !CWR;
        }
    }
}

fn layout(vnet: VnetHeader, packet: &[u8]) -> Result<Layout, SplitError> {
    let kind = vnet.gso_type & !GSO_ECN;
    let v4 = packet[0] >> 4 == 4;
    let protocol = match (kind, v4) {
        (GSO_TCPV4, true) | (GSO_TCPV6, false) => inet::TCP,
        (GSO_UDP_L4, _) => inet::UDP,
        (GSO_TCPV4 | GSO_TCPV6, _) => return Err(SplitError::Inconsistent),
        _ => return Err(SplitError::Kind(kind)),
    };
    // `hdr_len` is wrong on forwarded packets; the transport header says where the payload is.
    let transport = usize::from(vnet.csum_start);
    let fixed = if v4 { usize::from(packet[0] & 15) * 4 } else { 40 };
    let header_len = if protocol == inet::TCP {
        let doff = packet.get(transport + 12).ok_or(SplitError::Inconsistent)?;
        usize::from(doff >> 4) * 4
    } else {
        8
    };
    let minimum = if protocol == inet::TCP { 20 } else { 8 };
    let payload = transport + header_len;
    let size = usize::from(vnet.gso_size);
    let sane = fixed >= if v4 { 20 } else { 40 }
        && if v4 { transport == fixed } else { transport >= fixed }
        && header_len >= minimum
        && payload < packet.len()
        && payload <= MAX_HEADER
        && packet.len() <= 65_535 + 40
        && size > 0
        && payload + size <= 65_535;
    sane.then_some(Layout { transport, payload, size, protocol }).ok_or(SplitError::Inconsistent)
}

fn complete_checksum(vnet: VnetHeader, packet: &mut [u8]) -> Result<(), SplitError> {
    let start = usize::from(vnet.csum_start);
    let field = start + usize::from(vnet.csum_offset);
    if start >= packet.len() || field + 2 > packet.len() {
        return Err(SplitError::Inconsistent);
    }
    // The field holds the pseudo-header's sum, which this sum includes.
    let mut sum = inet::checksum(inet::sum(&packet[start..], 0));
    if sum == [0, 0] && vnet.csum_offset == 6 {
        sum = [0xff, 0xff];
    }
    packet[field..field + 2].copy_from_slice(&sum);
    Ok(())
}

/// Lengths are checked against 65,535 before.
const fn length(len: usize) -> [u8; 2] {
    (len as u16).to_be_bytes()
}
