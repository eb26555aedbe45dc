//! Owns the system calls of the outer side: `sendmmsg` and `recvmmsg` with their control messages
//! for UDP_SEGMENT, UDP_GRO, source addresses and ECN, and the count of what the kernel dropped.
//! Decides nothing.
#![expect(unsafe_code, reason = "no safe wrapper takes UDP_SEGMENT, packet info and ECN together")]

use std::ffi::{c_int, c_void};
use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use sealane_tunnel::endpoint::Endpoint;
use socket2::SockAddr;

/// Messages in one `sendmmsg`.
pub const SEND_BATCH: usize = 16;
/// Messages in one `recvmmsg`.
pub const RECEIVE_BATCH: usize = 8;
/// Room for one message: the most that UDP_GRO joins.
pub const MESSAGE_LEN: usize = 65_536;
/// Room for all control messages of one message, in units that keep it aligned: packet info of
/// IPv6 (40 bytes with header), class (24), segment size (24), and some to spare.
const CONTROL_WORDS: usize = 16;
/// `SK_MEMINFO_VARS` and `SK_MEMINFO_DROPS` of `linux/sock_diag.h`.
const MEMORY_COUNTERS: usize = 9;
const DROPPED: usize = 8;

/// One message to send: a datagram, or a train of them.
#[derive(Clone, Copy)]
pub struct Departure<'a> {
    /// Where to, and from which of our addresses.
    pub to: Endpoint,
    /// The datagrams, one behind the other.
    pub bytes: &'a [u8],
    /// The length of each but the last; 0 if it is one datagram.
    pub segment: u16,
    /// The two ECN bits.
    pub ecn: u8,
}

/// Whether a send waits for room in the socket's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// It waits.
    Wait,
    /// It fails with `EAGAIN`.
    Now,
}

/// Sends up to [`SEND_BATCH`] messages of one family; tells how many went.
///
/// # Errors
/// What the first message met, if none went.
pub fn send(
    socket: BorrowedFd<'_>,
    departures: &[Departure<'_>],
    patience: Patience,
) -> Result<usize, Errno> {
    let departures = &departures[..departures.len().min(SEND_BATCH)];
    let addresses: [SockAddr; SEND_BATCH] = std::array::from_fn(|at| {
        let unused = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        SockAddr::from(departures.get(at).map_or(unused, |departure| departure.to.remote))
    });
    let slices: [IoSlice<'_>; SEND_BATCH] = std::array::from_fn(|at| {
        IoSlice::new(departures.get(at).map_or(&[], |departure| departure.bytes))
    });
    let mut controls = [[0_u64; CONTROL_WORDS]; SEND_BATCH];
    // SAFETY: mmsghdr is plain data; all zeros are a valid value.
    let mut headers: [libc::mmsghdr; SEND_BATCH] = unsafe { std::mem::zeroed() };
    for (at, departure) in departures.iter().enumerate() {
        let header = &mut headers[at].msg_hdr;
        header.msg_name = addresses[at].as_ptr().cast::<c_void>().cast_mut();
        header.msg_namelen = addresses[at].len();
        // IoSlice is promised to have the layout of iovec; sendmmsg does not write through it.
        header.msg_iov = (&raw const slices[at]).cast::<libc::iovec>().cast_mut();
        header.msg_iovlen = 1;
        write_control(header, &mut controls[at], departure);
    }
    let flags = if patience == Patience::Now { libc::MSG_DONTWAIT } else { 0 };
    let count = departures.len() as libc::c_uint;
    // SAFETY: the first `count` headers point to addresses, slices and control buffers that live
    // until the end of this function, with the lengths given.
    let sent =
        unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count, flags as _) };
    Errno::result(sent).map(|sent| sent as usize)
}

fn write_control(
    header: &mut libc::msghdr,
    control: &mut [u64; CONTROL_WORDS],
    departure: &Departure<'_>,
) {
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(control) as _;
    let mut writer = ControlWriter { header, used: 0 };
    match departure.to.local {
        Some(IpAddr::V4(address)) => {
            let source = libc::in_addr { s_addr: u32::from_ne_bytes(address.octets()) };
            let any = libc::in_addr { s_addr: 0 };
            let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: source, ipi_addr: any };
            writer.push(libc::IPPROTO_IP, libc::IP_PKTINFO, info);
        }
        Some(IpAddr::V6(address)) => {
            let source = libc::in6_addr { s6_addr: address.octets() };
            let info = libc::in6_pktinfo { ipi6_addr: source, ipi6_ifindex: 0 };
            writer.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
        }
        None => {}
    }
    if departure.ecn != 0 {
        let ecn = c_int::from(departure.ecn);
        match departure.to.remote {
            SocketAddr::V4(_) => writer.push(libc::IPPROTO_IP, libc::IP_TOS, ecn),
            SocketAddr::V6(_) => writer.push(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, ecn),
        }
    }
    if departure.segment != 0 {
        writer.push(libc::SOL_UDP, libc::UDP_SEGMENT, departure.segment);
    }
    let used = writer.used;
    header.msg_controllen = used as _;
    if used == 0 {
        header.msg_control = std::ptr::null_mut();
    }
}

