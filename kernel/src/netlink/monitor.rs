//! Owns listening to the kernel: the sockets, the thread, and the joining of many notices into few
//! events. Does not judge which notices matter.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use netlink_packet_core::NetlinkBuffer;
use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::sync::mpsc;

use crate::netlink::addresses;
use crate::netlink::channel::Channel;
use crate::netlink::links::LinkTable;
use crate::netlink::refusal::Refusal;
use crate::netlink::relevance::{self, HostEvent, Relevance};

/// Groups to listen to, by their number in linux/rtnetlink.h: links, neighbours, addresses, routes
/// and rules of both families, settings of both families.
const ROUTE_GROUPS: [u32; 10] = [1, 3, 5, 7, 8, 9, 11, 19, 24, 25];
/// `NFNLGRP_NFTABLES` in linux/netfilter/nfnetlink.h.
const FILTER_GROUPS: [u32; 1] = [7];
/// Room for the notices of some ten thousand routes changing at once.
const BUFFER_BYTES: usize = 8 << 20;
const READ_BYTES: usize = 64 * 1024;
/// Notices come in bursts; an event is told once a burst is over, or when it does not end.
const QUIET: Duration = Duration::from_millis(10);
const LONGEST_BURST: Duration = Duration::from_millis(100);
/// More than there are kinds of events, so a burst never waits for the reader.
const EVENTS: usize = 16;

/// A running monitor; dropping it ends its thread.
#[derive(Debug)]
pub struct Monitor {
    wake: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

struct Listener {
    route: Socket,
    /// `None` where the kernel has no netfilter, or a sandbox withholds it.
    filter: Option<Socket>,
    relevance: Relevance,
    buffer: Vec<u8>,
}

impl Monitor {
    /// Starts listening in the calling thread's network namespace.
    ///
    /// What `own_port` changes is no event: who applies changes reads back by itself.
    ///
    /// Shape: each burst tells each kind of event at most once, in the order of [`HostEvent`].
    /// The receiver ends when the monitor is dropped.
    ///
    /// # Errors
    /// What the sockets or the first dump report.
    pub fn start(own_port: u32) -> Result<(Self, mpsc::Receiver<HostEvent>), Refusal> {
        Self::start_with_buffer(own_port, BUFFER_BYTES)
    }

