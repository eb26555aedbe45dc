//! Owns a model of WireGuard on one host: handshakes, sessions, roaming, which peer a packet is for and
//! may come from. Its configuration is the host's; cryptography is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use sealane_probe::time::Time;
use sealane_state::facts::PeerFacts;
use sealane_state::host::HostState;
use sealane_state::name::LinkName;
use sealane_state::wireguard::{Peer, PskFingerprint, PublicKey};

/// REKEY_TIMEOUT: least time between two initiations to one peer (WireGuard paper, section 6.1).
const REKEY_TIMEOUT: Duration = Duration::from_secs(5);
/// REKEY_ATTEMPT_TIME: nobody is called any longer than this for one packet.
const REKEY_ATTEMPT: Duration = Duration::from_secs(90);
/// REKEY_AFTER_TIME.
const REKEY_AFTER: Duration = Duration::from_secs(120);
/// REJECT_AFTER_TIME.
const REJECT_AFTER: Duration = Duration::from_secs(180);
/// KEEPALIVE_TIMEOUT and REKEY_TIMEOUT: sent into silence for this long, a session is doubted.
const SILENCE: Duration = Duration::from_secs(15);
/// Outer headers of a packet and its tag, in bytes.
const OVERHEAD: usize = 80;

/// A packet inside a lane.
#[derive(Debug, Clone)]
pub struct Inner {
    /// Source inside.
    pub source: IpAddr,
    /// Destination inside.
    pub destination: IpAddr,
    /// What it carries.
    pub body: Body,
}

/// What a packet inside a lane carries.
#[derive(Debug, Clone)]
pub enum Body {
    /// A probe datagram.
    Probe(Vec<u8>),
    /// A gossip question, and its number.
    Ask(u64, Vec<u8>),
    /// The frames of an answer, and the question's number.
    Answer(u64, Vec<Vec<u8>>),
}

impl Inner {
    fn size(&self) -> usize {
        match &self.body {
            Body::Probe(bytes) => bytes.len() + if self.source.is_ipv4() { 28 } else { 48 },
            // A TCP connection cuts its bytes to what the path takes.
            Body::Ask(..) | Body::Answer(..) => 200,
        }
    }
}

/// An outer packet.
#[derive(Debug, Clone)]
pub struct Packet {
    /// Whose device sent it.
    pub by: PublicKey,
    /// Whose device can read it.
    pub of: PublicKey,
    /// What it is.
    pub kind: PacketKind,
}

/// The kinds of outer packets.
#[derive(Debug, Clone)]
pub enum PacketKind {
    /// Begins a handshake; the moment stands for WireGuard's timestamp.
    Initiation(Time),
    /// Ends it, with the pre-shared key of who answers.
    Response(Time, Option<PskFingerprint>),
    /// A packet of the session that began at that moment, whether its sender began it, its counter, and
    /// what is inside.
    Data((Time, bool), u64, Option<Inner>),
}

/// An outer packet to be sent.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Port of the device.
    pub port: u16,
    /// Where to.
    pub to: SocketAddr,
    /// The packet.
    pub packet: Packet,
    /// Its bytes.
    pub size: usize,
}

#[derive(Debug, Clone)]
struct Session {
    id: Time,
    born: Time,
    is_ours: bool,
    /// Who answers a call sends nothing in the new session before its first packet came.
    is_confirmed: bool,
    counter: u64,
    seen: BTreeSet<u64>,
}

#[derive(Debug, Clone, Default)]
struct Standing {
    sessions: Vec<Session>,
    calling: Option<(Time, Time)>,
    last_called: Option<Time>,
    newest_call: Option<Time>,
    unanswered_since: Option<Time>,
    last_sent: Option<Time>,
    waiting: Option<Inner>,
    handshake: Option<u64>,
    received: u64,
    sent: u64,
    endpoint: Option<SocketAddr>,
}

/// All peers of a host's devices.
#[derive(Debug, Default)]
pub struct Tunnel {
    peers: BTreeMap<(LinkName, PublicKey), Standing>,
}

impl Tunnel {
    /// Takes the configuration as it is now: peers that are gone lose their sessions, and one that was
    /// given another address is called there.
    pub fn configured(&mut self, host: &HostState, now: Time) -> Vec<Sent> {
        let wanted = |link: &LinkName, key: &PublicKey| {
            host.devices.get(link).is_some_and(|device| device.peers.contains_key(key))
        };
        self.peers.retain(|(link, key), _| wanted(link, key));
        let mut sent = Vec::new();
        for (link, device) in &host.devices {
            for (key, peer) in &device.peers {
                let standing = self.peers.entry((link.clone(), *key)).or_default();
                let has_moved = peer.endpoint.is_some() && standing.endpoint != peer.endpoint;
                standing.endpoint = peer.endpoint;
                if has_moved {
                    sent.extend(standing.call(now, (device.key, *key), device.listen_port, peer));
                }
            }
        }
        sent
    }