/// Appends control messages to a header whose buffer has room for all that are written here.
struct ControlWriter<'a> {
    header: &'a libc::msghdr,
    used: usize,
}

impl ControlWriter<'_> {
    fn push<T: Copy>(&mut self, level: c_int, kind: c_int, value: T) {
        // SAFETY: CMSG_SPACE and CMSG_LEN only compute.
        let (space, len) =
            unsafe { (libc::CMSG_SPACE(size_of::<T>() as _), libc::CMSG_LEN(size_of::<T>() as _)) };
        assert!(self.used + space as usize <= CONTROL_WORDS * 8, "control buffer too short");
        // SAFETY: the buffer is aligned to 8 bytes as cmsghdr wants, `used` is a sum of
        // CMSG_SPACEs and so keeps that, and the assertion leaves room for header and value.
        unsafe {
            let at = self.header.msg_control.cast::<u8>().add(self.used).cast::<libc::cmsghdr>();
            (*at).cmsg_level = level;
            (*at).cmsg_type = kind;
            (*at).cmsg_len = len as _;
            libc::CMSG_DATA(at).cast::<T>().write_unaligned(value);
        }
        self.used += space as usize;
    }
}

/// How many datagrams the kernel threw away at a socket, most often because its queue was full.
///
/// # Errors
/// The kernel does not tell.
pub fn dropped(socket: BorrowedFd<'_>) -> Result<u64, Errno> {
    let mut counters = [0_u32; MEMORY_COUNTERS];
    let mut len = size_of_val(&counters) as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes, which is the length of `counters`.
    let told = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            counters.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    Errno::result(told)?;
    Ok(counters[DROPPED].into())
}

/// One message that was received: a datagram, or several of one length joined by UDP_GRO.
pub struct Arrival<'a> {
    /// From where, and to which of our addresses.
    pub from: Endpoint,
    /// The datagrams, one behind the other.
    pub bytes: &'a [u8],
    /// The length of each but the last.
    pub segment: usize,
    /// The two ECN bits.
    pub ecn: u8,
}

/// Buffers for [`RECEIVE_BATCH`] messages.
pub struct Receiver {
    buffers: Box<[u8]>,
    lengths: [usize; RECEIVE_BATCH],
    names: [libc::sockaddr_storage; RECEIVE_BATCH],
    name_lengths: [libc::socklen_t; RECEIVE_BATCH],
    controls: [[u64; CONTROL_WORDS]; RECEIVE_BATCH],
    control_lengths: [usize; RECEIVE_BATCH],
    flags: [c_int; RECEIVE_BATCH],
}

impl Default for Receiver {
    fn default() -> Self {
        Self {
            buffers: vec![0; RECEIVE_BATCH * MESSAGE_LEN].into_boxed_slice(),
            lengths: [0; RECEIVE_BATCH],
            // SAFETY: sockaddr_storage is plain data; all zeros are a valid value.
            names: unsafe { std::mem::zeroed() },
            name_lengths: [0; RECEIVE_BATCH],
            controls: [[0; CONTROL_WORDS]; RECEIVE_BATCH],
            control_lengths: [0; RECEIVE_BATCH],
            flags: [0; RECEIVE_BATCH],
        }
    }
}

