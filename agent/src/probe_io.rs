//! Owns the UDP sockets that probes cross: one per link and source address, opened again when the
//! link was made anew. Does not read what is in a datagram.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::sync::Arc;

use sealane_kernel::probe_socket;
use sealane_state::name::LinkName;
use socket2::SockRef;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::event::{Datagram, Event};

/// UDP port of probes, inside lanes and on legs.
pub const PORT: u16 = 5183;
/// Larger than any probe: those are as large as the path lets through.
const BUFFER_BYTES: usize = 65_536;

/// A way that probes take.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Way {
    /// Link that probes leave and enter by; `None` where routing decides.
    pub link: Option<LinkName>,
    /// Index of the link, 0 without one; a link made anew has another.
    pub index: u32,
    /// Own address on it.
    pub source: IpAddr,
}

/// What became of a datagram on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// It left.
    Away,
    /// The link is too small for it.
    TooLarge,
    /// It did not leave; the next one may.
    Lost,
}

/// All open sockets.
pub struct ProbeSockets {
    events: mpsc::Sender<Event>,
    open: BTreeMap<Way, Open>,
}

struct Open {
    socket: Arc<UdpSocket>,
    reader: JoinHandle<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl ProbeSockets {
    /// Starts with no socket; datagrams will be told as events.
    pub fn new(events: mpsc::Sender<Event>) -> Self {
        Self { events, open: BTreeMap::new() }
    }

    /// Opens the ways that are missing and closes those not listed; a way that cannot be opened
    /// yet is tried again by the next call.
    pub fn retain(&mut self, ways: &[Way]) {
        self.open.retain(|way, open| ways.contains(way) && !open.reader.is_finished());
        for way in ways {
            if self.open.contains_key(way) {
                continue;
            }
            match self.open_one(way) {
                Ok(open) => drop(self.open.insert(way.clone(), open)),
                Err(error) => tracing::debug!(link = ?way.link, source = %way.source, %error,
                    "probe socket not open yet"),
            }
        }
    }

    /// Sends a datagram by a way; what cannot be sent counts as lost.
    pub fn send(&self, way: &Way, to: IpAddr, bytes: &[u8]) -> Sent {
        let Some(open) = self.open.get(way) else { return Sent::Lost };
        // Past the runtime, which would first wait to be told that a new socket can be written to.
        let socket = SockRef::from(&*open.socket);
        match socket.send_to(bytes, &destination(way, to).into()) {
            Ok(_) => Sent::Away,
            Err(error) if error.raw_os_error() == Some(nix::libc::EMSGSIZE) => Sent::TooLarge,
            Err(error) => {
                tracing::trace!(%to, %error, "probe not sent");
                Sent::Lost
            }
        }
    }

    fn open_one(&self, way: &Way) -> io::Result<Open> {
        let socket = Arc::new(bind(way)?);
        let reader = tokio::spawn(read(socket.clone(), way.clone(), self.events.clone()));
        Ok(Open { socket, reader })
    }
}

/// Returns the socket address of `to` on a way, with the scope that link-local addresses need.
pub fn destination(way: &Way, to: IpAddr) -> SocketAddr {
    match to {
        IpAddr::V4(address) => SocketAddr::V4(SocketAddrV4::new(address, PORT)),
        IpAddr::V6(address) => {
            let scope = if address.is_unicast_link_local() { way.index } else { 0 };
            SocketAddr::V6(SocketAddrV6::new(address, PORT, 0, scope))
        }
    }
}

fn bind(way: &Way) -> io::Result<UdpSocket> {
    UdpSocket::from_std(probe_socket::open(way.link.as_ref(), destination(way, way.source))?)
}

async fn read(socket: Arc<UdpSocket>, way: Way, events: mpsc::Sender<Event>) {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((length, from)) => {
                let bytes = buffer[..length].to_vec();
                let datagram = Datagram { way: way.clone(), from, bytes };
                if events.send(Event::Datagram(datagram)).await.is_err() {
                    return;
                }
            }
            // The link went away; whoever retains the sockets opens this one again.
            Err(error) if error.raw_os_error() == Some(nix::libc::ENODEV) => return,
            // Errors of earlier sends are reported here too, and mean nothing.
            Err(error) => {
                tracing::trace!(link = ?way.link, %error, "probe socket");
            }
        }
    }
}
