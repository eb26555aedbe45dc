//! Owns the making of probe sockets: bound to a link, never fragmenting. Does not read or write.
#![expect(unsafe_code, reason = "no safe binding offers IP_MTU_DISCOVER")]

use std::ffi::c_int;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use sealane_state::name::LinkName;
use socket2::{Domain, Protocol, Socket, Type};

/// Opens a non-blocking UDP socket on `link` (or on any, without one), bound to `local`.
///
/// Datagrams leave whole or not at all, whatever the host believes of the path's MTU: that is what
/// a path MTU search measures (RFC 8899 section 4.1).
///
/// # Errors
/// Those of the system: `ENODEV` without such a link, `EADDRNOTAVAIL` without such an address.
pub fn open(link: Option<&LinkName>, local: SocketAddr) -> io::Result<UdpSocket> {
    let kind = Type::DGRAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(local), kind, Some(Protocol::UDP))?;
    match local.ip() {
        IpAddr::V4(_) => {
            set(&socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE)?;
        }
        IpAddr::V6(_) => {
            socket.set_only_v6(true)?;
            set(&socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_PROBE)?;
        }
    }
    socket.bind_device(link.map(|link| link.as_str().as_bytes()))?;
    socket.bind(&local.into())?;
    Ok(socket.into())
}

fn set(socket: &Socket, level: c_int, option: c_int, value: c_int) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<c_int>()).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open for the life of `socket`, and the pointer and length describe
    // `value`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), length)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
