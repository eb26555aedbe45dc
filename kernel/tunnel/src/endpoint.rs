//! Owns where a peer is reached: its address, and the local address to answer from.

use std::net::{IpAddr, SocketAddr};

/// The outer addresses of one lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The peer's address and UDP port.
    pub remote: SocketAddr,
    /// The address the peer last sent to, kept as the source of what we send ("sticky"), or `None`
    /// for the kernel's choice.
    pub local: Option<IpAddr>,
}

impl Endpoint {
    /// An endpoint that was configured, not learned.
    #[must_use]
    pub const fn configured(remote: SocketAddr) -> Self {
        Self { remote, local: None }
    }
}

/// A small message for the wire: handshake, keepalive, or a packet that had waited for a session.
pub struct Outgoing {
    /// Where it goes.
    pub to: Endpoint,
    /// The whole UDP payload.
    pub datagram: Vec<u8>,
}
