//! Owns the sending of one UDP datagram of any bytes, from any address of the host, to anyone:
//! what a hostile program without privileges can do.

use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::traffic::socket;

/// Sends `payload` from `from`, a multicast group or broadcast address included.
///
/// # Errors
/// `from` is not an address of this host, there is no way to `to`, or not all bytes went.
pub fn send(from: IpAddr, to: SocketAddr, payload: &[u8]) -> io::Result<()> {
    let socket = socket::udp(SocketAddr::new(from, 0))?;
    if to.is_ipv4() {
        socket.set_broadcast(true)?;
    }
    match socket.send_to(payload, to)? {
        sent if sent == payload.len() => Ok(()),
        sent => Err(io::Error::other(format!("{sent} of {} bytes sent", payload.len()))),
    }
}

/// The bytes of a string of hexadecimal digits.
///
/// # Errors
/// What is wrong with it.
pub fn bytes(hex: &str) -> Result<Vec<u8>, String> {
    let digits: Option<Vec<u32>> = hex.chars().map(|digit| digit.to_digit(16)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0);
    let digits = digits.ok_or("an even number of hexadecimal digits is needed")?;
    let byte = |pair: &[u32]| u8::try_from(pair[0] << 4 | pair[1]).unwrap_or_default();
    Ok(digits.chunks_exact(2).map(byte).collect())
}

/// The same, the other way round.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
