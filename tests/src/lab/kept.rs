//! Owns labs that outlive the process that built them: how to look around, and how to remove one.

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::lab::error::{LabError, Step};
use crate::lab::holder::outer::INIT_PID;
use crate::lab::wait;
use crate::lab::world::base_dir;

/// Marks a lab's folder as that of a kept lab.
const MARK: &str = "kept.json";

/// How long the kernel may take to end a lab.
const END_DEADLINE: Duration = Duration::from_secs(20);

/// A lab that stays. `Display` is for the person who wants to look around.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Kept {
    /// The lab's name.
    pub name: String,
    /// Its folder.
    pub dir: PathBuf,
    /// A script: `enter HOST [COMMAND…]`.
    pub enter: PathBuf,
    /// Its hosts.
    pub hosts: Vec<String>,
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "lab {} stays up; look around with:", self.name)?;
        writeln!(f, "  {} HOST [COMMAND...]", self.enter.display())?;
        writeln!(f, "hosts: {}", self.hosts.join(" "))?;
        writeln!(f, "logs: {}/hosts/*/log/", self.dir.display())?;
        write!(f, "A host sees the processes of all: end one by its number, not by its name.")
    }
}

/// Writes the mark and the script of a lab that is to stay.
///
/// # Errors
/// Files that cannot be written.
pub fn record(name: &str, dir: &Path) -> Result<Kept, LabError> {
    let enter = dir.join("enter");
    fs::write(&enter, script(dir)).step(format!("write {}", enter.display()))?;
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(&enter, mode).step(format!("make {} executable", enter.display()))?;
    let entries = fs::read_dir(dir.join("hosts")).step("list the hosts")?;
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut hosts: Vec<String> = names.collect();
    hosts.sort();
    let kept = Kept { name: name.to_owned(), dir: dir.to_owned(), enter, hosts };
    let mark = serde_json::to_string_pretty(&kept).map_err(std::io::Error::from).step("encode")?;
    fs::write(dir.join(MARK), mark).step("write the mark of a kept lab")?;
    Ok(kept)
}

/// The kept labs of this user, by folder.
///
/// # Errors
/// The folder of labs is unreadable.
pub fn list() -> Result<Vec<Kept>, LabError> {
    let entries = fs::read_dir(base_dir()?).step("list the labs")?;
    let marks = entries.flatten().map(|entry| entry.path().join(MARK));
    let mut kept: Vec<Kept> = marks
        .filter_map(|mark| fs::read(mark).ok())
        .filter_map(|mark| serde_json::from_slice(&mark).ok())
        .collect();
    kept.sort_by(|a, b| a.dir.cmp(&b.dir));
    Ok(kept)
}

/// Ends every kept lab of that name; answers how many. A lab that has died already (a reboot)
/// counts: its folder is removed.
///
/// # Errors
/// A lab that does not end.
pub fn remove(name: &str) -> Result<usize, LabError> {
    let labs: Vec<Kept> = list()?.into_iter().filter(|kept| kept.name == name).collect();
    for kept in &labs {
        end(&kept.dir)?;
    }
    Ok(labs.len())
}

fn end(dir: &Path) -> Result<(), LabError> {
    match running_init(dir) {
        Some(pid) => {
            let step = format!("end {}", dir.display());
            kill(pid, Signal::SIGKILL).step(step.as_str())?;
            wait::until(END_DEADLINE, step, || !dir.exists())
        }
        None => fs::remove_dir_all(dir).step(format!("remove {}", dir.display())),
    }
}

/// Process 1 of the lab in `dir`, unless its number belongs to another process by now.
fn running_init(dir: &Path) -> Option<Pid> {
    let pid: i32 = fs::read_to_string(dir.join(INIT_PID)).ok()?.parse().ok()?;
    let cmdline = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let mut words = cmdline.split(|byte| *byte == 0);
    let is_ours = words.any(|word| word == dir.as_os_str().as_encoded_bytes());
    is_ours.then(|| Pid::from_raw(pid))
}

/// `nsenter` takes the user namespace only where the lab has one of its own.
fn script(dir: &Path) -> String {
    format!(
        r#"#!/bin/sh
# Run a command, or a shell, on a host of this lab.
set -eu
lab='{dir}'
if [ $# -lt 1 ] || ! [ -f "$lab/hosts/$1/pid" ]; then
    echo "usage: enter HOST [COMMAND...]; hosts:" $(ls "$lab/hosts") >&2
    exit 2
fi
host=$1
pid=$(cat "$lab/hosts/$host/pid")
shift
user=
if [ "$(readlink "/proc/$pid/ns/user")" != "$(readlink /proc/self/ns/user)" ]; then
    user='--user --preserve-credentials'
fi
[ $# -gt 0 ] || set -- "${{SHELL:-/bin/sh}}"
PATH="{bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
export PATH
exec nsenter --target "$pid" $user --mount --net --uts --ipc --pid -- "$@"
"#,
        dir = dir.display(),
        bin = crate::lab::world::built("lab-holder")
            .ok()
            .and_then(|path| path.parent().map(|dir| dir.display().to_string()))
            .unwrap_or_default(),
    )
}
