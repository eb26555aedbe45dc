//! Owns the relay's sockets: takes what the router's tproxy rules divert, sends it on from the
//! address it came from. Needs those rules and routes; `lab::impair::relay` sets them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use nix::cmsg_space;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrIn6, SockaddrStorage, recvmsg, setsockopt,
    sockopt,
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::traffic::relay::fate::{Fates, Impairment};
use crate::traffic::relay::schedule::Schedule;
use crate::traffic::socket::widen;

/// One direction: where its packets are diverted to, and what becomes of them.
#[derive(Debug, Clone, Copy)]
pub struct Direction {
    /// The port that tproxy diverts to, on both families.
    pub port: u16,
    /// Decides the fates.
    pub seed: u64,
    /// What happens.
    pub impairment: Impairment,
}

#[derive(Debug)]
struct Packet {
    from: SocketAddr,
    to: SocketAddr,
    payload: Vec<u8>,
}

/// Relays until killed.
///
/// # Errors
/// A socket refused: transparent ones need the rights of the namespace's owner.
pub fn run(directions: [Direction; 2]) -> io::Result<()> {
    let schedule = Arc::new(Schedule::new());
    for direction in directions {
        for domain in [Domain::IPV4, Domain::IPV6] {
            let socket = diverted(domain, direction.port)?;
            let schedule = Arc::clone(&schedule);
            let mut fates = Fates::new(direction.seed, direction.impairment);
            thread::spawn(move || {
                loop {
                    match receive(&socket) {
                        Ok(packet) => deal(packet, &mut fates, &schedule),
                        Err(error) => eprintln!("receive: {error}"),
                    }
                }
            });
        }
    }
    println!("listening on {} and {}", directions[0].port, directions[1].port);
    let mut senders = BTreeMap::new();
    loop {
        let packet = schedule.pop();
        // As a router: what the next link refuses is gone.
        if let Err(error) = forward(&packet, &mut senders) {
            eprintln!("{} to {}: {error}", packet.from, packet.to);
        }
    }
}

fn deal(packet: Packet, fates: &mut Fates, schedule: &Schedule<Packet>) {
    let fate = fates.next_fate();
    let due = Instant::now() + fate.after;
    for _ in 1..fate.copies {
        let Packet { from, to, ref payload } = packet;
        schedule.push(due, Packet { from, to, payload: payload.clone() });
    }
    if fate.copies > 0 {
        schedule.push(due, packet);
    }
}

/// Takes packets to any address, and is told which.
fn diverted(domain: Domain, port: u16) -> io::Result<Socket> {
    let socket = transparent(domain)?;
    let address: SocketAddr = if domain == Domain::IPV4 {
        setsockopt(&socket, sockopt::Ipv4OrigDstAddr, &true)?;
        (Ipv4Addr::UNSPECIFIED, port).into()
    } else {
        setsockopt(&socket, sockopt::Ipv6OrigDstAddr, &true)?;
        (Ipv6Addr::UNSPECIFIED, port).into()
    };
    widen(&socket)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn transparent(domain: Domain) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    if domain == Domain::IPV4 {
        socket.set_ip_transparent_v4(true)?;
    } else {
        socket.set_only_v6(true)?;
        socket.set_ip_transparent_v6(true)?;
    }
    Ok(socket)
}

fn receive(socket: &Socket) -> io::Result<Packet> {
    let mut payload = vec![0; 65_536];
    let mut control = cmsg_space!(nix::libc::sockaddr_in6);
    let mut buffers = [IoSliceMut::new(&mut payload)];
    let flags = MsgFlags::empty();
    let message =
        recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut buffers, Some(&mut control), flags)?;
    let from =
        message.address.as_ref().and_then(socket_address).ok_or_else(|| lacks("a source"))?;
    let to = message.cmsgs()?.find_map(destination).ok_or_else(|| lacks("a destination"))?;
    let length = message.bytes;
    payload.truncate(length);
    Ok(Packet { from, to, payload })
}

fn lacks(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("datagram without {what}"))
}

fn socket_address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = storage.as_sockaddr_in().map(|a| SocketAddrV4::from(*a).into());
    v4.or_else(|| storage.as_sockaddr_in6().map(|a| SocketAddrV6::from(*a).into()))
}

fn destination(message: ControlMessageOwned) -> Option<SocketAddr> {
    match message {
        ControlMessageOwned::Ipv4OrigDstAddr(to) => {
            Some(SocketAddrV4::from(SockaddrIn::from(to)).into())
        }
        ControlMessageOwned::Ipv6OrigDstAddr(to) => {
            Some(SocketAddrV6::from(SockaddrIn6::from(to)).into())
        }
        _ => None,
    }
}

/// From the packet's own source, by a socket kept for it.
fn forward(packet: &Packet, senders: &mut BTreeMap<SocketAddr, UdpSocket>) -> io::Result<()> {
    let sender = match senders.entry(packet.from) {
        Entry::Occupied(known) => known.into_mut(),
        Entry::Vacant(new) => {
            let socket = transparent(Domain::for_address(packet.from))?;
            socket.bind(&packet.from.into())?;
            new.insert(socket.into())
        }
    };
    sender.send_to(&packet.payload, packet.to).map(drop)
}
