//! Owns the life of `sealane-tunnel` processes: started so that they outlive us or asked of systemd,
//! found again by their socket, stopped by the process behind it. Does not own what is configured
//! through it.
#![expect(unsafe_code, reason = "a child leaves our session between fork and exec")]

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::{Pid, setsid};
use parking_lot::Mutex;
use sealane_state::name::LinkName;

use crate::wireguard::uapi::Sockets;
use crate::wireguard::{Control, WireguardError};

/// The program that runs a userspace device.
pub const PROGRAM: &str = "sealane-tunnel";

/// A tunnel is up, or gone, within this time.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often the condition that is waited for is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// A log beyond this size is begun anew at the next start.
const LONGEST_LOG_BYTES: u64 = 1024 * 1024;
/// Below the folder of logs: a file for each tunnel that is to run, which `sealane-tunnel@.path`
/// watches.
const WISHES: &str = "tunnels";

/// Who starts and stops tunnel processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Supervision {
    /// We do.
    Ours,
    /// systemd does, whenever our file in [`Tunnels::wish`] asks for it; we stop it.
    Systemd,
    /// A service manager or another container does; we only wait for the socket.
    External,
}

/// The tunnel processes of this host.
#[derive(Debug)]
pub struct Tunnels {
    sockets: Sockets,
    supervision: Supervision,
    configured: Option<PathBuf>,
    log_dir: PathBuf,
    /// Those that this process started; kept only to reap them when they end.
    children: Mutex<BTreeMap<LinkName, Child>>,
}

/// Why a tunnel process is not up, or not gone.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// There is no program to start.
    #[error(
        "tunnel {link}: sealane-tunnel not found beside this program or in PATH; install it or \
         name it in the configuration"
    )]
    NoProgram {
        /// The link.
        link: LinkName,
    },
    /// The process could not be started.
    #[error("tunnel {link}: {program} could not be started: {fault}")]
    Start {
        /// The link.
        link: LinkName,
        /// What was to be started.
        program: PathBuf,
        /// What the system says.
        fault: io::Error,
    },
    /// The process ended instead of serving; its last words are the reason.
    #[error("tunnel {link}: sealane-tunnel ended with {status}: {last_words}")]
    Ended {
        /// The link.
        link: LinkName,
        /// How it ended.
        status: ExitStatus,
        /// Last line of its log.
        last_words: String,
    },
    /// The process runs and does not answer; retrying may help.
    #[error("tunnel {link}: no answer at its socket within {} s; see {log}", PATIENCE.as_secs())]
    Silent {
        /// The link.
        link: LinkName,
        /// Where its log is.
        log: PathBuf,
    },
    /// systemd was asked for it and none answers; retrying may help.
    #[error(
        "tunnel {link}: {wish} asks systemd for it, and none answers within {} s; see journalctl -u \
         sealane-tunnel@{link}, and whether sealane-tunnel@{link}.path is active",
        PATIENCE.as_secs()
    )]
    NoUnit {
        /// The link.
        link: LinkName,
        /// The file that asks.
        wish: PathBuf,
    },
    /// systemd could not be asked, or not be told that it is enough.
    #[error("tunnel {link}: {wish}: {fault}")]
    Wish {
        /// The link.
        link: LinkName,
        /// The file that asks.
        wish: PathBuf,
        /// What the system says.
        fault: io::Error,
    },
    /// Someone else has to act.
    #[error(
        "tunnel {link}: not ours to {verb}; `systemctl {verb} sealane-tunnel@{link}` does, or the \
         tunnel DaemonSet"
    )]
    External {
        /// The link.
        link: LinkName,
        /// `start` or `stop`.
        verb: &'static str,
    },
    /// The process behind the socket cannot be named from here, or not be signalled.
    #[error("tunnel {link}: process behind its socket cannot be stopped: {fault}")]
    Stop {
        /// The link.
        link: LinkName,
        /// What the system says.
        fault: io::Error,
    },
    /// The socket cannot be asked.
    #[error(transparent)]
    Socket(#[from] WireguardError),
}

impl Tunnels {
    /// Describes how tunnels are run: their sockets, who supervises them, the folder of their logs.
    pub fn new(sockets: Sockets, supervision: Supervision, log_dir: &Path) -> Self {
        let log_dir = log_dir.to_owned();
        Self { sockets, supervision, configured: None, log_dir, children: Mutex::default() }
    }

    /// Starts this program instead of the one beside ours or in `PATH`.
    pub fn with_program(self, program: &Path) -> Self {
        Self { configured: Some(program.to_owned()), ..self }
    }

