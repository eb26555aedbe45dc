//! Owns process 1 of a lab: starts keepers on request, reaps orphans, and by ending ends the lab.

use std::env;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::read;

use crate::lab::error::{LabError, Step};

/// What the test writes to make process 1 outlive it.
pub const KEEP: &str = "keep";

/// How often orphans are reaped while nothing is asked.
const REAP_EVERY: u16 = 200;

/// Serves lines of standard input: `keep`, or the name of a host to start. Returns at its end,
/// unless `keep` came before.
///
/// # Errors
/// Namespaces or mounts refused, or a keeper that cannot be started.
pub fn serve(dir: &Path) -> Result<(), LabError> {
    set_pdeathsig(Signal::SIGKILL).step("die with the outer process")?;
    let own = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC;
    unshare(own).map_err(|errno| LabError::Namespaces { cause: errno.into() })?;
    private_mounts().step("make the mounts private")?;
    let mut pending = String::new();
    let mut kept = false;
    loop {
        while let Some((line, rest)) = pending.split_once('\n') {
            match line {
                KEEP => kept = true,
                host => start_keeper(dir, host)?,
            }
            pending = rest.to_owned();
        }
        match next_input().step("read requests")? {
            Input::Text(text) => pending.push_str(&text),
            Input::Quiet => {}
            Input::Closed if kept => return reap_for_ever(),
            Input::Closed => return Ok(()),
        }
        while matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(s) if s != WaitStatus::StillAlive)
        {
        }
    }
}

fn private_mounts() -> nix::Result<()> {
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, none)
}

fn start_keeper(dir: &Path, host: &str) -> Result<(), LabError> {
    let home = dir.join("hosts").join(host);
    fs::create_dir_all(&home).step(format!("create {}", home.display()))?;
    let log = File::create(home.join("keeper.log")).step(format!("{host}: keeper's log"))?;
    Command::new(env::current_exe().step("own path")?)
        .arg("keeper")
        .arg(dir)
        .arg(host)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .step(format!("{host}: start its keeper"))?;
    Ok(())
}

enum Input {
    Text(String),
    Quiet,
    Closed,
}

fn next_input() -> io::Result<Input> {
    let stdin = io::stdin();
    let mut ready = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
    if poll(&mut ready, PollTimeout::from(REAP_EVERY))? == 0 {
        return Ok(Input::Quiet);
    }
    let mut buffer = [0; 512];
    match read(stdin.as_fd(), &mut buffer)? {
        0 => Ok(Input::Closed),
        n => Ok(Input::Text(String::from_utf8_lossy(&buffer[..n]).into_owned())),
    }
}

/// Keepers never end by themselves, so there is always something to wait for.
fn reap_for_ever() -> Result<(), LabError> {
    loop {
        match waitpid(None, None) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).step("wait for orphans"),
        }
    }
}
