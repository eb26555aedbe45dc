//! Owns the bytes of a probe on UDP 5183 inside a lane: layout, strict parse, encoding. Does not
//! own what a probe means for health or MTU.
//!
//! All integers big-endian. A reply is exactly the 64-byte header, a request is the header and
//! zero padding, so a reply is never larger than what it answers.
//!
//! | at | bytes | field | why it exists |
//! |---:|---:|---|---|
//! | 0 | 2 | magic `5ea1` | a stray datagram is dismissed before anything is read |
//! | 2 | 1 | version | both ends upgrade at different times; an unknown one is refused, not guessed |
//! | 3 | 1 | kind | request or reply; a request alone is ever answered, so two ends cannot loop |
//! | 4 | 1 | flags | bit 0: the digest is filled |
//! | 5 | 1 | reserved | zero; room for eight more flags without a new layout |
//! | 6 | 2 | size | UDP payload bytes of the *request*: proves it arrived whole, tells which size crossed |
//! | 8 | 8 | sequence | names the request a reply answers, so reordering and duplicates are told apart |
//! | 16 | 8 | nonce | per request: replies of an earlier run and blind guesses do not count |
//! | 24 | 8 | sent | the requester's clock, echoed: a capture alone shows the round-trip time |
//! | 32 | 32 | digest | what the sender knows of the clusterset; room kept at all times, for gossip |

use std::net::IpAddr;

use thiserror::Error;

use crate::time::Time;

/// The UDP port of probes, inside lanes and on node-to-gateway legs.
pub const PORT: u16 = 5183;
/// The fixed header, and the whole of a reply, in bytes of UDP payload.
pub const HEADER_BYTES: u16 = 64;

const MAGIC: [u8; 2] = [0x5e, 0xa1];
const VERSION: u8 = 1;
const REQUEST: u8 = 1;
const REPLY: u8 = 2;
const DIGEST: u8 = 1;

/// Which way a datagram goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Asks the other end to answer.
    Request,
    /// Answers one request.
    Reply,
}

/// What the sender knows of the clusterset, in brief; a difference starts a gossip pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    /// Number of root links followed.
    pub link_index: u64,
    /// Version of the clusterset held.
    pub version: u64,
    /// First 8 bytes of its hash.
    pub hash: [u8; 8],
    /// First 8 bytes of SHA-256 over the sorted advertisement positions.
    pub positions: [u8; 8],
}

/// One probe datagram without its padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Which way it goes.
    pub kind: Kind,
    /// UDP payload bytes of the request, its own or the one answered; at least [`HEADER_BYTES`].
    pub size: u16,
    /// Counts the requests of one path and purpose.
    pub sequence: u64,
    /// The requester's secret for this request.
    pub nonce: u64,
    /// When the request left, by the requester's clock.
    pub sent: Time,
    /// What the sender of this datagram knows, if it gossips.
    pub digest: Option<Digest>,
}

/// Why bytes are not a probe. Sending the same bytes again never helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Malformed {
    /// Fewer bytes than the header.
    #[error("probe of {0} bytes is shorter than its {HEADER_BYTES} byte header")]
    Short(usize),
    /// Something else was sent to our port.
    #[error("not a probe: it starts with {:02x}{:02x}", .0[0], .0[1])]
    Magic([u8; 2]),
    /// Written by a version we do not know.
    #[error("probe version {0} is not known here; upgrade this agent")]
    Version(u8),
    /// Neither request nor reply.
    #[error("probe kind {0} is neither request nor reply")]
    Kind(u8),
    /// A bit that must be zero is not: a flag, reserved bytes, padding or an absent digest.
    #[error("probe has non-zero bytes where version {VERSION} keeps zeros")]
    Reserved,
    /// The size said is not the size seen.
    #[error("probe of {seen} bytes says it has {said}")]
    Size {
        /// What the header says, in bytes.
        said: u16,
        /// What arrived, in bytes.
        seen: usize,
    },
}

