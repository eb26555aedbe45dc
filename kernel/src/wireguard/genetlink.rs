//! Owns the conversation with the kernel's WireGuard over generic netlink. Does not own links of
//! that kind, nor what the messages say.

use std::io;
use std::time::Duration;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader,
    NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_packet_generic::GenlMessage;
use netlink_packet_generic::ctrl::nlas::GenlCtrlAttrs;
use netlink_packet_generic::ctrl::{GenlCtrl, GenlCtrlCmd};
use netlink_packet_wireguard::WireguardMessage;
use netlink_sys::protocols::NETLINK_GENERIC;
use netlink_sys::{Socket, SocketAddr};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};
use sealane_state::name::LinkName;
use sealane_state::wireguard::{Peer, PublicKey};
use zeroize::Zeroizing;

use crate::wireguard::edit::DeviceEdit;
use crate::wireguard::messages::{self, Dump};
use crate::wireguard::{Control, Reading, WireguardError};

/// Name of WireGuard's generic netlink family.
const FAMILY: &str = "wireguard";
/// The kernel answers at once; this only ends what would hang.
const PATIENCE: Duration = Duration::from_secs(5);
/// The kernel's dumps come in datagrams of at most 32 KiB.
const DATAGRAM_BYTES: usize = 64 * 1024;
/// How often a dump is begun anew when the device changed under it.
const DUMPS: usize = 8;

/// The WireGuard devices of the kernel, in the network namespace of the calling thread.
#[derive(Debug, Clone, Copy)]
pub struct KernelDevices;

impl KernelDevices {
    /// Returns whether the kernel has WireGuard; asking loads its module where there is one.
    pub fn available(self) -> bool {
        Channel::open().is_ok()
    }
}

impl Control for KernelDevices {
    fn read(&self, link: &LinkName) -> Result<Reading, WireguardError> {
        let mut channel = Channel::open().map_err(fault_of(link, "get"))?;
        for _ in 0..DUMPS {
            if let Some(reading) = channel.dump(link).map_err(fault_of(link, "get"))? {
                return Ok(reading);
            }
        }
        Err(WireguardError::Unsteady { link: link.clone() })
    }

    fn write(&self, link: &LinkName, edit: DeviceEdit) -> Result<(), WireguardError> {
        let mut channel = Channel::open().map_err(fault_of(link, "set"))?;
        for message in messages::set_device(link, edit) {
            channel.set(message).map_err(fault_of(link, "set"))?;
        }
        Ok(())
    }

    fn objection(&self, key: &PublicKey, peer: &Peer) -> Option<WireguardError> {
        let takes_it = peer.accepted_sources.is_empty();
        (!takes_it).then_some(WireguardError::AcceptedSources { peer: *key })
    }
}

/// What went wrong on the way, before it has a link's name.
enum Fault {
    /// No such family, device, or no device of that kind.
    Absent,
    /// The kernel's errno.
    Refused(io::Error),
    /// The socket's.
    Io(io::Error),
    /// A message that cannot be read.
    Message(String),
}

/// A generic netlink socket and the number that WireGuard's family has in this kernel.
struct Channel {
    socket: Socket,
    family: u16,
    sequence: u32,
    buffer: Zeroizing<Vec<u8>>,
}

/// What a datagram's messages amount to.
enum Progress {
    More,
    Done,
}