    /// As [`Monitor::start`], with a receive buffer of this size. A smaller one runs over sooner;
    /// [`HostEvent::Resync`] then tells that notices were lost.
    ///
    /// # Errors
    /// As [`Monitor::start`].
    pub fn start_with_buffer(
        own_port: u32,
        buffer_bytes: usize,
    ) -> Result<(Self, mpsc::Receiver<HostEvent>), Refusal> {
        let route = listening(NETLINK_ROUTE, &ROUTE_GROUPS, buffer_bytes)?;
        let filter = listening(NETLINK_NETFILTER, &FILTER_GROUPS, buffer_bytes).ok();
        // Read after joining the groups: what changes in between is told as well.
        let mut channel = Channel::open()?;
        let links = LinkTable::read(&mut channel)?;
        let addresses = addresses::read(&mut channel)?;
        let relevance = Relevance::new(&links, &addresses, own_port);
        let buffer = Vec::with_capacity(READ_BYTES);
        let listener = Listener { route, filter, relevance, buffer };

        let wake = Arc::new(
            EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
                .map_err(Refusal::plain)?,
        );
        let (sender, receiver) = mpsc::channel(EVENTS);
        let waiting = Arc::clone(&wake);
        let thread = thread::Builder::new()
            .name("sealane-monitor".to_owned())
            .spawn(move || listener.run(&waiting, &sender))?;
        Ok((Self { wake, thread: Some(thread) }, receiver))
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        // An event counter that is full wakes as well as one that is not.
        let _ = self.wake.write(1);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn listening(protocol: isize, groups: &[u32], buffer_bytes: usize) -> Result<Socket, Refusal> {
    let mut socket = Socket::new(protocol)?;
    socket
        .bind(&SocketAddr::new(0, groups.iter().fold(0, |mask, group| mask | 1 << (group - 1))))?;
    socket.set_non_blocking(true)?;
    let fd = socket.as_fd();
    if setsockopt(&fd, sockopt::RcvBufForce, &buffer_bytes).is_err() {
        setsockopt(&fd, sockopt::RcvBuf, &buffer_bytes).map_err(Refusal::plain)?;
    }
    Ok(socket)
}

impl Listener {
    fn run(mut self, wake: &EventFd, events: &mpsc::Sender<HostEvent>) {
        while self.wait(wake, PollTimeout::NONE) == Woken::ByKernel {
            for event in self.burst(wake) {
                match events.try_send(event) {
                    Ok(()) => {}
                    // Every event makes its reader look at the whole host, and that look is to come.
                    Err(mpsc::error::TrySendError::Full(_)) => break,
                    Err(mpsc::error::TrySendError::Closed(_)) => return,
                }
            }
        }
    }

    /// Reads until the kernel falls silent, or the burst has lasted long enough.
    fn burst(&mut self, wake: &EventFd) -> BTreeSet<HostEvent> {
        let mut events = BTreeSet::new();
        let start = Instant::now();
        loop {
            self.read(&mut events);
            let quiet = PollTimeout::try_from(QUIET).unwrap_or(PollTimeout::ZERO);
            if start.elapsed() > LONGEST_BURST || self.wait(wake, quiet) != Woken::ByKernel {
                return events;
            }
        }
    }

    fn wait(&self, wake: &EventFd, timeout: PollTimeout) -> Woken {
        let mut fds = vec![PollFd::new(wake.as_fd(), PollFlags::POLLIN)];
        let sockets = [Some(&self.route), self.filter.as_ref()];
        fds.extend(
            sockets.into_iter().flatten().map(|s| PollFd::new(s.as_fd(), PollFlags::POLLIN)),
        );
        loop {
            return match poll(&mut fds, timeout) {
                Err(Errno::EINTR) => continue,
                Err(_) => Woken::ToEnd,
                Ok(0) => Woken::ByTime,
                Ok(_) if fds.first().and_then(PollFd::any) == Some(true) => Woken::ToEnd,
                Ok(_) => Woken::ByKernel,
            };
        }
    }

    /// Reads what is there now from both sockets.
    fn read(&mut self, events: &mut BTreeSet<HostEvent>) {
        while let Some(received) = receive(&self.route, &mut self.buffer) {
            let Ok(()) = received else {
                events.insert(HostEvent::Resync);
                break;
            };
            each_message(&self.buffer, |kind, sender, message| {
                events.extend(self.relevance.of_route_message(kind, sender, message));
            });
        }
        let Some(filter) = &self.filter else { return };
        while let Some(received) = receive(filter, &mut self.buffer) {
            let Ok(()) = received else {
                events.insert(HostEvent::Resync);
                break;
            };
            each_message(&self.buffer, |kind, _, message| {
                events.extend(relevance::of_filter_message(kind, message));
            });
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Woken {
    ByKernel,
    ByTime,
    ToEnd,
}

/// Reads one datagram; `None` when there is none, an error when notices were lost.
fn receive(socket: &Socket, buffer: &mut Vec<u8>) -> Option<io::Result<()>> {
    loop {
        buffer.clear();
        return match socket.recv_from(buffer, libc::MSG_TRUNC) {
            Ok((_, sender)) if sender.port_number() != 0 => continue,
            Ok((length, _)) if length > buffer.len() => {
                Some(Err(io::ErrorKind::FileTooLarge.into()))
            }
            Ok(_) => Some(Ok(())),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => Some(Err(error)),
        };
    }
}

/// Calls `visit` with type, sender and bytes of each message.
fn each_message(buffer: &[u8], mut visit: impl FnMut(u16, u32, &[u8])) {
    let mut rest = buffer;
    while let Ok(frame) = NetlinkBuffer::new_checked(rest) {
        let length = frame.length() as usize;
        visit(frame.message_type(), frame.port_number(), &rest[..length]);
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
}