    /// Sends a packet into a lane link; nothing when no peer has its destination.
    pub fn send(
        &mut self,
        host: &HostState,
        link: &LinkName,
        inner: Inner,
        now: Time,
    ) -> Vec<Sent> {
        let Some(device) = host.devices.get(link) else { return Vec::new() };
        let owner = |peer: &Peer| longest(&peer.allowed_ips, inner.destination);
        let best = device.peers.iter().filter_map(|(key, peer)| Some((owner(peer)?, key, peer)));
        let Some((_, key, peer)) = best.max_by_key(|(length, ..)| *length) else {
            return Vec::new();
        };
        let standing = self.peers.entry((link.clone(), *key)).or_default();
        let Some(endpoint) = peer.endpoint else { return Vec::new() };
        let (by, of, port) = (device.key, *key, device.listen_port);
        let mut out = Vec::new();
        standing.sessions.retain(|session| now.since(session.born) < REJECT_AFTER);
        match standing.usable() {
            None => standing.waiting = Some(inner),
            Some(session) => {
                session.counter += 1;
                let size = inner.size() + OVERHEAD;
                let kind = PacketKind::Data(session.name(), session.counter, Some(inner));
                out.push(Sent { port, to: endpoint, packet: Packet { by, of, kind }, size });
                standing.sent += size as u64;
                standing.last_sent = Some(now);
                standing.unanswered_since.get_or_insert(now);
            }
        }
        if standing.wants_to_call(now) {
            out.extend(standing.call(now, (by, of), port, peer));
        }
        out
    }

    /// Lets time pass: calls again, and keeps mappings open.
    pub fn poll(&mut self, host: &HostState, now: Time) -> Vec<Sent> {
        let mut out = Vec::new();
        for ((link, key), standing) in &mut self.peers {
            let Some(device) = host.devices.get(link) else { continue };
            let Some(peer) = device.peers.get(key) else { continue };
            let (by, of, port) = (device.key, *key, device.listen_port);
            if let Some((_, since)) = standing.calling
                && standing.last_called.is_some_and(|at| now.since(at) >= REKEY_TIMEOUT)
            {
                if now.since(since) >= REKEY_ATTEMPT {
                    (standing.calling, standing.waiting) = (None, None);
                } else {
                    out.extend(standing.call(now, (by, of), port, peer));
                }
            }
            let pause = peer.keepalive.map(|seconds| Duration::from_secs(seconds.into()));
            let is_quiet = pause
                .is_some_and(|pause| standing.last_sent.is_none_or(|at| now.since(at) >= pause));
            if is_quiet && standing.calling.is_none() && peer.endpoint.is_some() {
                standing.last_sent = Some(now);
                if let (Some(session), Some(to)) = (standing.usable(), peer.endpoint) {
                    session.counter += 1;
                    let kind = PacketKind::Data(session.name(), session.counter, None);
                    out.push(Sent { port, to, packet: Packet { by, of, kind }, size: OVERHEAD });
                }
                if standing.wants_to_call(now) {
                    out.extend(standing.call(now, (by, of), port, peer));
                }
            }
        }
        out
    }

