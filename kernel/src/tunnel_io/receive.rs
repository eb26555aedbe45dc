//! Owns the thread that reads the UDP sockets: open into the slab, check the source, join, write to
//! the TUN device. Handshake messages go to the control thread; everything else ends here.

use std::os::fd::AsFd;
use std::sync::Arc;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sealane_tunnel::coalesce::Coalescer;
use sealane_tunnel::ecn;
use sealane_tunnel::endpoint::Outgoing;
use sealane_tunnel::lane::{Opened, SessionNews};
use sealane_tunnel::refusal::Refusal;
use sealane_tunnel::table::{Slot, Table};
use sealane_tunnel::wire::{self, Message};
use tracing::trace;

use super::datagram::{Arrival, MESSAGE_LEN, Patience, RECEIVE_BATCH, Receiver};
use super::inject;
use super::outbound::Outbound;
use super::shared::{Ended, Shared};
use super::sockets::{Outer, Sockets};

/// Batches taken from one socket before the other has its turn.
const ROUNDS: usize = 8;

/// The receiving thread's own memory.
pub struct Intake<'a> {
    shared: &'a Shared,
    outbound: Outbound,
    receiver: Receiver,
    opener: Opener,
}

/// Where opened packets go.
struct Opener {
    slab: Box<[u8]>,
    used: usize,
    coalescer: Coalescer,
    released: Vec<Outgoing>,
}

impl<'a> Intake<'a> {
    /// An intake with its buffers.
    #[must_use]
    pub fn new(shared: &'a Shared) -> Self {
        Self {
            shared,
            outbound: Outbound { trains: shared.offloads.gso, patience: Patience::Now },
            receiver: Receiver::default(),
            opener: Opener {
                slab: vec![0; (RECEIVE_BATCH + 1) * MESSAGE_LEN].into_boxed_slice(),
                used: 0,
                coalescer: Coalescer::default(),
                released: Vec::new(),
            },
        }
    }

    /// Runs until the tunnel stops.
    pub fn run(mut self) {
        while !self.shared.is_stopping() {
            let sockets = self.shared.sockets.load_full();
            self.wait(&sockets);
            for outer in sockets.each() {
                self.drain(outer);
            }
        }
    }

    fn wait(&self, sockets: &Arc<Sockets>) {
        let mut ready: Vec<PollFd<'_>> =
            sockets.each().map(|outer| PollFd::new(outer.as_fd(), PollFlags::POLLIN)).collect();
        ready.push(PollFd::new(self.shared.stop_event().as_fd(), PollFlags::POLLIN));
        ready.push(PollFd::new(self.shared.sockets_changed.as_fd(), PollFlags::POLLIN));
        // A signal wakes the wait early, which the loop takes as well.
        let _ = poll(&mut ready, PollTimeout::NONE);
        let changed = ready.last().and_then(PollFd::any).unwrap_or(false);
        if changed {
            let _ = self.shared.sockets_changed.read();
        }
    }

    fn drain(&mut self, outer: &Outer) {
        for _ in 0..ROUNDS {
            match self.receiver.receive(outer.as_fd()) {
                Ok(count) => {
                    self.take(count);
                    if count < RECEIVE_BATCH {
                        return;
                    }
                }
                Err(Errno::EAGAIN | Errno::EINTR) => return,
                Err(Errno::EBADF | Errno::ENOTSOCK | Errno::EFAULT) => {
                    return self.shared.stop(Ended::Fault("receiving from UDP".to_owned()));
                }
                // Errors of one datagram's path, reported late: the next call goes on.
                Err(error) => trace!(%error, "receiving from UDP"),
            }
        }
    }

    /// Opens and writes a batch of messages.
    fn take(&mut self, count: usize) {
        let table = self.shared.table.load();
        for at in 0..count {
            if let Some(arrival) = self.receiver.arrival(at) {
                self.opener.open(self.shared, &table, &arrival);
            }
        }
        let opener = &mut self.opener;
        inject::write(self.shared, &mut opener.coalescer, &mut opener.slab);
        opener.used = 0;
        if !opener.released.is_empty() {
            self.outbound.send_all(&self.shared.sockets.load(), &opener.released);
            opener.released.clear();
        }
    }
}

impl Opener {
    /// Opens one message; a peer's lane is taken once for all its datagrams that follow each other.
    fn open(&mut self, shared: &Shared, table: &Table, arrival: &Arrival<'_>) {
        let now = shared.clock.now();
        let mut held = None;
        for datagram in arrival.bytes.chunks(arrival.segment.max(1)) {
            let receiver = match wire::parse(datagram) {
                Some(Message::Data { receiver, .. }) => receiver,
                Some(_) => {
                    shared.mailbox.post(datagram, arrival.from);
                    continue;
                }
                None => continue,
            };
            let Some(slot) = table.by_receiver(receiver) else { continue };
            if held.as_ref().is_none_or(|(holder, _)| *holder != slot) {
                // The old guard goes first: no thread ever has two lanes.
                drop(held.take());
                held = table.peer(slot).map(|peer| (slot, peer.lane()));
            }
            let Some((_, lane)) = &mut held else { continue };
            let out = &mut self.slab[self.used..];
            let opened = lane.open(datagram, out, arrival.from, now);
            if let Ok(Opened { session: SessionNews::Confirmed, .. }) = opened {
                lane.release(now, &mut self.released);
            }
            let kept =
                opened.and_then(|opened| self.keep(shared, table, slot, (opened, arrival.ecn)));
            if let Err(refusal) = kept {
                trace!(from = %arrival.from.remote, %refusal, "datagram dropped");
            }
        }
    }

    /// Adds an opened packet to the batch if its peer may send it.
    fn keep(
        &mut self,
        shared: &Shared,
        table: &Table,
        slot: Slot,
        (opened, outer_ecn): (Opened, u8),
    ) -> Result<(), Refusal> {
        let Some(plain) = opened.packet else { return Ok(()) };
        if !table.may_send(slot, plain.source) {
            return Err(Refusal::SourceNotAllowed);
        }
        let at = self.used..self.used + plain.len;
        ecn::decapsulate(&mut self.slab[at.clone()], outer_ecn)?;
        self.used = at.end;
        self.coalescer.push(&self.slab, at, inject::joinable(shared));
        Ok(())
    }
}
