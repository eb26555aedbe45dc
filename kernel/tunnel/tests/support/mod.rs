//! Two devices in memory: configuration by UAPI text, datagrams as values, time by hand.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use sealane_tunnel::device::{Device, LinkState};
use sealane_tunnel::endpoint::{Endpoint, Outgoing};
use sealane_tunnel::key::{PrivateKey, PublicKey};
use sealane_tunnel::lane::SessionNews;
use sealane_tunnel::noise::{Identity, Sealed};
use sealane_tunnel::refusal::Refusal;
use sealane_tunnel::uapi::{self, Request};
use sealane_tunnel::uptime::Uptime;
use sealane_tunnel::wire::{self, Message};
use sealane_tunnel::{inet, padding};
use zeroize::Zeroizing;

pub const MTU: usize = 1420;

/// A device, where it is, and what came out of it.
pub struct Host {
    pub device: Device,
    pub address: SocketAddr,
    pub public: PublicKey,
    pub now: Uptime,
    pub inbox: Vec<Vec<u8>>,
    pub refusals: Vec<Refusal>,
}

impl Host {
    pub fn new(number: u8, address: &str) -> Self {
        let private = PrivateKey::new(Zeroizing::new([number; 32])).unwrap();
        let public = Identity::new(&private).public();
        let mut host = Self {
            device: Device::new(Zeroizing::new([number ^ 0xa5; 32])),
            address: address.parse().unwrap(),
            public,
            now: Uptime::new(Duration::from_secs(1)),
            inbox: Vec::new(),
            refusals: Vec::new(),
        };
        host.device.set_link(LinkState::Up);
        host.set(&format!("private_key={}\n", *private.expose_hex()));
        host
    }

    pub fn set(&mut self, text: &str) -> Vec<Outgoing> {
        let Request::Set(change) = uapi::parse(&format!("set=1\n{text}\n")).unwrap() else {
            panic!("not a set")
        };
        let mut out = Vec::new();
        self.device.configure(*change, self.now, &mut out);
        out
    }

    pub fn add_peer(&mut self, peer: &Self, extra: &str) -> Vec<Outgoing> {
        let (key, at) = (peer.public.to_hex(), peer.address);
        self.set(&format!("public_key={key}\nendpoint={at}\n{extra}"))
    }

    pub fn wait(&mut self, milliseconds: u64) {
        self.now = self.now.after(Duration::from_millis(milliseconds));
    }

    /// What leaves the host for one packet from its link.
    pub fn send(&mut self, packet: &[u8]) -> Vec<Outgoing> {
        let table = self.device.table();
        let Some(slot) = table.owner(inet::destination(packet).unwrap()) else {
            self.refusals.push(Refusal::NoRoute);
            return Vec::new();
        };
        let mut lane = table.peer(slot).unwrap().lane();
        let mut buffer = packet.to_vec();
        buffer.resize(packet.len() + 16, 0xee);
        let mut out = vec![0; packet.len() + 512];
        let sealed = padding::with_padding(&mut buffer, 0..packet.len(), MTU, |padded| {
            lane.seal(padded, &mut out, self.now)
        });
        match sealed {
            Sealed::Data { len, .. } | Sealed::Initiation(len) => {
                out.truncate(len);
                vec![Outgoing { to: lane.endpoint().unwrap(), datagram: out }]
            }
            Sealed::Waiting => Vec::new(),
            Sealed::Refused(refusal) => {
                self.refusals.push(refusal);
                Vec::new()
            }
        }
    }

    /// What leaves the host for one datagram from the network.
    pub fn receive(&mut self, datagram: &[u8], from: SocketAddr) -> Vec<Outgoing> {
        let from = Endpoint { remote: from, local: Some(self.address.ip()) };
        let mut out = Vec::new();
        let result = match wire::parse(datagram) {
            Some(Message::Data { receiver, .. }) => self.open(receiver, datagram, from, &mut out),
            Some(_) => self.device.shake(datagram, from, self.now, &mut out),
            None => Err(Refusal::Malformed),
        };
        if let Err(refusal) = result {
            self.refusals.push(refusal);
        }
        out
    }