    /// Takes an outer packet that came to `port` from `source`; returns what is sent in answer, and what
    /// was inside with the link that it came in by. `wall` is this host's clock in Unix seconds.
    pub fn receive(
        &mut self,
        host: &mut HostState,
        (port, source): (u16, SocketAddr),
        packet: Packet,
        (now, wall): (Time, u64),
    ) -> (Vec<Sent>, Option<(LinkName, Inner)>) {
        let nothing = (Vec::new(), None);
        let device = host.devices.iter_mut().find(|(_, device)| device.listen_port == port);
        let Some((link, device)) = device.filter(|(_, device)| device.key == packet.of) else {
            return nothing;
        };
        let (by, of) = (device.key, packet.by);
        let Some(peer) = device.peers.get_mut(&of) else { return nothing };
        let standing = self.peers.entry((link.clone(), of)).or_default();
        let mut out = Vec::new();
        let mut answer = |kind, to| {
            out.push(Sent { port, to, packet: Packet { by, of, kind }, size: OVERHEAD });
        };
        let mut inside = None;
        match packet.kind {
            PacketKind::Initiation(at) => {
                if standing.newest_call.is_some_and(|newest| newest >= at) {
                    return nothing;
                }
                standing.newest_call = Some(at);
                standing.begin(at, now, wall, false);
                answer(PacketKind::Response(at, peer.psk), source);
            }
            PacketKind::Response(at, psk) => {
                let is_awaited = standing.calling.is_some_and(|(call, _)| call == at);
                if !is_awaited || psk != peer.psk {
                    return nothing;
                }
                standing.begin(at, now, wall, true);
                standing.calling = None;
                let waiting = standing.waiting.take();
                if let Some(session) = standing.usable() {
                    session.counter += 1;
                    answer(PacketKind::Data(session.name(), session.counter, waiting), source);
                }
            }
            PacketKind::Data((id, is_theirs), counter, inner) => {
                let mut sessions = standing.sessions.iter_mut();
                let session = sessions.find(|it| (it.id, !it.is_ours) == (id, is_theirs));
                let live = session.filter(|session| now.since(session.born) < REJECT_AFTER);
                let Some(session) = live.filter(|session| session.accepts(counter)) else {
                    return nothing;
                };
                session.is_confirmed = true;
                session.seen.insert(counter);
                standing.unanswered_since = None;
                inside = inner.filter(|inner| {
                    longest(&peer.allowed_ips, inner.source).is_some()
                        || longest(&peer.accepted_sources, inner.source).is_some()
                });
            }
        }
        standing.received += OVERHEAD as u64;
        peer.endpoint = Some(source);
        standing.endpoint = peer.endpoint;
        let link = link.clone();
        (out, inside.map(|inner| (link, inner)))
    }

    /// Returns when [`Tunnel::poll`] next has something to do.
    #[must_use]
    pub fn next_wake(&self, now: Time) -> Time {
        let wakes = self.peers.values().filter_map(|standing| {
            standing.calling?;
            Some(standing.last_called?.after(REKEY_TIMEOUT))
        });
        wakes.min().unwrap_or(Time(u64::MAX)).min(now.after(Duration::from_secs(1)))
    }

    /// Returns what devices say of their peers.
    #[must_use]
    pub fn facts(&self) -> BTreeMap<LinkName, BTreeMap<PublicKey, PeerFacts>> {
        let mut facts: BTreeMap<LinkName, BTreeMap<PublicKey, PeerFacts>> = BTreeMap::new();
        for ((link, key), standing) in &self.peers {
            let mut of = PeerFacts { endpoint: standing.endpoint, ..PeerFacts::default() };
            of.counters.last_handshake = standing.handshake;
            of.counters.received_bytes = standing.received;
            of.counters.sent_bytes = standing.sent;
            facts.entry(link.clone()).or_default().insert(*key, of);
        }
        facts
    }
}

impl Session {
    fn name(&self) -> (Time, bool) {
        (self.id, self.is_ours)
    }

    fn accepts(&self, counter: u64) -> bool {
        !self.seen.contains(&counter)
    }
}

impl Standing {
    fn begin(&mut self, id: Time, now: Time, wall: u64, is_ours: bool) {
        let session = Session {
            id,
            born: now,
            is_ours,
            is_confirmed: is_ours,
            counter: 0,
            seen: BTreeSet::new(),
        };
        self.sessions.push(session);
        // The present one, the one before, and the one that the other end has not used yet.
        if self.sessions.len() > 3 {
            self.sessions.remove(0);
        }
        self.handshake = Some(wall);
        self.unanswered_since = None;
    }

    fn usable(&mut self) -> Option<&mut Session> {
        self.sessions.iter_mut().rev().find(|session| session.is_confirmed)
    }

    fn wants_to_call(&self, now: Time) -> bool {
        if self.calling.is_some()
            || self.last_called.is_some_and(|at| now.since(at) < REKEY_TIMEOUT)
        {
            return false;
        }
        let usable = self.sessions.iter().rev().find(|session| session.is_confirmed);
        let Some(session) = usable else { return true };
        let is_old = session.is_ours && now.since(session.born) >= REKEY_AFTER;
        is_old || self.unanswered_since.is_some_and(|since| now.since(since) >= SILENCE)
    }

    fn call(
        &mut self,
        now: Time,
        (by, of): (PublicKey, PublicKey),
        port: u16,
        peer: &Peer,
    ) -> Option<Sent> {
        self.last_called = Some(now);
        let to = peer.endpoint?;
        let since = self.calling.map_or(now, |(_, since)| since);
        self.calling = Some((now, since));
        let packet = Packet { by, of, kind: PacketKind::Initiation(now) };
        Some(Sent { port, to, packet, size: OVERHEAD + 68 })
    }
}

/// Returns the length of the longest of these networks that has the address.
fn longest(networks: &BTreeSet<ipnetwork::IpNetwork>, address: IpAddr) -> Option<u8> {
    networks.iter().filter(|net| net.contains(address)).map(ipnetwork::IpNetwork::prefix).max()
}
