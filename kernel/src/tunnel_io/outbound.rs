//! Owns the sending of sealed messages so that none in hand is lost to an offload, an address or a
//! full buffer that has another way: smaller sends, another source, one more try.

use std::os::fd::AsFd;
use std::sync::Arc;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use sealane_tunnel::endpoint::{Endpoint, Outgoing};
use sealane_tunnel::peer::Peer;
use sealane_tunnel::train::Train;
use tracing::{debug, warn};

use super::datagram::{Departure, Patience, SEND_BATCH, send};
use super::offload::Trains;
use super::sockets::{Outer, Sockets};

/// How long a full send buffer is waited for, in milliseconds, before the message is dropped.
const ROOM_TIMEOUT_MS: u16 = 10;

/// A message with what is needed to send it another way.
pub struct Parcel<'a> {
    /// Whose it is, if it is data: told when our address is gone.
    pub peer: Option<&'a Arc<Peer>>,
    /// Where to.
    pub to: Endpoint,
    /// All bytes.
    pub bytes: &'a [u8],
    /// How they fall into datagrams.
    pub train: Train,
    /// The two ECN bits.
    pub ecn: u8,
}

/// How messages are sent.
#[derive(Clone, Copy)]
pub struct Outbound {
    /// Which trains this kernel sends.
    pub trains: Trains,
    /// Whether to wait for room.
    pub patience: Patience,
}

impl Outbound {
    /// Sends small messages.
    pub fn send_all(self, sockets: &Sockets, messages: &[Outgoing]) {
        let parcels: Vec<Parcel<'_>> = messages
            .iter()
            .map(|message| {
                let mut train = Train::default();
                train.add(message.datagram.len());
                Parcel { peer: None, to: message.to, bytes: &message.datagram, train, ecn: 0 }
            })
            .collect();
        self.send(sockets, &parcels);
    }

    /// Sends parcels in order; what cannot be sent in any way is dropped, as UDP may.
    pub fn send(self, sockets: &Sockets, parcels: &[Parcel<'_>]) {
        let mut rest = parcels;
        while let Some(first) = rest.first() {
            let Some(outer) = sockets.towards(first.to.remote) else {
                debug!(peer = %first.to.remote, "no socket of this address family");
                rest = &rest[1..];
                continue;
            };
            let family = first.to.remote.is_ipv4();
            let run = rest
                .iter()
                .take(SEND_BATCH)
                .take_while(|parcel| parcel.to.remote.is_ipv4() == family)
                .take_while(|parcel| self.goes_whole(outer, parcel))
                .count();
            if run == 0 {
                self.send_single(outer, first);
                rest = &rest[1..];
            } else {
                rest = &rest[self.send_run(outer, &rest[..run])..];
            }
        }
    }

    fn goes_whole(self, outer: &Outer, parcel: &Parcel<'_>) -> bool {
        parcel.train.count() == 1
            || outer.gso().is_whole() && (self.trains == Trains::Yes || !parcel.train.is_even())
    }

    /// Sends parcels that all may go whole; tells how many are done with.
    fn send_run(self, outer: &Outer, run: &[Parcel<'_>]) -> usize {
        let mut departures = [whole(&run[0]); SEND_BATCH];
        for (departure, parcel) in departures.iter_mut().zip(run) {
            *departure = whole(parcel);
        }
        match send(outer.as_fd(), &departures[..run.len()], self.patience) {
            Ok(sent) => sent.max(1),
            Err(error) => {
                self.recover(outer, &run[0], error);
                1
            }
        }
    }

    /// Finds another way for a parcel that was refused.
    fn recover(self, outer: &Outer, parcel: &Parcel<'_>, error: Errno) {
        let mut departure = whole(parcel);
        let mut error = error;
        if departure.to.local.is_some() && is_about_source(error) {
            departure.to.local = None;
            match self.again(outer, departure) {
                Ok(()) => return forget_local(parcel),
                Err(next) => error = next,
            }
        }
        if matches!(error, Errno::EAGAIN | Errno::ENOBUFS | Errno::EINTR) {
            wait_for_room(outer);
            match self.again(outer, departure) {
                Ok(()) => return,
                Err(next) => error = next,
            }
        }
        if parcel.train.count() > 1 && matches!(error, Errno::EIO | Errno::EINVAL) {
            if outer.gso().blow() {
                warn!(%error, "this kernel or network card refuses UDP_SEGMENT; sending one by one");
            }
            return self.send_single(outer, parcel);
        }
        if parcel.train.count() > 1 && error == Errno::EMSGSIZE {
            // The path's MTU shrank below the segments: one by one the kernel fragments them.
            return self.send_single(outer, parcel);
        }
        debug!(peer = %parcel.to.remote, %error, "dropped on sending");
    }

    /// Sends the datagrams of a parcel one by one, in batches.
    fn send_single(self, outer: &Outer, parcel: &Parcel<'_>) {
        let mut to = parcel.to;
        let mut rest = parcel.bytes;
        while !rest.is_empty() {
            let mut departures =
                [Departure { to, bytes: &[], segment: 0, ecn: parcel.ecn }; SEND_BATCH];
            let stride = parcel.train.stride().max(1);
            let batch = rest.chunks(stride).take(SEND_BATCH);
            let mut count = 0;
            for (departure, bytes) in departures.iter_mut().zip(batch) {
                departure.bytes = bytes;
                count += 1;
            }
            let done = match send(outer.as_fd(), &departures[..count], self.patience) {
                Ok(sent) => sent.max(1),
                Err(error) if to.local.is_some() && is_about_source(error) => {
                    to.local = None;
                    forget_local(parcel);
                    0
                }
                Err(error) => {
                    if matches!(error, Errno::EAGAIN | Errno::ENOBUFS | Errno::EINTR) {
                        wait_for_room(outer);
                        let _ = self.again(outer, departures[0]);
                    } else {
                        debug!(peer = %to.remote, %error, "dropped on sending");
                    }
                    1
                }
            };
            rest = &rest[(done * stride).min(rest.len())..];
        }
    }

    fn again(self, outer: &Outer, departure: Departure<'_>) -> Result<(), Errno> {
        send(outer.as_fd(), &[departure], self.patience).map(drop)
    }
}

fn whole<'a>(parcel: &Parcel<'a>) -> Departure<'a> {
    // A stride fits: trains are at most 65,507 bytes long.
    let segment = if parcel.train.count() > 1 { parcel.train.stride() as u16 } else { 0 };
    Departure { to: parcel.to, bytes: parcel.bytes, segment, ecn: parcel.ecn }
}

/// What the kernel says when a source address is no longer ours, or has no way to the destination.
const fn is_about_source(error: Errno) -> bool {
    matches!(
        error,
        Errno::EINVAL
            | Errno::EADDRNOTAVAIL
            | Errno::ENETUNREACH
            | Errno::EHOSTUNREACH
            | Errno::ENODEV
    )
}

fn forget_local(parcel: &Parcel<'_>) {
    if let Some(peer) = parcel.peer {
        peer.lane().forget_local();
    }
}

fn wait_for_room(outer: &Outer) {
    // A timeout or a signal only means that the next try fails as well.
    let _ = poll(&mut [PollFd::new(outer.as_fd(), PollFlags::POLLOUT)], ROOM_TIMEOUT_MS);
}