impl Datagram {
    /// Reads one datagram.
    ///
    /// # Errors
    /// [`Malformed`] for anything that [`Datagram::encode`] would not have written: the parse is
    /// strict, so each accepted datagram has exactly one form.
    pub fn parse(bytes: &[u8]) -> Result<Datagram, Malformed> {
        let Some((header, padding)) = bytes.split_first_chunk::<{ HEADER_BYTES as usize }>() else {
            return Err(Malformed::Short(bytes.len()));
        };
        let magic = [header[0], header[1]];
        if magic != MAGIC {
            return Err(Malformed::Magic(magic));
        }
        if header[2] != VERSION {
            return Err(Malformed::Version(header[2]));
        }
        let kind = match header[3] {
            REQUEST => Kind::Request,
            REPLY => Kind::Reply,
            other => return Err(Malformed::Kind(other)),
        };
        if header[4] & !DIGEST != 0 || header[5] != 0 || padding.iter().any(|byte| *byte != 0) {
            return Err(Malformed::Reserved);
        }
        let size = u16::from_be_bytes([header[6], header[7]]);
        let whole = match kind {
            Kind::Request => usize::from(size) == bytes.len(),
            Kind::Reply => size >= HEADER_BYTES && padding.is_empty(),
        };
        if !whole {
            return Err(Malformed::Size { said: size, seen: bytes.len() });
        }
        Ok(Datagram {
            kind,
            size,
            sequence: u64_at(header, 8),
            nonce: u64_at(header, 16),
            sent: Time(u64_at(header, 24)),
            digest: digest_of(header)?,
        })
    }

    /// Writes the datagram; a request is padded with zeros to its size.
    ///
    /// Shape: `size` bytes for a request, [`HEADER_BYTES`] for a reply. A size below the header
    /// counts as the header.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.header().to_vec();
        if self.kind == Kind::Request {
            bytes.resize(usize::from(self.size.max(HEADER_BYTES)), 0);
        }
        bytes
    }

    /// Returns the answer to this request, carrying what the responder knows.
    #[must_use]
    pub fn reply(&self, digest: Option<Digest>) -> [u8; HEADER_BYTES as usize] {
        Datagram { kind: Kind::Reply, digest, ..*self }.header()
    }

    fn header(&self) -> [u8; HEADER_BYTES as usize] {
        let mut header = [0; HEADER_BYTES as usize];
        header[0..2].copy_from_slice(&MAGIC);
        header[2] = VERSION;
        header[3] = match self.kind {
            Kind::Request => REQUEST,
            Kind::Reply => REPLY,
        };
        header[6..8].copy_from_slice(&self.size.max(HEADER_BYTES).to_be_bytes());
        header[8..16].copy_from_slice(&self.sequence.to_be_bytes());
        header[16..24].copy_from_slice(&self.nonce.to_be_bytes());
        header[24..32].copy_from_slice(&self.sent.0.to_be_bytes());
        if let Some(digest) = self.digest {
            header[4] |= DIGEST;
            header[32..40].copy_from_slice(&digest.link_index.to_be_bytes());
            header[40..48].copy_from_slice(&digest.version.to_be_bytes());
            header[48..56].copy_from_slice(&digest.hash);
            header[56..64].copy_from_slice(&digest.positions);
        }
        header
    }
}

/// Returns the bytes of IP and UDP header in front of a probe's payload (RFC 791, 8200, 768).
#[must_use]
pub fn overhead(address: IpAddr) -> u16 {
    match address {
        IpAddr::V4(_) => 20 + 8,
        IpAddr::V6(_) => 40 + 8,
    }
}

fn digest_of(header: &[u8; HEADER_BYTES as usize]) -> Result<Option<Digest>, Malformed> {
    if header[4] & DIGEST == 0 {
        return match header[32..].iter().all(|byte| *byte == 0) {
            true => Ok(None),
            false => Err(Malformed::Reserved),
        };
    }
    Ok(Some(Digest {
        link_index: u64_at(header, 32),
        version: u64_at(header, 40),
        hash: u64_at(header, 48).to_be_bytes(),
        positions: u64_at(header, 56).to_be_bytes(),
    }))
}

/// Reads a big-endian integer; `at` is one of the offsets of the table above, all within bounds.
fn u64_at(header: &[u8; HEADER_BYTES as usize], at: usize) -> u64 {
    header[at..at + 8].iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}
