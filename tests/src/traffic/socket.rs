//! Owns how the traffic programs open UDP sockets: with room for what a busy machine reads late.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

/// About a second of small packets at 10,000 a second, as the kernel accounts for them.
const BUFFER: usize = 8 << 20;

/// A UDP socket bound to `address`; one bound to `[::]` also takes IPv4.
///
/// # Errors
/// The address is in use or not this host's.
pub fn udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    widen(&socket)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Makes the receive buffer large: past the machine's limit where allowed (root), else up to it.
///
/// # Errors
/// The kernel refuses even that.
pub fn widen(socket: &Socket) -> io::Result<()> {
    match setsockopt(socket, sockopt::RcvBufForce, &BUFFER) {
        Ok(()) => Ok(()),
        Err(_) => socket.set_recv_buffer_size(BUFFER),
    }
}
