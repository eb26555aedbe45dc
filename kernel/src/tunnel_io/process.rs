//! Owns what the process does about itself: no core dumps, no new privileges, going to the
//! background, telling systemd.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Command, ExitStatus, Stdio};

use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{dup2_stderr, dup2_stdout, setsid};
use sd_notify::NotifyState;
use zeroize::Zeroizing;

/// The line by which a background child tells that it is ready.
const READY: &str = "ready";

/// Keeps secrets of this process out of core dumps and away from debuggers.
///
/// # Errors
/// What the kernel says; the process should not go on then.
pub fn harden() -> nix::Result<()> {
    prctl::set_dumpable(false)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    prctl::set_no_new_privs()
}

/// 32 bytes from the kernel's generator.
///
/// # Errors
/// `/dev/urandom` cannot be read.
pub fn random_seed() -> io::Result<Zeroizing<[u8; 32]>> {
    let mut seed = Zeroizing::new([0; 32]);
    File::open("/dev/urandom")?.read_exact(&mut seed[..])?;
    Ok(seed)
}

/// Tells systemd that the tunnel is up, if systemd asked to be told.
pub fn notify_ready() {
    // Without NOTIFY_SOCKET this does nothing; a systemd that went away does not stop a tunnel.
    let _ = sd_notify::notify(&[NotifyState::Ready]);
}

/// Tells systemd that the tunnel is not stuck, if systemd waits to hear it.
pub fn notify_alive() {
    // Without a watchdog, or with one that is meant for whoever started us, nobody waits for it.
    if sd_notify::watchdog_enabled().is_none() {
        return;
    }
    let _ = sd_notify::notify(&[NotifyState::Watchdog]);
}

/// Tells systemd that the tunnel ends.
pub fn notify_stopping() {
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
}

/// How the start of a background child went.
pub enum Launch {
    /// It runs and is ready.
    Ready,
    /// It ended before it was ready; it has said why on standard error.
    Ended(ExitStatus),
}

/// Starts this program again with other arguments, in a session of its own, and waits until it is
/// ready.
///
/// # Errors
/// The program cannot be started.
pub fn launch(arguments: &[String]) -> io::Result<Launch> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    if let Some(output) = child.stdout.take() {
        BufReader::new(output).read_line(&mut line)?;
    }
    if line.trim_end() == READY { Ok(Launch::Ready) } else { child.wait().map(Launch::Ended) }
}

/// In the child of [`launch`]: leaves the session of whoever started it.
///
/// # Errors
/// The process leads a group already.
pub fn leave_session() -> nix::Result<()> {
    setsid().map(drop)
}

/// In the child of [`launch`]: tells the parent, and lets go of its terminal.
///
/// # Errors
/// The parent is gone, or `/dev/null` is missing.
pub fn announce_ready() -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{READY}")?;
    output.flush()?;
    let null = File::options().write(true).open("/dev/null")?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    Ok(())
}
