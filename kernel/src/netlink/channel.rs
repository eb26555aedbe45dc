//! Owns one rtnetlink socket: dumps that lose nothing and writes that do not wait for each other.
//! Knows message framing, not what the messages are about.
//!
//! The I/O blocks: the kernel answers inside the send call, so there is nothing to wait for.
//! Messages are built by rtnetlink, whose own client is not used: it would drop what it cannot
//! decode and an acknowledgement lost to a full buffer; here the first is counted and the second is
//! an error.

use std::ops::RangeInclusive;
use std::os::fd::AsFd;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NLMSG_OVERRUN, NetlinkBuffer,
    NetlinkMessage,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::netlink::refusal::Refusal;
use crate::netlink::reply::{Assembly, Dump, Reply};

/// Requests on their way at a time. Their acknowledgements, below 1 KiB of buffer each, fit the
/// smallest receive buffer in use (208 KiB, `net.core.rmem_default`).
const IN_FLIGHT: usize = 64;
/// Dumps interrupted by a change are asked again this often before the host counts as too busy.
const DUMP_ATTEMPTS: u32 = 16;
/// The kernel fills at most 32 KiB of dump into a read (`NLMSG_GOODSIZE` logic in af_netlink.c).
const READ_BYTES: usize = 64 * 1024;
/// Wanted receive buffer; the kernel may grant less.
const BUFFER_BYTES: usize = 1 << 20;
/// The kernel answers at once; only a lost acknowledgement lasts this long.
const ANSWER_SECONDS: i64 = 5;

/// A socket that asks the kernel of the network namespace it was opened in.
#[derive(Debug)]
pub struct Channel {
    socket: Socket,
    port: u32,
    sequence: u32,
    buffer: Vec<u8>,
}

/// A request that changes something.
#[derive(Debug, Clone)]
pub struct Write {
    /// What is asked.
    pub message: RouteNetlinkMessage,
    /// Flags beside request and acknowledge: `NLM_F_CREATE` and its kin.
    pub flags: u16,
}

impl Channel {
    /// Opens a socket in the calling thread's network namespace.
    ///
    /// # Errors
    /// What `socket(2)`, `bind(2)` or `setsockopt(2)` report.
    pub fn open() -> Result<Self, Refusal> {
        let mut socket = prepared()?;
        let port = socket.bind_auto()?.port_number();
        Ok(Self { socket, port, sequence: 0, buffer: Vec::with_capacity(READ_BYTES) })
    }

    /// Goes on with another socket of the same port: one whose dump was not read to its end refuses the
    /// next one.
    fn renew(&mut self) -> Result<(), Refusal> {
        self.socket = prepared()?;
        self.socket.bind(&SocketAddr::new(self.port, 0))?;
        Ok(())
    }

    /// Returns the port number that the kernel puts on notices of what this socket changed.
    pub fn port(&self) -> u32 {
        self.port
    }

    /// Reads all objects that `request` asks for.
    ///
    /// A dump that a change ran into is read anew. An unknown table or family is an empty dump.
    ///
    /// # Errors
    /// The kernel's refusal; `EBUSY` when changes interrupted every attempt.
    pub fn dump(&mut self, request: &RouteNetlinkMessage) -> Result<Dump, Refusal> {
        for _ in 0..DUMP_ATTEMPTS {
            match self.dump_once(request) {
                Ok(Some(dump)) => return Ok(dump),
                Ok(None) => {}
                Err(refusal) if is_nothing_there(refusal.errno) => return Ok(Dump::default()),
                Err(refusal) if refusal.errno == Errno::ENOBUFS => {}
                Err(refusal) => return Err(refusal),
            }
        }
        Err(Refusal::because(Errno::EBUSY, "the host changes faster than it can be read"))
    }

    /// Reads one dump; `None` when a change ran into it. What is read is decoded afterwards: the
    /// sooner the next part is asked for, the fewer changes run into it.
    fn dump_once(&mut self, request: &RouteNetlinkMessage) -> Result<Option<Dump>, Refusal> {
        let sequence = self.send(&[(request.clone(), NLM_F_DUMP)])?;
        let mut parts: Vec<Vec<u8>> = Vec::new();
        let mut ended = false;
        while !ended {
            if let Err(broken) = self.receive() {
                self.renew()?;
                return Err(broken);
            }
            ended = frames(&self.buffer, sequence..=sequence).any(|(frame, _)| ends(&frame));
            parts.push(self.buffer.clone());
        }
        let mut assembly = Assembly::default();
        for part in &parts {
            for (frame, bytes) in frames(part, sequence..=sequence) {
                if let Some(end) = assembly.take(frame.flags(), Reply::read(bytes)) {
                    return end;
                }
            }
        }
        Err(Refusal::because(Errno::EBADMSG, "a dump without an end"))
    }

