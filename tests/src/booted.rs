//! Owns a machine that systemd boots in the network of a lab's host, with the product installed by
//! `make install`: its start, commands in it, its end. What it boots is `tests/scripts/setup.sh`'s.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::geteuid;
use serde::de::DeserializeOwned;

use crate::assets;
use crate::lab::error::LabError;
use crate::lab::host::Host;
use crate::lab::process::Process;
use crate::lab::wait::eventually;
use crate::lab::world;

/// How long systemd may take to boot or to halt on a busy machine; 1 s seen.
const BOOT: Duration = Duration::from_secs(60);

/// What a program is told that asks for its terminal, its path and its language.
const ENVIRONMENT: &str =
    "env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 HOME=/root NO_COLOR=1";

/// Signal 4 beyond the first of real time: systemd powers off.
const POWER_OFF: &str = "RTMIN+4";

/// In a mount namespace of its own, on a root file system that is forgotten with it. The cgroup is one
/// that no other machine is in.
const START: &str = r#"
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir "/sys/fs/cgroup/$CGROUP"
echo $$ > "/sys/fs/cgroup/$CGROUP/cgroup.procs"
mkdir -p /run/machine /run/systemd/nspawn
mount -t tmpfs -o mode=755 machine /run/machine
cd /run/machine
mkdir upper work root
mount -t overlay -o "lowerdir=$TREE,upperdir=/run/machine/upper,workdir=/run/machine/work" overlay root
make -s -C "$PROJECT" install BIN="$BIN" DESTDIR=/run/machine/root PREFIX=/usr
exec systemd-nspawn -q -b -D root --machine="$NAME" --capability=CAP_NET_ADMIN,CAP_NET_RAW \
    --network-namespace-path=/proc/self/ns/net --resolv-conf=off --register=no --keep-unit \
    --console=read-only </dev/null
"#;

/// Removes what a machine leaves of its cgroup.
const SWEEP: &str = r#"
mount -t cgroup2 cgroup2 /sys/fs/cgroup
[ ! -d "/sys/fs/cgroup/$CGROUP" ] || find "/sys/fs/cgroup/$CGROUP" -depth -type d -exec rmdir {} +
"#;

/// A running machine. Its network is its host's.
#[derive(Debug)]
pub struct Booted {
    process: Process,
    leader: i32,
    cgroup: String,
}

/// Why no machine can be booted here.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// systemd-nspawn takes real privileges, unlike the lab.
    #[error(
        "a machine that systemd boots takes root, not only a user namespace: run the test as root"
    )]
    NotRoot,
    /// There is nothing to boot.
    #[error("{}: {cause}; tests/scripts/setup.sh makes it", tree.display())]
    NoTree {
        /// Where it is looked for.
        tree: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// It did not come up.
    #[error(transparent)]
    Lab(#[from] LabError),
}

impl Booted {
    /// Installs the product into a fresh Debian, boots it in the host's network, and makes the users
    /// and folders that the product says it needs.
    ///
    /// # Errors
    /// [`BootError`]; the console is in the error.
    pub fn start(host: &Host) -> Result<Self, BootError> {
        if !geteuid().is_root() {
            return Err(BootError::NotRoot);
        }
        let tree = tree()?;
        let agent = world::built("sealane-agent")?;
        let programs = agent.parent().unwrap_or(Path::new("/")).display();
        let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let cgroup = format!("sealane-{}-{}", std::process::id(), host.name());
        let command = host.command("unshare").args(["--mount", "sh", "-ec", START]);
        let command = command.env("TREE", tree.display()).env("PROJECT", project.display());
        let command = command.env("BIN", programs).env("NAME", host.name());
        let process = command.env("CGROUP", &cgroup).spawn()?;
        let leader = eventually(BOOT, format!("{}: systemd starts", host.name()), || {
            leader(&process).map_err(|cause| format!("{cause}; {}", console(&process)))
        })?;
        let booted = Self { process, leader, cgroup };
        eventually(BOOT, format!("{}: systemd is up", host.name()), || {
            let state = booted.run("systemctl is-system-running || true");
            match state.map_err(|error| error.to_string())?.trim() {
                "running" | "degraded" => Ok(()),
                other => Err(format!("{other}; {}", console(&booted.process))),
            }
        })?;
        booted.run("systemd-sysusers && systemd-tmpfiles --create && systemctl daemon-reload")?;
        Ok(booted)
    }

    /// Runs a shell script in the machine as root and answers its standard output.
    ///
    /// # Errors
    /// Anything but exit code 0, with what the script said.
    pub fn run(&self, script: &str) -> Result<String, LabError> {
        let line = format!("-t {} --all {ENVIRONMENT} sh -ec", self.leader);
        let command = self.process.host().command("nsenter").args(line.split_whitespace());
        command.arg(script).output()?.success()
    }

    /// Runs a `sealane` command there, whose document says that something does not work, or not.
    ///
    /// # Errors
    /// No document.
    pub fn document<T: DeserializeOwned>(&self, subcommand: &str) -> Result<T, LabError> {
        let what = format!("sealane {subcommand} -o json");
        let text = self.run(&format!("{what} || [ $? = 1 ]"))?;
        serde_json::from_str(&text).map_err(|cause| LabError::Json { what, cause, text })
    }

    /// Writes a file as root would, readable by everybody who may enter its folder.
    ///
    /// # Errors
    /// As [`Booted::run`].
    pub fn write_file(&self, path: &str, contents: &str) -> Result<(), LabError> {
        self.run(&format!("cat > {path} <<'CONTENTS'\n{contents}\nCONTENTS")).map(drop)
    }

    /// A property of a unit, as systemd has it.
    ///
    /// # Errors
    /// As [`Booted::run`].
    pub fn property(&self, unit: &str, property: &str) -> Result<String, LabError> {
        let told = self.run(&format!("systemctl show --value -p {property} '{unit}'"))?;
        Ok(told.trim().to_owned())
    }

    /// The last lines of a unit's journal.
    pub fn journal(&self, unit: &str) -> String {
        self.run(&format!("journalctl --no-pager -o cat -n 30 -u '{unit}'")).unwrap_or_default()
    }
}

impl Drop for Booted {
    fn drop(&mut self) {
        // Best effort: the lab ends every process, and what stays then is an empty cgroup.
        let host = self.process.host();
        let _ = host.run(&format!("kill -s {POWER_OFF} {}", self.leader));
        let _ = self.process.wait(BOOT);
        let _ = host
            .command("unshare")
            .args(["--mount", "sh", "-ec", SWEEP])
            .env("CGROUP", &self.cgroup)
            .output();
    }
}

/// The Debian that `tests/scripts/setup.sh` unpacked.
fn tree() -> Result<PathBuf, BootError> {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let tree = assets::folder().join(format!("debian-{}", name.unwrap_or("bookworm")));
    match fs::metadata(&tree) {
        Ok(_) => Ok(tree),
        Err(cause) => Err(BootError::NoTree { tree, cause }),
    }
}

/// The machine's first process, as the host counts.
fn leader(process: &Process) -> Result<i32, String> {
    let nspawn = process.pid();
    let script = format!(
        "for child in $(cat /proc/{nspawn}/task/{nspawn}/children); do
            if [ \"$(cat /proc/$child/comm)\" = systemd ]; then echo $child; fi
        done"
    );
    let told = process.host().shell(&script).map_err(|error| error.to_string())?;
    told.trim().parse().map_err(|_| "no systemd yet".to_owned())
}

fn console(process: &Process) -> String {
    let log = process.log().unwrap_or_default();
    format!("its console: {log}")
}
