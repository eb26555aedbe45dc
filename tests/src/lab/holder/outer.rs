//! Owns the lab's outermost process: its first namespaces, and its folder once all else is dead.

use std::env;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid, setsid};

use crate::lab::error::{LabError, Step};

/// The file with the number of the lab's process 1, as the machine counts.
pub const INIT_PID: &str = "init.pid";

/// Runs a lab in `dir` until its process 1 ends, then removes `dir`.
///
/// # Errors
/// Namespaces refused, or a folder that cannot be written or removed.
pub fn hold(dir: &Path) -> Result<(), LabError> {
    // Its own session: Ctrl-C ends the test, and the closed pipe then ends the lab, in that order.
    setsid().step("own session")?;
    enter_pid_namespace().map_err(|cause| LabError::Namespaces { cause })?;
    let program = env::current_exe().step("own path")?;
    let mut init = Command::new(program).arg("init").arg(dir).spawn().step("start process 1")?;
    fs::write(dir.join(INIT_PID), init.id().to_string()).step("record process 1")?;
    init.wait().step("wait for process 1")?;
    remove(dir)
}

/// Plainly where allowed, else, or if asked by `SEALANE_LAB_USERNS`, inside a user namespace in which
/// this user is root.
fn enter_pid_namespace() -> io::Result<()> {
    let plainly = match env::var_os("SEALANE_LAB_USERNS") {
        Some(_) => Err(Errno::EPERM),
        None => unshare(CloneFlags::CLONE_NEWPID),
    };
    match plainly {
        Ok(()) => Ok(()),
        Err(Errno::EPERM) => {
            let (uid, gid) = (geteuid(), getegid());
            unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWPID)?;
            fs::write("/proc/self/setgroups", "deny")?;
            fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
            fs::write("/proc/self/gid_map", format!("0 {gid} 1"))
        }
        Err(errno) => Err(errno.into()),
    }
}

/// Removes the lab's folder, unless something is mounted below it here: removing would then delete
/// what is mounted (hosts mount the machine's own /etc, though only in their private view).
fn remove(dir: &Path) -> Result<(), LabError> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").step("read the mounts")?;
    let below =
        |line: &str| line.split(' ').nth(4).is_some_and(|at| Path::new(at).starts_with(dir));
    if mounts.lines().any(below) {
        let cause = io::Error::from(Errno::EBUSY);
        return Err(LabError::Step { step: format!("remove {}", dir.display()), cause });
    }
    fs::remove_dir_all(dir).step(format!("remove {}", dir.display()))
}