    /// Asks a question with one answer, such as which route a packet takes.
    ///
    /// # Errors
    /// The kernel's refusal, such as `ENETUNREACH`.
    pub fn ask(&mut self, request: RouteNetlinkMessage) -> Result<RouteNetlinkMessage, Refusal> {
        let sequence = self.send(&[(request, NLM_F_ACK)])?;
        let mut answer = None;
        loop {
            for (_, reply) in self.read(sequence..=sequence)? {
                match reply {
                    Reply::Message(message) => answer = Some(*message),
                    Reply::Unreadable => {}
                    Reply::Finished(Err(refusal)) => return Err(refusal),
                    Reply::Finished(Ok(())) => {
                        let none = || Refusal::because(Errno::EBADMSG, "no readable answer");
                        return answer.ok_or_else(none);
                    }
                }
            }
        }
    }

    /// Writes all `requests` in order, many at a time, and returns what became of each.
    pub fn write(&mut self, requests: &[Write]) -> Vec<Result<(), Refusal>> {
        let mut results = Vec::with_capacity(requests.len());
        for batch in requests.chunks(IN_FLIGHT) {
            results.extend(self.write_batch(batch));
        }
        results
    }

    /// Writes the requests that could be made, as [`Channel::write`]; the others keep their refusal.
    pub fn write_sound(
        &mut self,
        requests: Vec<Result<Write, Refusal>>,
    ) -> Vec<Result<(), Refusal>> {
        let sound: Vec<_> = requests.iter().flatten().cloned().collect();
        let mut written = self.write(&sound).into_iter();
        let result = |request: Result<Write, Refusal>| match request {
            Ok(_) => written.next().unwrap_or_else(|| Err(Refusal::plain(Errno::EIO))),
            Err(refusal) => Err(refusal),
        };
        requests.into_iter().map(result).collect()
    }

    /// Writes one request.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn write_one(&mut self, request: Write) -> Result<(), Refusal> {
        self.write_batch(&[request]).pop().unwrap_or(Ok(()))
    }

    /// The kernel works through the messages of one datagram in order, without a break.
    fn write_batch(&mut self, batch: &[Write]) -> Vec<Result<(), Refusal>> {
        let requests: Vec<_> =
            batch.iter().map(|write| (write.message.clone(), write.flags | NLM_F_ACK)).collect();
        let mut results: Vec<Option<Result<(), Refusal>>> = vec![None; batch.len()];
        let mut missing = batch.len();
        let outcome = self.send(&requests).and_then(|first| {
            let last = first.wrapping_add(u32::try_from(batch.len()).unwrap_or(u32::MAX) - 1);
            while missing > 0 {
                for (sequence, reply) in self.read(first..=last)? {
                    let Reply::Finished(result) = reply else { continue };
                    let place = usize::try_from(sequence - first).unwrap_or(usize::MAX);
                    if let Some(slot @ None) = results.get_mut(place) {
                        *slot = Some(result);
                        missing -= 1;
                    }
                }
            }
            Ok(())
        });
        let lost = match outcome {
            Ok(()) => Refusal::plain(Errno::EIO),
            Err(refusal) => refusal,
        };
        results.into_iter().map(|result| result.unwrap_or_else(|| Err(lost.clone()))).collect()
    }

    /// Sends messages as one datagram; returns the sequence number of the first.
    fn send(&mut self, requests: &[(RouteNetlinkMessage, u16)]) -> Result<u32, Refusal> {
        // A batch must not straddle the wrap of the counter, or its numbers have no order.
        if self.sequence > u32::MAX / 2 {
            self.sequence = 0;
        }
        let first = self.sequence + 1;
        let mut bytes = Vec::new();
        for (message, flags) in requests {
            self.sequence += 1;
            let mut framed = NetlinkMessage::from(message.clone());
            framed.header.flags = flags | NLM_F_REQUEST;
            framed.header.sequence_number = self.sequence;
            framed.finalize();
            let start = bytes.len();
            bytes.resize(start + aligned(framed.buffer_len()), 0);
            framed.serialize(&mut bytes[start..start + framed.buffer_len()]);
        }
        self.socket.send_to(&bytes, &SocketAddr::new(0, 0), 0)?;
        Ok(first)
    }

    /// Reads one datagram of the kernel; keeps the messages that answer `wanted`.
    fn read(&mut self, wanted: RangeInclusive<u32>) -> Result<Vec<(u32, Reply)>, Refusal> {
        self.receive()?;
        let frames = frames(&self.buffer, wanted);
        Ok(frames.map(|(frame, bytes)| (frame.sequence_number(), Reply::read(bytes))).collect())
    }

    /// Receives one datagram; what does not come from the kernel is as if it were empty.
    fn receive(&mut self) -> Result<(), Refusal> {
        self.buffer.clear();
        let (length, sender) = self.socket.recv_from(&mut self.buffer, libc::MSG_TRUNC)?;
        if length > self.buffer.len() {
            return Err(Refusal::because(Errno::EMSGSIZE, "an answer outgrew the read buffer"));
        }
        if sender.port_number() != 0 {
            self.buffer.clear();
        }
        Ok(())
    }
}

