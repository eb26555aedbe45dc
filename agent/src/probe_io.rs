//! Owns the UDP sockets that probes cross: one per link and source address, opened again when the
//! link was made anew. Does not read what is in a datagram; those of strangers, those that no link of
//! ours could have carried whole, and those of one sender beyond its measure go no further than here.

mod door;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use sealane_kernel::probe_socket;
use sealane_state::name::LinkName;
use socket2::SockRef;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::event::{Datagram, Event};
use crate::gossip::desk::Desk;
use door::Door;

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
    desk: Desk,
    open: BTreeMap<Way, Open>,
}

struct Open {
    socket: Arc<UdpSocket>,
    /// Largest datagram that is read, in bytes.
    largest: Arc<AtomicUsize>,
    reader: JoinHandle<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl ProbeSockets {
    /// Starts with no socket; datagrams of those whom the desk serves will be told as events.
    pub fn new(events: mpsc::Sender<Event>, desk: Desk) -> Self {
        Self { events, desk, open: BTreeMap::new() }
    }

    /// Opens the ways that are missing and closes those not listed; a way that cannot be opened
    /// yet is tried again by the next call. `mtu_of` is the MTU of a way's link, in bytes.
    pub fn retain(&mut self, ways: &[Way], mtu_of: impl Fn(&Way) -> usize) {
        self.open.retain(|way, open| ways.contains(way) && !open.reader.is_finished());
        for (way, open) in &self.open {
            open.largest.store(mtu_of(way), Ordering::Relaxed);
        }
        for way in ways {
            if self.open.contains_key(way) {
                continue;
            }
            match self.open_one(way, mtu_of(way)) {
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

    fn open_one(&self, way: &Way, mtu: usize) -> io::Result<Open> {
        let socket = Arc::new(bind(way)?);
        let largest = Arc::new(AtomicUsize::new(mtu));
        let reader = Reader {
            socket: socket.clone(),
            way: way.clone(),
            largest: largest.clone(),
            desk: self.desk.clone(),
            door: Door::default(),
            events: self.events.clone(),
        };
        Ok(Open { socket, largest, reader: tokio::spawn(reader.read()) })
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

/// Senders are counted until this many are known, and then only those who may still send.
const SENDERS: usize = 4096;

struct Reader {
    socket: Arc<UdpSocket>,
    way: Way,
    largest: Arc<AtomicUsize>,
    desk: Desk,
    door: Door,
    events: mpsc::Sender<Event>,
}

impl Reader {
    async fn read(mut self) {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            match self.socket.recv_from(&mut buffer).await {
                Ok((length, from)) if self.admits(from.ip(), length) => {
                    let bytes = buffer[..length].to_vec();
                    let datagram = Datagram { way: self.way.clone(), from, bytes };
                    if self.events.send(Event::Datagram(datagram)).await.is_err() {
                        return;
                    }
                }
                Ok((length, from)) => tracing::trace!(%from, length, "datagram not taken"),
                // The link went away; whoever retains the sockets opens this one again.
                Err(error) if error.raw_os_error() == Some(nix::libc::ENODEV) => return,
                // Errors of earlier sends are reported here too, and mean nothing.
                Err(error) => {
                    tracing::trace!(link = ?self.way.link, %error, "probe socket");
                }
            }
        }
    }

    /// What is queued waits beside everything else that wakes the agent, so it is little and of peers.
    fn admits(&mut self, from: IpAddr, length: usize) -> bool {
        if length > self.largest.load(Ordering::Relaxed) || !self.desk.serves(from) {
            return false;
        }
        if self.door.senders() > SENDERS {
            self.door.retain(|known| self.desk.serves(known));
        }
        self.door.admits(from, Instant::now())
    }
}
