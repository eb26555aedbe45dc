//! Owns one host: its network, mount and host-name namespaces, and the socket on which a test asks
//! for things to be done inside them.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::sethostname;

use crate::lab::error::{LabError, Step};
use crate::lab::holder::jobs::Jobs;
use crate::lab::holder::view;
use crate::lab::wire::{self, Answer, Request};

/// The socket's file name in the host's folder.
pub const SOCKET: &str = "socket";

/// IPv6 addresses are usable at once: nothing in a lab is there twice unless a test wants it.
const SYSCTLS: [(&str, &str); 2] = [
    ("/proc/sys/net/ipv6/conf/all/accept_dad", "0"),
    ("/proc/sys/net/ipv6/conf/default/accept_dad", "0"),
];

/// Becomes the host and serves until killed.
///
/// # Errors
/// Namespaces, mounts or the socket refused.
pub fn keep(dir: &Path, host: &str) -> Result<(), LabError> {
    let home = dir.join("hosts").join(host);
    let own = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS;
    unshare(own).map_err(|errno| LabError::Namespaces { cause: errno.into() })?;
    sethostname(host).step("set the host's name")?;
    view::mount_view(&home, host).step("mount the host's view")?;
    for (path, value) in SYSCTLS {
        fs::write(path, value).step(path)?;
    }
    Command::new("ip").args(["link", "set", "lo", "up"]).status().step("ip link set lo up")?;
    // Bound under another name and renamed: who sees the socket can connect to it.
    let unready = home.join("socket.new");
    let listener = UnixListener::bind(&unready).step(format!("bind {}", unready.display()))?;
    fs::rename(&unready, home.join(SOCKET)).step("publish the socket")?;
    let jobs = Arc::new(Jobs::new(home));
    for stream in listener.incoming() {
        let (stream, jobs) = (stream.step("accept")?, Arc::clone(&jobs));
        thread::spawn(move || converse(&stream, &jobs));
    }
    Ok(())
}

/// One request, one answer. A test that went away needs no answer.
fn converse(stream: &UnixStream, jobs: &Jobs) {
    let Ok(request) = wire::receive::<Request>(stream) else { return };
    let answer = perform(request, jobs).map_err(|error| error.to_string());
    let _ = wire::send(stream, &answer);
}

fn perform(request: Request, jobs: &Jobs) -> io::Result<Answer> {
    match request {
        Request::Run { invocation, stdin, timeout_ms } => jobs.run(&invocation, &stdin, timeout_ms),
        Request::Spawn { invocation, log } => jobs.spawn(&invocation, &log),
        Request::Signal { pid, signal } => jobs.signal(pid, signal),
        Request::Wait { pid, timeout_ms } => jobs.wait(pid, timeout_ms),
        Request::Find { program } => jobs.find(&program),
        Request::Write { path, contents, mode } => write(&path, &contents, mode),
        Request::Read { path } => Ok(Answer::Text(fs::read_to_string(path)?)),
    }
}

fn write(path: &Path, contents: &str, mode: u32) -> io::Result<Answer> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, contents)?;
    // Files of /proc/sys are written like others but keep their own mode.
    if !path.starts_with("/proc") {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    Ok(Answer::Done)
}
