//! Owns the judgement whether a packet may be joined with others, and what two packets must share.
//! The keys are those of the kernel's GRO (`net/ipv4/tcp_offload.c`, `udp_offload.c`).

use crate::inet;

const ACK: u8 = 0x10;
const PSH: u8 = 0x08;
const ECE: u8 = 0x40;
const DONT_FRAGMENT: u8 = 0x40;

/// Which transport a group carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// TCP with nothing but ACK, PSH and ECE set.
    Tcp,
    /// UDP with a checksum.
    Udp,
}

/// What of a packet decides with which others it can be joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// TCP or UDP.
    pub kind: Kind,
    /// 4 or 6.
    pub version: u8,
    /// Where the transport header starts.
    pub transport: usize,
    /// Where the payload starts.
    pub payload: usize,
    /// TCP sequence number.
    pub sequence: u32,
    /// IPv4 identification.
    pub id: u16,
    /// Whether PSH is set.
    pub push: bool,
}

/// Reads a packet that is as long as its IP header says; `None` means "write it as it is".
#[must_use]
pub fn candidate(packet: &[u8]) -> Option<Candidate> {
    let (version, transport, protocol) = match inet::version(packet)? {
        4 => {
            let fragment = packet[6] & !DONT_FRAGMENT != 0 || packet[7] != 0;
            let length = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
            if packet[0] != 0x45 || fragment || length != packet.len() {
                return None;
            }
            (4, 20, packet[9])
        }
        _ => {
            let length = usize::from(u16::from_be_bytes([packet[4], packet[5]])) + 40;
            if length != packet.len() {
                return None;
            }
            (6, 40, packet[6])
        }
    };
    let id = if version == 4 { u16::from_be_bytes([packet[4], packet[5]]) } else { 0 };
    match protocol {
        inet::TCP => tcp(packet, version, transport, id),
        inet::UDP => udp(packet, version, transport, id),
        _ => None,
    }
}

fn tcp(packet: &[u8], version: u8, transport: usize, id: u16) -> Option<Candidate> {
    let header = packet.get(transport..)?;
    let &[_, _, _, _, a, b, c, d, _, _, _, _, offset, flags, ..] = header else { return None };
    let payload = transport + usize::from(offset >> 4) * 4;
    let plain = flags & ACK != 0 && flags & !(ACK | PSH | ECE) == 0;
    if !plain || payload < transport + 20 || payload >= packet.len() {
        return None;
    }
    let sequence = u32::from_be_bytes([a, b, c, d]);
    let push = flags & PSH != 0;
    Some(Candidate { kind: Kind::Tcp, version, transport, payload, sequence, id, push })
}

fn udp(packet: &[u8], version: u8, transport: usize, id: u16) -> Option<Candidate> {
    let header = packet.get(transport..)?;
    let &[_, _, _, _, a, b, c, d, _, ..] = header else { return None };
    let whole = usize::from(u16::from_be_bytes([a, b])) == header.len();
    // No checksum means "none" to IPv4 tunnels such as VXLAN; joining would invent one.
    if !whole || [c, d] == [0, 0] {
        return None;
    }
    let payload = transport + 8;
    Some(Candidate { kind: Kind::Udp, version, transport, payload, sequence: 0, id, push: false })
}

/// Whether two candidates belong to one flow: addresses and ports.
#[must_use]
pub fn same_flow(a: &[u8], ca: &Candidate, b: &[u8], cb: &Candidate) -> bool {
    let addresses = if ca.version == 4 { 12..20 } else { 8..40 };
    let ports = ca.transport..ca.transport + 4;
    ca.version == cb.version
        && ca.kind == cb.kind
        && a.get(addresses.clone()) == b.get(addresses)
        && a.get(ports.clone()) == b.get(ports)
}

/// Whether a packet that is no candidate may belong to a candidate's flow. Fragments and packets
/// with options or extension headers are taken for one whenever the addresses are the same.
#[must_use]
pub fn may_be_of_flow(head: &[u8], candidate: &Candidate, packet: &[u8]) -> bool {
    let (addresses, protocol) = if candidate.version == 4 { (12..20, 9) } else { (8..40, 6) };
    if inet::version(packet) != Some(candidate.version)
        || head.get(addresses.clone()) != packet.get(addresses)
    {
        return false;
    }
    let plain = if candidate.version == 4 {
        packet[0] == 0x45 && packet[6] & !DONT_FRAGMENT == 0 && packet[7] == 0
    } else {
        [inet::TCP, inet::UDP].contains(&packet[protocol])
    };
    let ports = candidate.transport..candidate.transport + 4;
    !plain || head[protocol] == packet[protocol] && head.get(ports.clone()) == packet.get(ports)
}

/// Whether two candidates of one flow have headers that one superpacket header can stand for:
/// everything but lengths, checksums, identification, sequence and PSH.
#[must_use]
pub fn same_headers(a: &[u8], ca: &Candidate, b: &[u8], cb: &Candidate) -> bool {
    let network = if ca.version == 4 {
        // Traffic class; DF; TTL and protocol.
        a[1] == b[1] && a[6] == b[6] && a[8..10] == b[8..10]
    } else {
        // Version, class and label; next header and hop limit.
        a[..4] == b[..4] && a[6..8] == b[6..8]
    };
    if !network || ca.payload != cb.payload {
        return false;
    }
    let (a, b) = (&a[ca.transport..ca.payload], &b[cb.transport..cb.payload]);
    match ca.kind {
        Kind::Udp => true,
        // Acknowledgement and offset; flags but PSH; window; urgent pointer and options.
        Kind::Tcp => {
            a[8..13] == b[8..13]
                && (a[13] ^ b[13]) & !PSH == 0
                && a[14..16] == b[14..16]
                && a[18..] == b[18..]
        }
    }
}

/// Whether the identifications of IPv4 packets come back when the kernel cuts a superpacket:
/// they must count up, unless DF makes them meaningless (RFC 6864).
#[must_use]
pub fn counts_up(head: &[u8], first: &Candidate, next: &Candidate, number: usize) -> bool {
    first.version == 6
        || head[6] & DONT_FRAGMENT != 0
        || next.id == first.id.wrapping_add(number as u16)
}
