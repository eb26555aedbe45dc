//! Owns the control thread: handshakes, timers, UAPI, signals and what happens to the link. The only
//! thread that changes the device; the others see the tables it publishes.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signalfd::SignalFd;
use sealane_tunnel::device::{Device, LinkState};
use sealane_tunnel::endpoint::Outgoing;
use sealane_tunnel::uapi::{self, Request, SetDevice};
use sealane_tunnel::uapi_print;
use sealane_tunnel::uptime::Uptime;
use tracing::{debug, info, warn};
use zeroize::Zeroizing;

use super::connection::{Connection, Health};
use super::datagram::Patience;
use super::link_watch::LinkWatch;
use super::outbound::Outbound;
use super::process;
use super::shared::{Ended, Shared};
use super::sockets::Sockets;
use super::uapi_socket::UapiSocket;
use super::ways::Ways;

/// The longest wait, in milliseconds: the resolution of all timers.
const TICK_MS: u16 = 100;
/// How long a look at the link and at the socket file holds, unless there is news of links.
const LOOK: Duration = Duration::from_secs(1);
/// Changes of addresses and routes come in bursts; a burst is looked at once.
const SETTLED: Duration = Duration::from_millis(50);
/// Least time between two such looks.
const REVIEW: Duration = Duration::from_secs(1);
/// Handshake messages answered before timers and UAPI have their turn.
const LETTERS: usize = 64;
/// Clients of the UAPI socket at one time.
const MAX_CONNECTIONS: usize = 16;

/// The control thread's own state.
pub struct Control<'a> {
    shared: &'a Shared,
    device: Device,
    outbound: Outbound,
    socket: UapiSocket,
    signals: SignalFd,
    watches: Watches,
    connections: BTreeMap<u64, Connection>,
    next_connection: u64,
    next_look: Uptime,
    /// When local addresses are held against the ways, if there is news of those.
    review: Option<Uptime>,
    last_review: Uptime,
}

/// News of this host.
pub struct Watches {
    /// Of its links.
    pub links: LinkWatch,
    /// Of its addresses and routes.
    pub ways: LinkWatch,
}

/// What a wait was woken by.
struct Wake {
    signal: bool,
    links: bool,
    ways: bool,
    accept: bool,
    connections: Vec<(u64, PollFlags)>,
}

impl<'a> Control<'a> {
    /// Everything that must be there before the tunnel is ready.
    #[must_use]
    pub fn new(
        shared: &'a Shared,
        device: Device,
        socket: UapiSocket,
        signals: SignalFd,
        watches: Watches,
    ) -> Self {
        let outbound = Outbound { trains: shared.offloads.gso, patience: Patience::Now };
        Self {
            shared,
            device,
            outbound,
            socket,
            signals,
            watches,
            connections: BTreeMap::new(),
            next_connection: 0,
            next_look: Uptime::default(),
            review: None,
            last_review: Uptime::default(),
        }
    }

    /// Runs until the tunnel stops.
    pub fn run(mut self) {
        self.look_around();
        while !self.shared.is_stopping() {
            let wake = self.wait();
            if wake.signal && matches!(self.signals.read_signal(), Ok(Some(_))) {
                self.shared.stop(Ended::Signal);
                break;
            }
            if wake.links {
                self.watches.links.clear();
            }
            if wake.ways {
                self.watches.ways.clear();
                let now = self.shared.clock.now();
                self.review = Some(now.after(SETTLED).max(self.last_review.after(REVIEW)));
            }
            self.review_local_addresses();
            if wake.links || self.shared.clock.now() >= self.next_look {
                self.look_around();
            }
            self.shake();
            self.tick();
            if wake.accept {
                self.accept();
            }
            for (number, events) in wake.connections {
                self.serve(number, events);
            }
        }
    }