    /// Returns the sockets of the tunnels.
    pub fn sockets(&self) -> &Sockets {
        &self.sockets
    }

    /// Returns whether a tunnel can run here: there is `/dev/net/tun` and a program, or someone
    /// else sees to both.
    pub fn available(&self) -> bool {
        match self.supervision {
            Supervision::External => true,
            // Whoever is kept from the device by their unit can still see that it is there.
            Supervision::Systemd => Path::new("/dev/net/tun").exists(),
            Supervision::Ours => {
                let tun = OpenOptions::new().read(true).write(true).open("/dev/net/tun");
                tun.is_ok() && self.program().is_some()
            }
        }
    }

    /// Starts the tunnel of a link, unless it runs, and waits until it answers.
    ///
    /// The process is in a session of its own, and neither its input nor its output is ours: it
    /// goes on when we end, however we end.
    ///
    /// # Errors
    /// [`TunnelError`]; with [`Supervision::External`] nothing is started.
    pub fn start(&self, link: &LinkName, mtu: u32) -> Result<(), TunnelError> {
        self.reap();
        if self.answers(link) {
            return Ok(());
        }
        match self.supervision {
            Supervision::Ours => self.start_child(link, mtu),
            Supervision::Systemd => {
                self.ask_systemd(link)?;
                let up = within(PATIENCE, || self.answers(link));
                let unheard = || TunnelError::NoUnit { link: link.clone(), wish: self.wish(link) };
                up.then_some(()).ok_or_else(unheard)
            }
            Supervision::External => {
                let up = within(PATIENCE, || self.answers(link));
                up.then_some(()).ok_or_else(|| external(link, "start"))
            }
        }
    }

    fn start_child(&self, link: &LinkName, mtu: u32) -> Result<(), TunnelError> {
        let child = self.spawn(link, mtu)?;
        self.children.lock().insert(link.clone(), child);
        let mut ended = None;
        let up = within(PATIENCE, || {
            ended = self.ended(link);
            ended.is_some() || self.answers(link)
        });
        match ended {
            Some(status) => {
                let last_words = last_line(&self.log(link));
                Err(TunnelError::Ended { link: link.clone(), status, last_words })
            }
            None if up => Ok(()),
            None => Err(TunnelError::Silent { link: link.clone(), log: self.log(link) }),
        }
    }

    /// Stops the tunnel of a link and waits until nobody serves its socket; its device goes with
    /// it. A tunnel that does not heed SIGTERM in time is killed.
    ///
    /// # Errors
    /// [`TunnelError`]; with [`Supervision::External`] nothing is stopped.
    pub fn stop(&self, link: &LinkName) -> Result<(), TunnelError> {
        if self.supervision == Supervision::Systemd {
            // First, or systemd would start the next one.
            self.ask_systemd_no_more(link)?;
        }
        if self.sockets.is_served(link) {
            if self.supervision == Supervision::External {
                return Err(external(link, "stop"));
            }
            self.signal(link, Signal::SIGTERM)?;
            if !within(PATIENCE, || self.is_gone(link)) {
                self.signal(link, Signal::SIGKILL)?;
                if !within(PATIENCE, || self.is_gone(link)) {
                    return Err(stop_fault(link, Errno::EBUSY));
                }
            }
        }
        self.reap();
        self.remove_stale_socket(link)
    }

    /// Returns the file by which systemd is asked for the tunnel of a link.
    pub fn wish(&self, link: &LinkName) -> PathBuf {
        self.log_dir.join(WISHES).join(link.as_str())
    }

    /// Takes note of tunnels that we started and that have ended since.
    pub fn reap(&self) {
        self.children.lock().retain(|_, child| matches!(child.try_wait(), Ok(None)));
    }

    /// Returns whether the device of this name that is there can be that of a tunnel: one serves
    /// it, or someone else is about to have it served.
    pub fn may_stand_behind(&self, link: &LinkName) -> bool {
        self.supervision == Supervision::External || self.sockets.is_served(link)
    }

    fn ask_systemd(&self, link: &LinkName) -> Result<(), TunnelError> {
        let wish = self.wish(link);
        let asked = DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(self.log_dir.join(WISHES))
            .and_then(|()| OpenOptions::new().append(true).create(true).mode(0o644).open(&wish));
        asked.map(drop).map_err(|fault| TunnelError::Wish { link: link.clone(), wish, fault })
    }

