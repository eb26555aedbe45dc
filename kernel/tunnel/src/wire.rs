//! Owns the shape of WireGuard messages: types, lengths and the plain fields the device routes by.
//! Knows nothing of what is encrypted in them (WireGuard paper, section 5.4).

/// Length of a handshake initiation in bytes.
pub const INITIATION_LEN: usize = 148;
/// Length of a handshake response in bytes.
pub const RESPONSE_LEN: usize = 92;
/// Length of a cookie reply in bytes.
pub const COOKIE_REPLY_LEN: usize = 64;
/// What a transport message adds to its padded plaintext: 16 bytes of header, 16 of tag.
pub const DATA_OVERHEAD: usize = 32;
/// The smallest buffer any message may be written to besides [`DATA_OVERHEAD`] and the plaintext.
pub const SCRATCH_LEN: usize = 256;

/// A datagram that has the type and the length of a WireGuard message; nothing in it is proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Type 1, from an initiator.
    Initiation {
        /// The index the initiator wants to be answered to.
        sender: u32,
    },
    /// Type 2, from a responder.
    Response {
        /// The index the responder wants data sent to.
        sender: u32,
        /// The index of our initiation.
        receiver: u32,
    },
    /// Type 3, from a responder under load.
    CookieReply {
        /// The index of our handshake message.
        receiver: u32,
    },
    /// Type 4, an encrypted packet or a keepalive.
    Data {
        /// The index of our session.
        receiver: u32,
        /// The nonce, counted by the sender from 0.
        counter: u64,
    },
}

/// Classifies a datagram, or `None` if it is no WireGuard message.
///
/// Empty and short datagrams end here: boringtun takes an empty one as an order to flush its queue.
#[must_use]
pub fn parse(datagram: &[u8]) -> Option<Message> {
    let kind = u32_at(datagram, 0)?;
    match (kind, datagram.len()) {
        (1, INITIATION_LEN) => Some(Message::Initiation { sender: u32_at(datagram, 4)? }),
        (2, RESPONSE_LEN) => {
            Some(Message::Response { sender: u32_at(datagram, 4)?, receiver: u32_at(datagram, 8)? })
        }
        (3, COOKIE_REPLY_LEN) => Some(Message::CookieReply { receiver: u32_at(datagram, 4)? }),
        (4, DATA_OVERHEAD..) => {
            Some(Message::Data { receiver: u32_at(datagram, 4)?, counter: counter(datagram)? })
        }
        _ => None,
    }
}

/// The counter of a transport message, or `None` if the datagram is too short to have one.
#[must_use]
pub fn counter(datagram: &[u8]) -> Option<u64> {
    datagram.get(8..16)?.try_into().ok().map(u64::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_datagram_below_32_bytes_is_no_message() {
        for len in 0..32 {
            let mut datagram = vec![0; len];
            if let Some(first) = datagram.first_mut() {
                *first = 4;
            }
            assert_eq!(parse(&datagram), None, "{len} bytes");
        }
    }

    #[test]
    fn reserved_bytes_must_be_zero() {
        let mut datagram = vec![0; 32];
        datagram[0] = 4;
        assert!(parse(&datagram).is_some());
        datagram[2] = 1;
        assert_eq!(parse(&datagram), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_classified_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }
    }
}