    fn wait(&self) -> Wake {
        let wanted = PollFlags::POLLIN;
        let mut ready = vec![
            PollFd::new(self.shared.stop_event().as_fd(), wanted),
            PollFd::new(self.shared.mailbox.event().as_fd(), wanted),
            PollFd::new(self.signals.as_fd(), wanted),
            PollFd::new(self.watches.links.as_fd(), wanted),
            PollFd::new(self.socket.as_fd(), wanted),
            // News that is known need not wake anybody once more.
            PollFd::new(
                self.watches.ways.as_fd(),
                self.review.map_or(wanted, |_| PollFlags::empty()),
            ),
        ];
        let fixed = ready.len();
        let clients = self.connections.values();
        ready.extend(clients.map(|client| PollFd::new(client.as_fd(), client.interest())));
        // A signal other than ours wakes the wait early; nothing is ready then.
        let _ = poll(&mut ready, TICK_MS);
        let events: Vec<PollFlags> =
            ready.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty())).collect();
        let connections = self.connections.keys().copied().zip(events[fixed..].iter().copied());
        Wake {
            signal: !events[2].is_empty(),
            links: !events[3].is_empty(),
            accept: !events[4].is_empty(),
            ways: !events[5].is_empty(),
            connections: connections.filter(|(_, events)| !events.is_empty()).collect(),
        }
    }

    /// Sees what others did to the link and to the socket file. Once a second, which is often enough
    /// for the watchdog of any sensible unit.
    fn look_around(&mut self) {
        process::notify_alive();
        self.next_look = self.shared.clock.now().after(LOOK);
        self.look_at_link();
        if !self.socket.is_ours() {
            self.shared.stop(Ended::SocketDeleted);
        }
    }

    /// Once routes or addresses have changed: answering from the address that a peer last sent to is
    /// right only while packets to it leave by that address's link.
    fn review_local_addresses(&mut self) {
        let now = self.shared.clock.now();
        if self.review.is_none_or(|due| now < due) {
            return;
        }
        self.review = None;
        self.last_review = now;
        match Ways::look(self.device.fwmark()) {
            Ok(ways) => {
                self.device.review_local_addresses(|remote, local| ways.lead(remote, local))
            }
            Err(error) => debug!(%error, "asking for this host's addresses"),
        }
    }

    /// Takes note of the link's flags and MTU; a deleted link ends the tunnel.
    fn look_at_link(&mut self) {
        let facts = match self.shared.tun.facts() {
            Ok(Some(facts)) => facts,
            // Moved to another network namespace: it goes on as it was.
            Ok(None) => return,
            Err(Errno::EBADFD | Errno::ENODEV) => return self.shared.stop(Ended::LinkDeleted),
            Err(error) => return debug!(%error, "asking the link"),
        };
        self.shared.set_mtu(facts.mtu);
        let link = if facts.up { LinkState::Up } else { LinkState::Down };
        if link != self.device.link() {
            debug!(?link, "link changed");
            self.device.set_link(link);
        }
    }

    fn shake(&mut self) {
        let mut out = Vec::new();
        self.device.note_queue(self.shared.mailbox.waiting(), self.shared.clock.now());
        for letter in self.shared.mailbox.collect(LETTERS) {
            let now = self.shared.clock.now();
            if let Err(refusal) = self.device.shake(letter.message(), letter.from, now, &mut out) {
                debug!(from = %letter.from.remote, %refusal, "handshake message dropped");
            }
            self.send(&mut out);
        }
    }

    fn tick(&mut self) {
        let mut out = Vec::new();
        self.device.tick(self.shared.clock.now(), &mut out);
        self.device.forget_predecessor(self.shared.clock.now());
        self.send(&mut out);
    }

    fn send(&self, out: &mut Vec<Outgoing>) {
        if !out.is_empty() {
            self.outbound.send_all(&self.shared.sockets.load(), out);
            out.clear();
        }
    }

    fn accept(&mut self) {
        while let Ok(stream) = self.socket.accept() {
            if self.connections.len() < MAX_CONNECTIONS {
                self.connections.insert(self.next_connection, Connection::new(stream));
                self.next_connection += 1;
            } else {
                warn!("more than {MAX_CONNECTIONS} clients on the UAPI socket; one was refused");
            }
        }
    }

    fn serve(&mut self, number: u64, events: PollFlags) {
        let Some(mut client) = self.connections.remove(&number) else { return };
        let mut health =
            if events.contains(PollFlags::POLLOUT) { client.write() } else { client.read() };
        // A client may close its sending half right after its request, and wait.
        while client.interest() == PollFlags::POLLIN
            && let Some(request) = client.request()
        {
            let answer = self.execute(&request);
            if client.answer(&answer) == Health::Closed {
                health = Health::Closed;
            }
        }
        if health == Health::Open || client.interest() == PollFlags::POLLOUT {
            self.connections.insert(number, client);
        }
    }

    /// The answer to one request.
    fn execute(&mut self, request: &[u8]) -> Zeroizing<String> {
        let parsed = std::str::from_utf8(request)
            .map_err(|_| uapi::UapiError::Operation)
            .and_then(uapi::parse);
        let number = match parsed {
            Ok(Request::Get) => return self.show(),
            Ok(Request::Version) => {
                return Zeroizing::new(uapi_print::version(env!("CARGO_PKG_VERSION")));
            }
            Ok(Request::Set(change)) => match self.change(*change) {
                Ok(()) => 0,
                Err(error) => error as i32,
            },
            Err(error) => {
                warn!(%error, "UAPI request refused");
                error.errno()
            }
        };
        Zeroizing::new(uapi_print::errno(number))
    }

    fn show(&self) -> Zeroizing<String> {
        let overrun = self.shared.overrun();
        uapi_print::print(&self.device, self.shared.clock.epoch(), overrun)
    }

    fn change(&mut self, change: SetDevice) -> Result<(), Errno> {
        if let Some(port) = change.listen_port {
            self.rebind(port, change.fwmark.unwrap_or(self.device.fwmark()))?;
        }
        if let Some(mark) = change.fwmark
            && let Err(error) = self.shared.sockets.load().set_mark(mark)
        {
            warn!(%error, mark, "marking sockets refused; CAP_NET_ADMIN is needed");
            return Err(error.raw_os_error().map_or(Errno::EIO, Errno::from_raw));
        }
        let mut out = Vec::new();
        self.device.configure(change, self.shared.clock.now(), &mut out);
        self.shared.table.store(Arc::new(self.device.table()));
        self.send(&mut out);
        Ok(())
    }

    /// Moves to another port; the old sockets close once the receiving thread has left them.
    fn rebind(&mut self, port: u16, mark: u32) -> Result<(), Errno> {
        if port != 0 && port == self.device.listen_port() {
            return Ok(());
        }
        let sockets = Sockets::bind(port, mark, self.shared.offloads).map_err(|error| {
            warn!(%error, port, "binding the listen port refused");
            error.raw_os_error().map_or(Errno::EADDRINUSE, Errno::from_raw)
        })?;
        info!(port = sockets.port(), "listening");
        self.device.set_listen_port(sockets.port());
        self.device.forget_local_addresses();
        self.shared.replace_sockets(sockets);
        // The counter cannot fill up: the receiving thread resets it on every wake.
        let _ = self.shared.sockets_changed.write(1);
        Ok(())
    }
}