    fn ask_systemd_no_more(&self, link: &LinkName) -> Result<(), TunnelError> {
        let wish = self.wish(link);
        match fs::remove_file(&wish) {
            Err(fault) if fault.kind() != io::ErrorKind::NotFound => {
                Err(TunnelError::Wish { link: link.clone(), wish, fault })
            }
            _ => Ok(()),
        }
    }

    fn answers(&self, link: &LinkName) -> bool {
        self.sockets.read(link).is_ok()
    }

    /// Says whether the process has ended: its socket goes first, its link with its last descriptor.
    fn is_gone(&self, link: &LinkName) -> bool {
        self.reap();
        !self.sockets.is_served(link) && if_nametoindex(link.as_str()).is_err()
    }

    fn ended(&self, link: &LinkName) -> Option<ExitStatus> {
        let mut children = self.children.lock();
        let status = children.get_mut(link)?.try_wait().ok()??;
        children.remove(link);
        Some(status)
    }

    fn spawn(&self, link: &LinkName, mtu: u32) -> Result<Child, TunnelError> {
        let program =
            self.program().ok_or_else(|| TunnelError::NoProgram { link: link.clone() })?;
        let started = self.open_log(link).and_then(|log| {
            let mut command = Command::new(&program);
            command
                // What systemd said there concerns us, not the child.
                .env_remove("NOTIFY_SOCKET")
                .env_remove("WATCHDOG_USEC")
                .env_remove("WATCHDOG_PID")
                .args(["--foreground", link.as_str(), "--mtu", &mtu.to_string()])
                .current_dir("/")
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log);
            // SAFETY: between fork and exec only setsid is called, which is async-signal-safe and
            // allocates nothing.
            unsafe {
                command.pre_exec(|| setsid().map(drop).map_err(io::Error::from));
            }
            command.spawn()
        });
        started.map_err(|fault| TunnelError::Start { link: link.clone(), program, fault })
    }

    fn open_log(&self, link: &LinkName) -> io::Result<File> {
        DirBuilder::new().recursive(true).mode(0o755).create(&self.log_dir)?;
        let path = self.log(link);
        if path.metadata().is_ok_and(|log| log.len() > LONGEST_LOG_BYTES) {
            fs::remove_file(&path)?;
        }
        OpenOptions::new().append(true).create(true).mode(0o600).open(path)
    }

    fn log(&self, link: &LinkName) -> PathBuf {
        self.log_dir.join(format!("{link}.log"))
    }

    fn program(&self) -> Option<PathBuf> {
        if let Some(program) = &self.configured {
            return is_program(program).then(|| program.clone());
        }
        let beside = env::current_exe().ok().and_then(|own| Some(own.parent()?.join(PROGRAM)));
        let path = env::var_os("PATH").unwrap_or_default();
        let in_path = env::split_paths(&path).map(|folder| folder.join(PROGRAM));
        beside.into_iter().chain(in_path).find(|program| is_program(program))
    }

    /// Signals the process that listens at the socket, whoever started it.
    fn signal(&self, link: &LinkName, signal: Signal) -> Result<(), TunnelError> {
        let stream = match self.sockets.connect(link) {
            Err(WireguardError::NoDevice { .. }) => return Ok(()),
            other => other?,
        };
        let peer = getsockopt(&stream, sockopt::PeerCredentials)
            .map_err(|errno| stop_fault(link, errno))?;
        // 0 is a process of another PID namespace; 1 and ourselves never are tunnels.
        if peer.pid() <= 1 || Pid::from_raw(peer.pid()) == Pid::this() {
            return Err(stop_fault(link, Errno::ESRCH));
        }
        // The connection stands, so the listener has not ended and its number is still its own.
        match kill(Pid::from_raw(peer.pid()), signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(stop_fault(link, errno)),
        }
    }

    fn remove_stale_socket(&self, link: &LinkName) -> Result<(), TunnelError> {
        match fs::remove_file(self.sockets.path(link)) {
            Err(fault) if fault.kind() != io::ErrorKind::NotFound => {
                Err(TunnelError::Stop { link: link.clone(), fault })
            }
            _ => Ok(()),
        }
    }
}

fn external(link: &LinkName, verb: &'static str) -> TunnelError {
    TunnelError::External { link: link.clone(), verb }
}

fn stop_fault(link: &LinkName, errno: Errno) -> TunnelError {
    TunnelError::Stop { link: link.clone(), fault: errno.into() }
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

fn last_line(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines().next_back().unwrap_or("it said nothing").to_owned()
}

/// Waits until `condition` holds, at most for `patience`; returns whether it came to hold.
fn within(patience: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(LOOK_EVERY);
    }
}