impl Receiver {
    /// Receives what there is, without waiting; tells how many messages.
    ///
    /// # Errors
    /// `EAGAIN` if there is nothing.
    pub fn receive(&mut self, socket: BorrowedFd<'_>) -> Result<usize, Errno> {
        // SAFETY: mmsghdr and iovec are plain data; all zeros are a valid value.
        let mut headers: [libc::mmsghdr; RECEIVE_BATCH] = unsafe { std::mem::zeroed() };
        // SAFETY: as above.
        let mut slices: [libc::iovec; RECEIVE_BATCH] = unsafe { std::mem::zeroed() };
        for (at, buffer) in self.buffers.chunks_exact_mut(MESSAGE_LEN).enumerate() {
            slices[at].iov_base = buffer.as_mut_ptr().cast();
            slices[at].iov_len = buffer.len();
            let header = &mut headers[at].msg_hdr;
            header.msg_name = (&raw mut self.names[at]).cast();
            header.msg_namelen = size_of::<libc::sockaddr_storage>() as _;
            header.msg_iov = &raw mut slices[at];
            header.msg_iovlen = 1;
            header.msg_control = self.controls[at].as_mut_ptr().cast();
            header.msg_controllen = size_of_val(&self.controls[at]) as _;
        }
        // SAFETY: every header points to a buffer, a slice, a name and a control buffer of `self`
        // or of this function, which outlive the call, with the lengths given.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                RECEIVE_BATCH as _,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        let count = Errno::result(count)? as usize;
        for (at, header) in headers.iter().enumerate().take(count) {
            self.lengths[at] = (header.msg_len as usize).min(MESSAGE_LEN);
            self.name_lengths[at] = header.msg_hdr.msg_namelen;
            self.control_lengths[at] = header.msg_hdr.msg_controllen as _;
            self.flags[at] = header.msg_hdr.msg_flags;
        }
        Ok(count)
    }

    /// The message at a place below the last count, or `None` if it is not whole or has no sender.
    pub fn arrival(&mut self, at: usize) -> Option<Arrival<'_>> {
        if self.flags[at] & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0 {
            return None;
        }
        // SAFETY: the kernel wrote a socket address of this length into the storage.
        let name = unsafe { SockAddr::new(storage(&self.names[at]), self.name_lengths[at]) };
        let remote = name.as_socket()?;
        let notes = self.notes(at);
        let bytes = &self.buffers[at * MESSAGE_LEN..][..self.lengths[at]];
        let segment = if notes.segment == 0 { bytes.len() } else { notes.segment };
        let from = Endpoint { remote, local: notes.local };
        Some(Arrival { from, bytes, segment, ecn: notes.ecn })
    }

    fn notes(&mut self, at: usize) -> Notes {
        let mut notes = Notes::default();
        // SAFETY: msghdr is plain data; all zeros are a valid value.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_control = self.controls[at].as_mut_ptr().cast();
        header.msg_controllen = self.control_lengths[at] as _;
        // SAFETY: the control buffer holds what the kernel wrote, in the length it told, and the
        // CMSG functions stay within that.
        unsafe {
            let mut message = libc::CMSG_FIRSTHDR(&raw const header);
            while !message.is_null() {
                notes.read(&*message);
                message = libc::CMSG_NXTHDR(&raw const header, message);
            }
        }
        notes
    }
}

/// What the kernel notes beside a message.
#[derive(Default)]
struct Notes {
    local: Option<IpAddr>,
    segment: usize,
    ecn: u8,
}

impl Notes {
    fn read(&mut self, message: &libc::cmsghdr) {
        match (message.cmsg_level, message.cmsg_type) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                if let Some(info) = value::<libc::in_pktinfo>(message) {
                    let address = Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes());
                    self.local = (!address.is_unspecified()).then_some(address.into());
                }
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                if let Some(info) = value::<libc::in6_pktinfo>(message) {
                    let address = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                    let usable = !address.is_unspecified() && !address.is_multicast();
                    self.local = usable.then_some(address.into());
                }
            }
            (libc::IPPROTO_IP, libc::IP_TOS) => {
                self.ecn = value::<u8>(message).unwrap_or(0) & 3;
            }
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                self.ecn = (value::<c_int>(message).unwrap_or(0) & 3) as u8;
            }
            (libc::SOL_UDP, libc::UDP_GRO) => {
                let segment = value::<c_int>(message).unwrap_or(0);
                self.segment = usize::try_from(segment).unwrap_or(0);
            }
            _ => {}
        }
    }
}

/// The value of a control message, if it is long enough for one of this type.
fn value<T: Copy>(message: &libc::cmsghdr) -> Option<T> {
    // SAFETY: CMSG_LEN only computes.
    let wanted = unsafe { libc::CMSG_LEN(size_of::<T>() as _) };
    if message.cmsg_len < wanted as _ {
        return None;
    }
    // SAFETY: the message is one of a buffer the kernel filled, and its data is at least as long
    // as T, which is plain data for every T used here.
    Some(unsafe { libc::CMSG_DATA(message).cast::<T>().read_unaligned() })
}

/// The storage in the type that socket2 wants.
fn storage(name: &libc::sockaddr_storage) -> socket2::SockAddrStorage {
    // SAFETY: both are the platform's `struct sockaddr_storage`.
    unsafe { std::mem::transmute_copy(name) }
}
