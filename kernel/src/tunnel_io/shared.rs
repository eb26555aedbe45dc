//! Owns what the three threads share: the table and the sockets in force, the link's state, and the
//! order to stop. Owns no configuration.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use nix::sys::eventfd::{EfdFlags, EventFd};
use parking_lot::Mutex;
use sealane_tunnel::table::Table;

use super::clock::Clock;
use super::mailbox::Mailbox;
use super::offload::{Fuse, Offloads};
use super::sockets::Sockets;
use super::tun::Tun;

/// Why the tunnel ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// SIGTERM, SIGINT or SIGHUP.
    Signal,
    /// Somebody deleted the link.
    LinkDeleted,
    /// Somebody deleted or replaced the UAPI socket.
    SocketDeleted,
    /// A thread died; the text says which, and of what.
    Fault(String),
}

/// What all threads see.
pub struct Shared {
    /// The TUN device.
    pub tun: Tun,
    /// Peers and their prefixes.
    pub table: ArcSwap<Table>,
    /// UDP sockets.
    pub sockets: ArcSwap<Sockets>,
    /// Wakes the receiving thread to look at other sockets.
    pub sockets_changed: EventFd,
    /// Handshake messages on their way to the control thread.
    pub mailbox: Mailbox,
    /// The device's clock.
    pub clock: Clock,
    /// What was decided about offloads.
    pub offloads: Offloads,
    /// Whether TCP superpackets may be written to the TUN device.
    pub join_tcp: Fuse,
    /// Whether UDP superpackets may be written to the TUN device.
    pub join_udp: Fuse,
    mtu: AtomicUsize,
    /// Of sockets that are no longer in force.
    former_overrun: AtomicU64,
    stop: Stop,
}

struct Stop {
    ordered: AtomicBool,
    reason: Mutex<Option<Ended>>,
    event: EventFd,
}

impl Shared {
    /// The start: a device without peers.
    ///
    /// # Errors
    /// The kernel has no event descriptors left.
    pub fn new(tun: Tun, sockets: Sockets, mtu: u16, offloads: Offloads) -> nix::Result<Self> {
        let event = || EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
        Ok(Self {
            tun,
            table: ArcSwap::default(),
            sockets: ArcSwap::from_pointee(sockets),
            sockets_changed: event()?,
            mailbox: Mailbox::new()?,
            clock: Clock::start(),
            offloads,
            join_tcp: Fuse::new(offloads.tso),
            join_udp: Fuse::new(offloads.uso),
            mtu: AtomicUsize::new(usize::from(mtu)),
            former_overrun: AtomicU64::new(0),
            stop: Stop {
                ordered: AtomicBool::new(false),
                reason: Mutex::new(None),
                event: event()?,
            },
        })
    }

    /// The link's MTU in bytes.
    #[must_use]
    pub fn mtu(&self) -> usize {
        self.mtu.load(Ordering::Relaxed)
    }

    /// Notes the link's MTU.
    pub fn set_mtu(&self, mtu: usize) {
        self.mtu.store(mtu, Ordering::Relaxed);
    }

    /// Puts other sockets in force; the old ones close once the receiving thread has left them.
    pub fn replace_sockets(&self, sockets: Sockets) {
        let former = self.sockets.swap(Arc::new(sockets));
        self.former_overrun.fetch_add(former.overrun(), Ordering::Relaxed);
    }

    /// Datagrams that found the sockets' queues full, since the start.
    #[must_use]
    pub fn overrun(&self) -> u64 {
        self.former_overrun.load(Ordering::Relaxed) + self.sockets.load().overrun()
    }

    /// Ends all threads; the first reason stays.
    pub fn stop(&self, reason: Ended) {
        self.stop.reason.lock().get_or_insert(reason);
        self.stop.ordered.store(true, Ordering::Release);
        // Nobody reads the event, so that it wakes every thread; a full counter is as good.
        let _ = self.stop.event.write(1);
    }

    /// Whether all threads are to end.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stop.ordered.load(Ordering::Acquire)
    }

    /// Why the threads end, if they do.
    #[must_use]
    pub fn stopped(&self) -> Option<Ended> {
        self.stop.reason.lock().clone()
    }

    /// Readable once the threads end.
    #[must_use]
    pub const fn stop_event(&self) -> &EventFd {
        &self.stop.event
    }
}
