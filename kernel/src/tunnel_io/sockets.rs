//! Owns the UDP sockets of a device: one per family on one port, with buffers, mark, packet info,
//! ECN and GRO set. Owns neither what is sent nor which offload is wanted.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{
    Ipv4PacketInfo, Ipv6RecvPacketInfo, RcvBufForce, SndBufForce, UdpGroSegment,
};
use socket2::{Domain, Protocol, Socket, Type};

use super::datagram::dropped;
use super::offload::{Fuse, Offloads, Trains};

/// Receive buffer of one socket in bytes as asked for; the kernel allows itself twice that. With the
/// send buffers, the queues of both families come to 4 MiB at most.
const RECEIVE_LEN: usize = 768 << 10;
/// Send buffer of one socket; its owner waits for room, so that more of it would only add delay.
const SEND_LEN: usize = 256 << 10;
/// How often a port picked for one family may turn out to be taken in the other.
const PICKS: usize = 100;

/// One socket, and whether it still takes trains.
pub struct Outer {
    socket: Socket,
    gso: Fuse,
}

impl Outer {
    /// Whether UDP_SEGMENT may be used.
    #[must_use]
    pub const fn gso(&self) -> &Fuse {
        &self.gso
    }
}

impl AsFd for Outer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The sockets of one port.
pub struct Sockets {
    v4: Option<Outer>,
    v6: Option<Outer>,
    port: u16,
}

impl Sockets {
    /// Binds a port on every family this host has; 0 picks a free one.
    ///
    /// # Errors
    /// `AddrInUse` if the port is taken in either family; what the kernel says otherwise.
    pub fn bind(port: u16, mark: u32, offloads: Offloads) -> io::Result<Self> {
        for _ in 0..PICKS {
            match Self::bind_once(port, mark, offloads) {
                Err(error) if port == 0 && error.kind() == io::ErrorKind::AddrInUse => {}
                result => return result,
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }

    fn bind_once(port: u16, mark: u32, offloads: Offloads) -> io::Result<Self> {
        let v4 = absent(open(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), mark, offloads))?;
        let port = match &v4 {
            Some(outer) => bound_port(outer)?,
            None => port,
        };
        let v6 = absent(open(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)), mark, offloads))?;
        let port = match (&v4, &v6) {
            (None, None) => return Err(io::ErrorKind::Unsupported.into()),
            (None, Some(outer)) => bound_port(outer)?,
            _ => port,
        };
        Ok(Self { v4, v6, port })
    }

    /// The port both families have.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Marks what is sent from now on; 0 unmarks it.
    ///
    /// # Errors
    /// What the kernel says; CAP_NET_ADMIN is needed.
    pub fn set_mark(&self, mark: u32) -> io::Result<()> {
        self.each().try_for_each(|outer| outer.socket.set_mark(mark))
    }

    /// The socket for packets to an address.
    #[must_use]
    pub const fn towards(&self, address: SocketAddr) -> Option<&Outer> {
        match address {
            SocketAddr::V4(_) => self.v4.as_ref(),
            SocketAddr::V6(_) => self.v6.as_ref(),
        }
    }

    /// Datagrams that found a queue full.
    #[must_use]
    pub fn overrun(&self) -> u64 {
        self.each().map(|outer| dropped(outer.as_fd()).unwrap_or_default()).sum()
    }

    /// All sockets there are.
    pub fn each(&self) -> impl Iterator<Item = &Outer> {
        self.v4.iter().chain(&self.v6)
    }
}

fn open(address: SocketAddr, mark: u32, offloads: Offloads) -> io::Result<Outer> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    match address {
        SocketAddr::V4(_) => {
            setsockopt(&socket, Ipv4PacketInfo, &true)?;
            socket.set_recv_tos_v4(true)?;
        }
        SocketAddr::V6(_) => {
            socket.set_only_v6(true)?;
            setsockopt(&socket, Ipv6RecvPacketInfo, &true)?;
            socket.set_recv_tclass_v6(true)?;
        }
    }
    if mark != 0 {
        socket.set_mark(mark)?;
    }
    // Beyond the host's limits only with CAP_NET_ADMIN; smaller buffers work, they drop sooner.
    if setsockopt(&socket, RcvBufForce, &RECEIVE_LEN).is_err() {
        socket.set_recv_buffer_size(RECEIVE_LEN)?;
    }
    if setsockopt(&socket, SndBufForce, &SEND_LEN).is_err() {
        socket.set_send_buffer_size(SEND_LEN)?;
    }
    if offloads.gro {
        // Kernels without UDP_GRO hand over one datagram at a time, which is handled as well.
        let _ = setsockopt(&socket, UdpGroSegment, &true);
    }
    socket.bind(&address.into())?;
    Ok(Outer { socket, gso: Fuse::new(offloads.gso != Trains::No) })
}

/// A family that this host does not have is no error.
fn absent(result: io::Result<Outer>) -> io::Result<Option<Outer>> {
    match result {
        Ok(outer) => Ok(Some(outer)),
        Err(error) => match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL) => Ok(None),
            _ => Err(error),
        },
    }
}

fn bound_port(outer: &Outer) -> io::Result<u16> {
    let address = outer.socket.local_addr()?;
    address.as_socket().map(|address| address.port()).ok_or_else(|| io::ErrorKind::Other.into())
}