impl Channel {
    fn open() -> Result<Self, Fault> {
        let mut socket = Socket::new(NETLINK_GENERIC).map_err(Fault::Io)?;
        socket.bind_auto().map_err(Fault::Io)?;
        socket.connect(&SocketAddr::new(0, 0)).map_err(Fault::Io)?;
        // Otherwise each acknowledgement returns the request, keys included.
        socket.set_cap_ack(true).map_err(Fault::Io)?;
        let seconds = i64::try_from(PATIENCE.as_secs()).unwrap_or(i64::MAX);
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(seconds))
            .map_err(|errno| Fault::Io(errno.into()))?;
        let buffer = Zeroizing::new(vec![0; DATAGRAM_BYTES]);
        let mut channel = Self { socket, family: 0, sequence: 0, buffer };
        channel.family = channel.resolve_family()?;
        Ok(channel)
    }

    fn resolve_family(&mut self) -> Result<u16, Fault> {
        let nlas = vec![GenlCtrlAttrs::FamilyName(FAMILY.to_owned())];
        let message = GenlMessage::from_payload(GenlCtrl { cmd: GenlCtrlCmd::GetFamily, nlas });
        self.send(message, NLM_F_REQUEST | NLM_F_ACK)?;
        let mut family = None;
        self.receive(&mut |_: &NetlinkHeader, message: GenlMessage<GenlCtrl>| {
            family = family.or(message.payload.nlas.iter().find_map(|nla| match nla {
                GenlCtrlAttrs::FamilyId(id) => Some(*id),
                _ => None,
            }));
        })?;
        family.ok_or(Fault::Absent)
    }

    /// Reads a device; `None` when it changed meanwhile.
    fn dump(&mut self, link: &LinkName) -> Result<Option<Reading>, Fault> {
        let message = self.addressed(messages::get_device(link));
        self.send(message, NLM_F_REQUEST | NLM_F_DUMP)?;
        let (mut dump, mut steady) = (Dump::new(), true);
        self.receive(&mut |header: &NetlinkHeader, message: GenlMessage<WireguardMessage>| {
            steady &= header.flags & NLM_F_DUMP_INTR == 0;
            dump.take(message.payload);
        })?;
        Ok(steady.then(|| dump.reading()))
    }

    fn set(&mut self, message: WireguardMessage) -> Result<(), Fault> {
        let message = self.addressed(message);
        let mut message = self.send(message, NLM_F_REQUEST | NLM_F_ACK)?;
        messages::wipe(&mut message.payload);
        self.receive(&mut |_: &NetlinkHeader, _: GenlMessage<WireguardMessage>| {})
    }

    fn addressed(&self, message: WireguardMessage) -> GenlMessage<WireguardMessage> {
        let mut message = GenlMessage::from_payload(message);
        message.set_resolved_family_id(self.family);
        message
    }

    /// Sends a message and gives it back, for what is secret in it to be wiped.
    fn send<M: NetlinkSerializable>(&mut self, message: M, flags: u16) -> Result<M, Fault> {
        self.sequence += 1;
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        message.finalize();
        let mut bytes = Zeroizing::new(vec![0; message.buffer_len()]);
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0).map_err(Fault::Io)?;
        match message.payload {
            NetlinkPayload::InnerMessage(message) => Ok(message),
            _ => Err(Fault::Message("a request that is none".to_owned())),
        }
    }

    /// Receives until the acknowledgement or the end of the dump.
    fn receive<M>(&mut self, take: &mut impl FnMut(&NetlinkHeader, M)) -> Result<(), Fault>
    where
        M: NetlinkDeserializable,
    {
        loop {
            let mut room = &mut self.buffer[..];
            let count = self.socket.recv(&mut room, libc::MSG_TRUNC).map_err(Fault::Io)?;
            let datagram = self
                .buffer
                .get(..count)
                .ok_or_else(|| Fault::Message(format!("a datagram of {count} bytes")))?;
            if let Progress::Done = messages_in(datagram, self.sequence, take)? {
                return Ok(());
            }
        }
    }
}

/// Takes the messages of one datagram in.
fn messages_in<M>(
    mut datagram: &[u8],
    sequence: u32,
    take: &mut impl FnMut(&NetlinkHeader, M),
) -> Result<Progress, Fault>
where
    M: NetlinkDeserializable,
{
    while !datagram.is_empty() {
        let message = NetlinkMessage::<M>::deserialize(datagram)
            .map_err(|fault| Fault::Message(fault.to_string()))?;
        let (header, payload) = message.into_parts();
        let length = usize::try_from(header.length).unwrap_or(usize::MAX).next_multiple_of(4);
        datagram = datagram.get(length.max(1)..).unwrap_or_default();
        if header.sequence_number != sequence {
            continue;
        }
        match payload {
            NetlinkPayload::InnerMessage(message) => take(&header, message),
            NetlinkPayload::Done(done) => return refusal(done.code).map(|()| Progress::Done),
            NetlinkPayload::Error(error) => {
                return refusal(error.raw_code()).map(|()| Progress::Done);
            }
            NetlinkPayload::Overrun(_) => {
                return Err(Fault::Message("the kernel dropped messages".to_owned()));
            }
            _ => {}
        }
    }
    Ok(Progress::More)
}

fn refusal(code: i32) -> Result<(), Fault> {
    match code.saturating_abs() {
        0 => Ok(()),
        libc::ENOENT | libc::ENODEV | libc::EOPNOTSUPP => Err(Fault::Absent),
        errno => Err(Fault::Refused(io::Error::from_raw_os_error(errno))),
    }
}

