//! Owns the thread that reads the TUN device: split, find the owner, seal into the slab, send.
//! Runs to completion on each read and hands nothing to another thread.

use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::Arc;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sealane_tunnel::endpoint::{Endpoint, Outgoing};
use sealane_tunnel::noise::{Sealed, Wear};
use sealane_tunnel::peer::Peer;
use sealane_tunnel::split::Segments;
use sealane_tunnel::train::Train;
use sealane_tunnel::virtio::{self, VnetHeader};
use sealane_tunnel::wire::{DATA_OVERHEAD, SCRATCH_LEN};
use sealane_tunnel::{ecn, inet, padding};
use tracing::trace;

use super::datagram::Patience;
use super::outbound::{Outbound, Parcel};
use super::shared::{Ended, Shared};

/// The longest packet an IP length field can tell, IPv6 header included.
const MAX_PACKET: usize = 65_535 + 40;
/// Behind a packet: room for its padding.
const SLACK: usize = 16;
/// Sealed bytes after which what was read is sent, though more may wait: one full train.
const FLUSH_AT: usize = 64 << 10;
/// Room for sealed messages: a full train, and the largest superpacket sealed behind it.
const SLAB_LEN: usize = 256 << 10;

/// The transmitting thread's own memory.
pub struct Transmitter<'a> {
    shared: &'a Shared,
    outbound: Outbound,
    read: Box<[u8]>,
    slab: Box<[u8]>,
    used: usize,
    loads: Vec<Load>,
}

/// Sealed messages for one peer, one behind the other in the slab.
struct Load {
    peer: Arc<Peer>,
    to: Endpoint,
    ecn: u8,
    start: usize,
    train: Train,
}

impl<'a> Transmitter<'a> {
    /// A transmitter with its buffers.
    #[must_use]
    pub fn new(shared: &'a Shared) -> Self {
        Self {
            shared,
            outbound: Outbound { trains: shared.offloads.gso, patience: Patience::Wait },
            read: vec![0; virtio::LEN + MAX_PACKET + SLACK].into_boxed_slice(),
            slab: vec![0; SLAB_LEN].into_boxed_slice(),
            used: 0,
            loads: Vec::with_capacity(64),
        }
    }

    /// Runs until the device is gone or the tunnel stops.
    pub fn run(mut self) {
        while !self.shared.is_stopping() {
            let room = virtio::LEN + MAX_PACKET;
            match self.shared.tun.read(&mut self.read[..room]) {
                Ok(len) => {
                    self.transmit(len);
                    if self.used >= FLUSH_AT {
                        self.flush();
                    }
                }
                Err(Errno::EAGAIN) => {
                    self.flush();
                    self.wait();
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EBADFD | Errno::ENODEV) => self.shared.stop(Ended::LinkDeleted),
                Err(error) => {
                    self.shared.stop(Ended::Fault(format!("reading the link: {error}")));
                }
            }
        }
    }

    fn wait(&self) {
        let mut ready = [
            PollFd::new(self.shared.tun.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.shared.stop_event().as_fd(), PollFlags::POLLIN),
        ];
        // A signal wakes the wait early, which the loop takes as well.
        let _ = poll(&mut ready, PollTimeout::NONE);
    }

    /// Seals what was read: `len` bytes of offload header and packet.
    fn transmit(&mut self, len: usize) {
        let Some((header, _)) = self.read[..len].split_first_chunk::<{ virtio::LEN }>() else {
            return;
        };
        let header = VnetHeader::parse(header);
        let packet = virtio::LEN..len;
        let Some(destination) = inet::destination(&self.read[packet.clone()]) else { return };
        let table = self.shared.table.load();
        let Some(peer) = table.owner(destination).and_then(|slot| table.peer(slot)).cloned() else {
            trace!(%destination, "no peer owns this address");
            return;
        };
        drop(table);
        let ecn = ecn::outer(&self.read[packet.clone()]);
        match Segments::of(header, &mut self.read[packet.clone()]) {
            Ok(segments) => self.seal(&peer, segments, packet, ecn),
            Err(error) => trace!(%error, "packet from the link dropped"),
        }
    }

    fn seal(&mut self, peer: &Arc<Peer>, mut segments: Segments, packet: Range<usize>, ecn: u8) {
        let (now, mtu) = (self.shared.clock.now(), self.shared.mtu());
        let mut renewals: Vec<Outgoing> = Vec::new();
        let mut lane = peer.lane();
        while let Some(at) = segments.next_in(&mut self.read[packet.clone()]) {
            let needed = SCRATCH_LEN.max(at.len() + SLACK + DATA_OVERHEAD);
            if self.slab.len() - self.used < needed {
                drop(lane);
                self.flush();
                lane = peer.lane();
            }
            let Some(to) = lane.endpoint() else { break };
            let out = &mut self.slab[self.used..];
            let buffer = &mut self.read[packet.start..];
            let sealed =
                padding::with_padding(buffer, at, mtu, |padded| lane.seal(padded, out, now));
            match sealed {
                Sealed::Data { len, wear } => {
                    if wear != Wear::Fresh {
                        lane.renew(wear, now, &mut renewals);
                    }
                    load(&mut self.loads, Load::new(peer, to, ecn, self.used), len);
                    self.used += len;
                }
                Sealed::Initiation(len) => {
                    load(&mut self.loads, Load::new(peer, to, 0, self.used), len);
                    self.used += len;
                }
                Sealed::Waiting => {}
                Sealed::Refused(refusal) => {
                    trace!(peer = %peer.key(), %refusal, "packet from the link dropped");
                }
            }
        }
        drop(lane);
        if !renewals.is_empty() {
            self.outbound.send_all(&self.shared.sockets.load(), &renewals);
        }
    }

    fn flush(&mut self) {
        if self.loads.is_empty() {
            return;
        }
        let sockets = self.shared.sockets.load();
        let parcels: Vec<Parcel<'_>> = self
            .loads
            .iter()
            .map(|load| Parcel {
                peer: Some(&load.peer),
                to: load.to,
                bytes: &self.slab[load.start..load.start + load.train.bytes()],
                train: load.train,
                ecn: load.ecn,
            })
            .collect();
        self.outbound.send(&sockets, &parcels);
        drop(parcels);
        self.loads.clear();
        self.used = 0;
    }
}

impl Load {
    fn new(peer: &Arc<Peer>, to: Endpoint, ecn: u8, start: usize) -> Self {
        Self { peer: Arc::clone(peer), to, ecn, start, train: Train::default() }
    }
}

/// Lets a message of `len` bytes join the last load, or begin the one given.
fn load(loads: &mut Vec<Load>, fresh: Load, len: usize) {
    if let Some(last) = loads.last_mut()
        && Arc::ptr_eq(&last.peer, &fresh.peer)
        && last.to == fresh.to
        && last.ecn == fresh.ecn
        && last.train.takes(len)
    {
        return last.train.add(len);
    }
    loads.push(fresh);
    if let Some(last) = loads.last_mut() {
        last.train.add(len);
    }
}