    fn open(
        &mut self,
        receiver: u32,
        datagram: &[u8],
        from: Endpoint,
        out: &mut Vec<Outgoing>,
    ) -> Result<(), Refusal> {
        let table = self.device.table();
        let slot = table.by_receiver(receiver).ok_or(Refusal::NoSession)?;
        let mut lane = table.peer(slot).unwrap().lane();
        let mut plain = vec![0; datagram.len()];
        let opened = lane.open(datagram, &mut plain, from, self.now)?;
        if opened.session == SessionNews::Confirmed {
            lane.release(self.now, out);
        }
        let Some(packet) = opened.packet else { return Ok(()) };
        if !table.may_send(slot, packet.source) {
            return Err(Refusal::SourceNotAllowed);
        }
        plain.truncate(packet.len);
        self.inbox.push(plain);
        Ok(())
    }

    pub fn endpoint_of(&self, peer: &Self) -> Option<SocketAddr> {
        let table = self.device.table();
        let found = table.peers().find(|known| known.key() == peer.public)?;
        found.lane().endpoint().map(|endpoint| endpoint.remote)
    }

    pub fn answer_to_get(&self) -> String {
        sealane_tunnel::uapi_print::print(&self.device, Duration::from_secs(1_700_000_000), 0)
            .to_string()
    }
}

/// Carries datagrams to and fro until both are silent; the first came from `a`.
pub fn deliver(a: &mut Host, b: &mut Host, first: Vec<Outgoing>) {
    let mut to_b = first;
    let mut to_a = Vec::new();
    while !to_b.is_empty() || !to_a.is_empty() {
        for message in std::mem::take(&mut to_b) {
            to_a.extend(b.receive(&message.datagram, a.address));
        }
        for message in std::mem::take(&mut to_a) {
            to_b.extend(a.receive(&message.datagram, b.address));
        }
    }
}

/// Two hosts that own 10.1.0.0/16, fd01::/16 and 10.2.0.0/16, fd02::/16.
pub fn pair() -> (Host, Host) {
    let (mut a, mut b) = (Host::new(1, "192.0.2.1:51820"), Host::new(2, "192.0.2.2:51820"));
    a.add_peer(&b, "allowed_ip=10.2.0.0/16\nallowed_ip=fd02::/16\n");
    b.add_peer(&a, "allowed_ip=10.1.0.0/16\nallowed_ip=fd01::/16\n");
    (a, b)
}

/// Two hosts with a session, after one packet each way.
pub fn connected() -> (Host, Host) {
    let (mut a, mut b) = pair();
    let first = a.send(&udp("10.1.0.1", "10.2.0.1", b"hello"));
    deliver(&mut a, &mut b, first);
    let back = b.send(&udp("10.2.0.1", "10.1.0.1", b"hello yourself"));
    deliver(&mut b, &mut a, back);
    assert_eq!((a.inbox.len(), b.inbox.len()), (1, 1), "{:?} {:?}", a.refusals, b.refusals);
    a.inbox.clear();
    b.inbox.clear();
    (a, b)
}

/// An IP packet with a UDP datagram and right checksums.
pub fn udp(source: &str, destination: &str, payload: &[u8]) -> Vec<u8> {
    let mut transport = vec![0x30, 0x39, 0, 53];
    transport.extend((8 + payload.len() as u16).to_be_bytes());
    transport.extend([0, 0]);
    transport.extend(payload);
    ip(source, destination, inet::UDP, transport, 6)
}

/// An IP packet around a transport part whose checksum goes to `field`.
pub fn ip(
    source: &str,
    destination: &str,
    protocol: u8,
    mut part: Vec<u8>,
    field: usize,
) -> Vec<u8> {
    let (source, destination): (IpAddr, IpAddr) =
        (source.parse().unwrap(), destination.parse().unwrap());
    let mut packet = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let len = (20 + part.len() as u16).to_be_bytes();
            let mut header = vec![0x45, 0, len[0], len[1], 0, 0, 0x40, 0, 64, protocol, 0, 0];
            header.extend(source.octets());
            header.extend(destination.octets());
            let sum = inet::checksum(inet::sum(&header, 0));
            header[10..12].copy_from_slice(&sum);
            header
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let len = (part.len() as u16).to_be_bytes();
            let mut header = vec![0x60, 0, 0, 0, len[0], len[1], protocol, 64];
            header.extend(source.octets());
            header.extend(destination.octets());
            header
        }
        _ => panic!("mixed families"),
    };
    let pseudo = inet::pseudo_header(&packet, protocol, part.len());
    part[field..field + 2].fill(0);
    let sum = inet::checksum(inet::sum(&part, pseudo));
    part[field..field + 2].copy_from_slice(&sum);
    packet.extend(part);
    packet
}