fn fault_of(link: &LinkName, action: &'static str) -> impl Fn(Fault) -> WireguardError {
    let link = link.clone();
    move |fault| {
        let link = link.clone();
        match fault {
            Fault::Absent => WireguardError::NoDevice {
                socket: format!("{}/{link}.sock", crate::wireguard::uapi::SOCKET_DIR),
                link,
            },
            Fault::Refused(fault) => WireguardError::Refused { link, action, fault },
            Fault::Io(fault) => WireguardError::Unreachable { link, action, fault },
            Fault::Message(fault) => WireguardError::Answer { link, fault },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroI32;

    use netlink_packet_core::{DoneMessage, ErrorMessage};
    use netlink_packet_wireguard::{WireguardAttribute, WireguardCmd};

    use super::*;

    #[test]
    fn an_answer_ends_with_its_acknowledgement_and_a_dump_with_its_end() {
        assert!(matches!(read(&acknowledgement(0)), Ok(Progress::Done)));
        assert!(matches!(read(&end_of_dump(0)), Ok(Progress::Done)));
        assert!(matches!(read(&device_message(1)), Ok(Progress::More)));
    }

    #[test]
    fn a_refusal_keeps_its_errno_and_an_absent_device_is_told_apart() {
        let refused = read(&acknowledgement(-libc::EADDRINUSE));
        let errno = match refused {
            Err(Fault::Refused(fault)) => fault.raw_os_error(),
            _ => None,
        };
        assert_eq!(errno, Some(libc::EADDRINUSE));
        for errno in [libc::ENODEV, libc::EOPNOTSUPP, libc::ENOENT] {
            assert!(matches!(read(&acknowledgement(-errno)), Err(Fault::Absent)));
        }
    }

    #[test]
    fn answers_to_an_earlier_request_are_passed_over() {
        let mut taken = 0;
        let datagram = [device_message(0), device_message(1), end_of_dump(0)].concat();
        let progress = messages_in(&datagram, 1, &mut |_, _: GenlMessage<WireguardMessage>| {
            taken += 1;
        });
        assert!(matches!(progress, Ok(Progress::Done)));
        assert_eq!(taken, 1);
    }

    #[test]
    fn a_datagram_cut_anywhere_is_an_error_and_no_panic() {
        let datagram = device_message(1);
        for length in 1..datagram.len() {
            assert!(matches!(read(&datagram[..length]), Err(Fault::Message(_))), "{length} bytes");
        }
    }

    #[test]
    fn peers_with_accepted_sources_are_not_for_the_kernel() {
        let mut peer = Peer::default();
        let key = PublicKey([1; 32]);
        assert!(KernelDevices.objection(&key, &peer).is_none());
        peer.accepted_sources.insert("10.0.0.0/8".parse().unwrap());
        let objection = KernelDevices.objection(&key, &peer);
        assert!(matches!(objection, Some(WireguardError::AcceptedSources { .. })));
    }

    fn read(datagram: &[u8]) -> Result<Progress, Fault> {
        messages_in(datagram, 1, &mut |_, _: GenlMessage<WireguardMessage>| {})
    }

    fn device_message(sequence: u32) -> Vec<u8> {
        let attributes = vec![WireguardAttribute::IfName("sealane0".into())];
        let message = WireguardMessage { cmd: WireguardCmd::GetDevice, attributes };
        let mut message = GenlMessage::from_payload(message);
        message.set_resolved_family_id(0x1c);
        bytes_of(sequence, NetlinkPayload::InnerMessage(message))
    }

    fn acknowledgement(code: i32) -> Vec<u8> {
        let mut error = ErrorMessage::default();
        error.code = NonZeroI32::new(code);
        error.header = vec![0; 16];
        bytes_of(1, NetlinkPayload::Error(error))
    }

    fn end_of_dump(code: i32) -> Vec<u8> {
        let mut done = DoneMessage::default();
        done.code = code;
        bytes_of(1, NetlinkPayload::Done(done))
    }

    fn bytes_of(sequence: u32, payload: NetlinkPayload<GenlMessage<WireguardMessage>>) -> Vec<u8> {
        let mut header = NetlinkHeader::default();
        header.sequence_number = sequence;
        let mut message = NetlinkMessage::new(header, payload);
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        bytes
    }
}
