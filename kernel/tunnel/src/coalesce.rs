//! Owns the joining of decrypted packets into superpackets for one `writev` to a TUN device.
//! Packets stay where they lie in the slab; a group is a list of places. Order within a flow is kept.

use std::ops::Range;

use crate::flow::{self, Candidate, Kind};
use crate::inet;
use crate::virtio::{GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, NEEDS_CSUM, VnetHeader};

/// Parts of a group: `writev` takes 1,024 pieces, two of which are headers.
const MAX_PARTS: usize = 1_000;
/// Datagrams of a UDP group: the kernel's limit before 6.9.
const MAX_DATAGRAMS: usize = 64;
/// How many of the newest groups are searched for a packet's flow.
const LOOK_BACK: usize = 32;
const PSH: u8 = 0x08;

/// Which transports may be joined, as the TUN device accepts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joinable {
    /// TCP superpackets.
    pub tcp: bool,
    /// UDP superpackets.
    pub udp: bool,
}

/// One write to the TUN device.
#[derive(Default)]
pub struct Group {
    packets: Vec<Range<usize>>,
    candidate: Option<Candidate>,
    size: usize,
    payload_len: usize,
    closed: bool,
    push: bool,
    header: Vec<u8>,
    vnet: VnetHeader,
}

/// Groups of one batch; its memory is used again for the next.
#[derive(Default)]
pub struct Coalescer {
    groups: Vec<Group>,
    used: usize,
}

impl Coalescer {
    /// Forgets the last batch.
    pub fn clear(&mut self) {
        self.used = 0;
    }

    /// Adds the packet at a place of the slab, which is as long as its IP header says.
    pub fn push(&mut self, slab: &[u8], at: Range<usize>, joinable: Joinable) {
        let packet = &slab[at.clone()];
        let candidate = flow::candidate(packet).filter(|candidate| match candidate.kind {
            Kind::Tcp => joinable.tcp,
            Kind::Udp => joinable.udp,
        });
        if let Some(candidate) = candidate {
            let newest = self.groups[..self.used]
                .iter_mut()
                .rev()
                .take(LOOK_BACK)
                .find(|group| group.has_flow_of(slab, packet, &candidate));
            if let Some(group) = newest
                && group.take(slab, at.clone(), &candidate)
            {
                return;
            }
        } else {
            // What is written as it is must not be overtaken by what follows it in its flow.
            for group in self.groups[..self.used].iter_mut().rev().take(LOOK_BACK) {
                group.closed |= group.may_precede(slab, packet);
            }
        }
        self.start(at, candidate);
    }

    /// Writes the headers of superpackets; afterwards [`Coalescer::groups`] can be written.
    pub fn seal(&mut self, slab: &mut [u8]) {
        for group in &mut self.groups[..self.used] {
            group.seal(slab);
        }
    }

    /// The groups of this batch, in order.
    #[must_use]
    pub fn groups(&self) -> &[Group] {
        &self.groups[..self.used]
    }

    fn start(&mut self, at: Range<usize>, candidate: Option<Candidate>) {
        if self.used == self.groups.len() {
            self.groups.push(Group::default());
        }
        let group = &mut self.groups[self.used];
        self.used += 1;
        group.packets.clear();
        group.candidate = candidate;
        group.size = candidate.map_or(0, |candidate| at.len() - candidate.payload);
        group.payload_len = group.size;
        group.closed = candidate.is_none_or(|candidate| candidate.push);
        group.push = candidate.is_some_and(|candidate| candidate.push);
        group.vnet = VnetHeader::default();
        group.packets.push(at);
    }
}

impl Group {
    /// The offload header to write first; all zero for a single packet.
    #[must_use]
    pub const fn vnet(&self) -> VnetHeader {
        self.vnet
    }

    /// The pieces to write after it: the first packet whole, then payloads.
    pub fn pieces(&self) -> impl Iterator<Item = Range<usize>> {
        let skip = self.candidate.map_or(0, |candidate| candidate.payload);
        self.packets.iter().enumerate().map(move |(number, at)| match number {
            0 => at.clone(),
            _ => at.start + skip..at.end,
        })
    }