/// Makes a socket that has no port yet.
fn prepared() -> Result<Socket, Refusal> {
    let socket = Socket::new(NETLINK_ROUTE)?;
    socket.set_cap_ack(true)?;
    socket.set_ext_ack(true)?;
    // Before Linux 4.20 dumps come unfiltered; every reader filters again.
    let _ = socket.set_netlink_get_strict_chk(true);
    let fd = socket.as_fd();
    let limit = TimeVal::seconds(ANSWER_SECONDS);
    setsockopt(&fd, sockopt::ReceiveTimeout, &limit).map_err(Refusal::plain)?;
    if setsockopt(&fd, sockopt::RcvBufForce, &BUFFER_BYTES).is_err() {
        setsockopt(&fd, sockopt::RcvBuf, &BUFFER_BYTES).map_err(Refusal::plain)?;
    }
    Ok(socket)
}

/// The messages of a datagram that answer `wanted`, with their headers.
fn frames(
    datagram: &[u8],
    wanted: RangeInclusive<u32>,
) -> impl Iterator<Item = (NetlinkBuffer<&[u8]>, &[u8])> {
    let mut rest = datagram;
    let all = std::iter::from_fn(move || {
        let frame = NetlinkBuffer::new_checked(rest).ok()?;
        let bytes = rest.get(..frame.length() as usize)?;
        rest = rest.get(aligned(bytes.len())..).unwrap_or_default();
        Some((frame, bytes))
    });
    all.filter(move |(frame, _)| wanted.contains(&frame.sequence_number()))
}

/// Whether a message is the last of an answer.
fn ends(frame: &NetlinkBuffer<&[u8]>) -> bool {
    matches!(frame.message_type(), NLMSG_DONE | NLMSG_ERROR | NLMSG_OVERRUN)
}

/// `NLMSG_ALIGN` in linux/netlink.h.
fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

/// Whether a refused dump means that there is nothing to dump.
fn is_nothing_there(errno: Errno) -> bool {
    matches!(errno, Errno::ENOENT | Errno::EAFNOSUPPORT | Errno::EOPNOTSUPP | Errno::ENODEV)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use netlink_packet_route::link::LinkMessage;

    use super::*;

    #[test]
    fn a_dump_that_broke_off_does_not_stand_in_the_way_of_the_next() {
        let mut channel = Channel::open().unwrap();
        let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
        channel.buffer = Vec::with_capacity(16);
        let broken = channel.dump(&request).unwrap_err();
        assert_eq!(broken.errno, Errno::EMSGSIZE);
        let mut waiting = 0_u8;
        let fd = channel.socket.as_raw_fd();
        let left = nix::sys::socket::recv(
            fd,
            std::slice::from_mut(&mut waiting),
            nix::sys::socket::MsgFlags::MSG_DONTWAIT | nix::sys::socket::MsgFlags::MSG_PEEK,
        );
        assert_eq!(left, Err(Errno::EAGAIN), "nothing of the broken one is left");
        let port =
            nix::sys::socket::getsockname::<nix::sys::socket::NetlinkAddr>(fd).unwrap().pid();
        assert_eq!(port, channel.port(), "its changes are still known as its own");
        channel.buffer = Vec::with_capacity(READ_BYTES);
        assert!(channel.dump(&request).is_ok());
    }
}
