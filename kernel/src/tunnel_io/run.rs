//! Owns the life of a tunnel: what is made before it is ready, its threads, and what is gone after.

use std::io;
use std::thread;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::utsname::uname;
use sealane_tunnel::device::Device;
use thiserror::Error;
use tracing::info;

use super::control::{Control, Watches};
use super::link_watch::LinkWatch;
use super::offload::{Choices, Offloads, Release};
use super::process;
use super::receive::Intake;
use super::shared::{Ended, Shared};
use super::sockets::Sockets;
use super::transmit::Transmitter;
use super::tun::{LinkName, Tun, TunError};
use super::uapi_socket::{UapiSocket, UapiSocketError};

/// What a tunnel is started with; everything else comes by UAPI.
pub struct Settings {
    /// The link's name.
    pub name: LinkName,
    /// The link's MTU in bytes.
    pub mtu: u16,
    /// Which offloads are wanted.
    pub offloads: Choices,
}

/// Why a tunnel did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// No link.
    #[error(transparent)]
    Tun(#[from] TunError),
    /// No UAPI socket.
    #[error(transparent)]
    Uapi(#[from] UapiSocketError),
    /// No UDP sockets.
    #[error("UDP sockets: {0}")]
    Sockets(#[source] io::Error),
    /// No randomness.
    #[error("/dev/urandom: {0}")]
    Random(#[source] io::Error),
    /// Something else the kernel refused.
    #[error("{step}: {source}")]
    System {
        /// What was asked.
        step: &'static str,
        /// The kernel's answer.
        source: Errno,
    },
}

/// Makes the tunnel, tells `ready`, and runs it until it ends. Socket and link are gone then.
///
/// # Errors
/// [`StartError`]; nothing is left behind.
pub fn run(settings: &Settings, ready: impl FnOnce()) -> Result<Ended, StartError> {
    let signals = signals().map_err(|source| StartError::System { step: "signals", source })?;
    let release = uname()
        .map(|name| Release::parse(&name.release().to_string_lossy()))
        .map_err(|source| StartError::System { step: "uname", source })?;
    let offloads = Offloads::decide(settings.offloads, release);
    let seed = process::random_seed().map_err(StartError::Random)?;
    // The socket comes first: it tells a running tunnel from a link that merely has this name.
    let socket = UapiSocket::listen(&settings.name)?;
    let watch = |source| StartError::System { step: "netlink", source };
    let watches = Watches {
        links: LinkWatch::of_links().map_err(watch)?,
        ways: LinkWatch::of_ways().map_err(watch)?,
    };
    let tun = Tun::create(&settings.name, settings.mtu, offloads)?;
    let sockets = Sockets::bind(0, 0, offloads).map_err(StartError::Sockets)?;
    let mut device = Device::new(seed);
    device.set_listen_port(sockets.port());
    let shared = Shared::new(tun, sockets, settings.mtu, offloads)
        .map_err(|source| StartError::System { step: "event descriptors", source })?;
    info!(link = settings.name.as_str(), ?offloads, port = device.listen_port(), "tunnel is ready");
    ready();
    let control = Control::new(&shared, device, socket, signals, watches);
    Ok(run_threads(&shared, control))
}

fn run_threads(shared: &Shared, control: Control<'_>) -> Ended {
    thread::scope(|scope| {
        let threads = [
            spawn(scope, shared, "transmit", || Transmitter::new(shared).run()),
            spawn(scope, shared, "receive", || Intake::new(shared).run()),
        ];
        {
            let _guard = Guard { shared, name: "control" };
            control.run();
        }
        for thread in threads.into_iter().flatten() {
            // A thread that panicked has said so by its guard.
            let _ = thread.join();
        }
    });
    shared.stopped().unwrap_or_else(|| Ended::Fault("the threads ended by themselves".to_owned()))
}

fn spawn<'scope, 'env: 'scope>(
    scope: &'scope thread::Scope<'scope, 'env>,
    shared: &'env Shared,
    name: &'static str,
    body: impl FnOnce() + Send + 'scope,
) -> Option<thread::ScopedJoinHandle<'scope, ()>> {
    let guarded = move || {
        let _guard = Guard { shared, name };
        body();
    };
    match thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, guarded) {
        Ok(handle) => Some(handle),
        Err(error) => {
            shared.stop(Ended::Fault(format!("starting the {name} thread: {error}")));
            None
        }
    }
}

/// Ends the others when a thread ends, however it ends.
struct Guard<'a> {
    shared: &'a Shared,
    name: &'static str,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let how = if thread::panicking() { "panicked" } else { "ended" };
        self.shared.stop(Ended::Fault(format!("the {} thread {how}", self.name)));
    }
}

/// Blocks the signals that end a tunnel, in this thread and those it starts, and makes them
/// readable.
fn signals() -> Result<SignalFd, Errno> {
    let set: SigSet = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().collect();
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}
