//! Owns asking the kernel for the generation of its nftables rules: a number that every transaction
//! of anyone in this network namespace moves on. Does not own what the rules are.

use std::io;

use netlink_packet_core::{
    NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable, NlasIterator,
};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::nft::NftError;

/// `NFNL_SUBSYS_NFTABLES` with `NFT_MSG_NEWGEN` and `NFT_MSG_GETGEN` of
/// linux/netfilter/nf_tables.h.
const NEW_GENERATION: u16 = 0x0a0f;
const GET_GENERATION: u16 = 0x0a10;
/// `NFTA_GEN_ID`, 32 bits in network order.
const GENERATION_ID: u16 = 1;
/// Bytes of `struct nfgenmsg`, all zero in a request.
const FAMILY_BYTES: usize = 4;
const DATAGRAM_BYTES: usize = 4096;
/// The kernel answers inside the send call; this only ends what would hang.
const PATIENCE_SECONDS: i64 = 5;

/// A state of all nftables rules of a network namespace: while it is the same, so are they.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Generation(u32);

impl Generation {
    /// Asks for the present one, in the calling thread's network namespace.
    ///
    /// # Errors
    /// What the socket or the kernel reports.
    pub(super) fn now() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(PATIENCE_SECONDS))?;
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(Message(None)));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        socket.send(&bytes, 0)?;
        let mut answer = Vec::with_capacity(DATAGRAM_BYTES);
        socket.recv(&mut answer, 0)?;
        read(&answer)
    }

    /// As [`Generation::now`], for what cannot go on without.
    ///
    /// # Errors
    /// [`NftError::Generation`].
    pub(super) fn of_rules() -> Result<Self, NftError> {
        Self::now().map_err(|fault| NftError::Generation { fault })
    }

    /// Makes one up.
    #[cfg(test)]
    pub(super) fn of(number: u32) -> Self {
        Self(number)
    }

    /// Returns whether exactly one transaction lies between the two; the counter leaves out 0.
    pub(super) fn follows(self, earlier: Self) -> bool {
        self.0 == earlier.0.checked_add(1).unwrap_or(1)
    }
}

fn read(answer: &[u8]) -> io::Result<Generation> {
    let unknown = || io::Error::new(io::ErrorKind::InvalidData, "not a generation of nftables");
    let message = NetlinkMessage::<Message>::deserialize(answer).map_err(|_| unknown())?;
    match message.payload {
        NetlinkPayload::InnerMessage(Message(Some(id))) => Ok(Generation(id)),
        NetlinkPayload::Error(error) => Err(error.to_io()),
        _ => Err(unknown()),
    }
}

/// A request, or an answer with its number.
#[derive(Debug)]
struct Message(Option<u32>);

impl NetlinkSerializable for Message {
    fn message_type(&self) -> u16 {
        GET_GENERATION
    }

    fn buffer_len(&self) -> usize {
        FAMILY_BYTES
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer.fill(0);
    }
}

impl NetlinkDeserializable for Message {
    type Error = std::convert::Infallible;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, Self::Error> {
        let attributes = payload.get(FAMILY_BYTES..).unwrap_or_default();
        let ids = NlasIterator::new(attributes).map_while(Result::ok).filter(|attribute| {
            header.message_type == NEW_GENERATION && attribute.kind() == GENERATION_ID
        });
        let mut ids = ids.filter_map(|id| id.value().try_into().ok().map(u32::from_be_bytes));
        Ok(Self(ids.next()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_next_generation_follows_one() {
        assert!(Generation(8).follows(Generation(7)));
        assert!(!Generation(9).follows(Generation(7)));
        assert!(!Generation(7).follows(Generation(7)));
        assert!(Generation(1).follows(Generation(u32::MAX)));
    }

    #[test]
    fn an_answer_cut_anywhere_is_an_error_and_no_panic() {
        let mut answer = vec![28, 0, 0, 0, 0x0f, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        answer.extend([0, 0, 0, 5, 8, 0, 1, 0, 0, 0, 0, 5]);
        assert_eq!(read(&answer).unwrap(), Generation(5));
        for length in 0..answer.len() {
            assert!(read(&answer[..length]).is_err(), "{length} bytes");
        }
    }
}