    /// Whether this is more than one packet.
    #[must_use]
    pub const fn is_joined(&self) -> bool {
        self.packets.len() > 1
    }

    /// Undoes the joining, for a kernel that refused the superpacket: the packets as they were.
    pub fn part(&self, slab: &mut [u8]) -> &[Range<usize>] {
        if self.is_joined()
            && let Some(head) = self.packets.first()
        {
            slab[head.start..head.start + self.header.len()].copy_from_slice(&self.header);
        }
        &self.packets
    }

    fn has_flow_of(&self, slab: &[u8], packet: &[u8], other: &Candidate) -> bool {
        match (&self.candidate, self.packets.first()) {
            (Some(ours), Some(head)) => flow::same_flow(&slab[head.clone()], ours, packet, other),
            _ => false,
        }
    }

    fn may_precede(&self, slab: &[u8], packet: &[u8]) -> bool {
        match (&self.candidate, self.packets.first()) {
            (Some(ours), Some(head)) => flow::may_be_of_flow(&slab[head.clone()], ours, packet),
            _ => false,
        }
    }

    /// Appends a packet of the same flow if it continues the group.
    fn take(&mut self, slab: &[u8], at: Range<usize>, next: &Candidate) -> bool {
        let (Some(first), Some(head)) = (self.candidate, self.packets.first()) else {
            return false;
        };
        let head = &slab[head.clone()];
        let len = at.len() - next.payload;
        let number = self.packets.len();
        let most = if first.kind == Kind::Tcp { MAX_PARTS } else { MAX_DATAGRAMS };
        let in_order = match first.kind {
            Kind::Tcp => next.sequence == first.sequence.wrapping_add(self.payload_len as u32),
            Kind::Udp => true,
        };
        let joins = !self.closed
            && in_order
            && len <= self.size
            && number < most
            && first.payload + self.payload_len + len <= 65_535
            && flow::same_headers(head, &first, &slab[at.clone()], next)
            && flow::counts_up(head, &first, next, number);
        if joins {
            self.packets.push(at);
            self.payload_len += len;
            self.push = next.push;
            self.closed = next.push || len < self.size;
        }
        joins
    }

    fn seal(&mut self, slab: &mut [u8]) {
        let (Some(candidate), Some(head)) = (self.candidate, self.packets.first().cloned()) else {
            return;
        };
        if !self.is_joined() {
            return;
        }
        let header = &mut slab[head.start..head.start + candidate.payload];
        self.header.clear();
        self.header.extend_from_slice(header);
        let total = candidate.payload + self.payload_len;
        if candidate.version == 4 {
            header[2..4].copy_from_slice(&(total as u16).to_be_bytes());
            header[10..12].fill(0);
            let sum = inet::checksum(inet::sum(&header[..20], 0));
            header[10..12].copy_from_slice(&sum);
        } else {
            header[4..6].copy_from_slice(&((total - 40) as u16).to_be_bytes());
        }
        let transport_len = total - candidate.transport;
        let (gso_type, protocol, csum_offset) = match (candidate.kind, candidate.version) {
            (Kind::Tcp, 4) => (GSO_TCPV4, inet::TCP, 16),
            (Kind::Tcp, _) => (GSO_TCPV6, inet::TCP, 16),
            (Kind::Udp, _) => (GSO_UDP_L4, inet::UDP, 6),
        };
        let at = candidate.transport;
        if candidate.kind == Kind::Udp {
            header[at + 4..at + 6].copy_from_slice(&(transport_len as u16).to_be_bytes());
        } else if self.push {
            header[at + 13] |= PSH;
        }
        let partial = inet::fold(inet::pseudo_header(header, protocol, transport_len));
        let field = at + csum_offset;
        header[field..field + 2].copy_from_slice(&partial);
        self.vnet = VnetHeader {
            flags: NEEDS_CSUM,
            gso_type,
            hdr_len: candidate.payload as u16,
            gso_size: self.size as u16,
            csum_start: at as u16,
            csum_offset: csum_offset as u16,
        };
    }
}
