//! Owns a lab's life: its folder, its holder process, its hosts; and that nothing of it remains.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use nix::unistd::geteuid;

use crate::lab::dump;
use crate::lab::error::{LabError, Step};
use crate::lab::holder::{init, keeper, outer};
use crate::lab::host::Host;
use crate::lab::kept;
use crate::lab::wait;

/// How long a host may take to come up on a busy machine.
const HOST_DEADLINE: Duration = Duration::from_secs(20);

/// The host whose bridges are the segments.
const SWITCH: &str = "switch";

static SERIAL: AtomicU32 = AtomicU32::new(0);

/// An isolated world of hosts. Clones are handles to the same lab; when the last one is dropped, or
/// this process ends in any way, every process and namespace of the lab ends. Dropped by a panic, it
/// first prints what an operator would want to see of each host.
#[derive(Debug, Clone)]
pub struct Lab {
    world: Arc<World>,
}

#[derive(Debug)]
struct World {
    name: String,
    dir: PathBuf,
    life: Mutex<Life>,
    hosts: Mutex<BTreeMap<String, Host>>,
    serial: AtomicU32,
}

/// The holder, and the pipe whose end is the lab's end.
#[derive(Debug)]
struct Life {
    holder: Child,
    pipe: Option<ChildStdin>,
    kept: bool,
}

impl Lab {
    /// An empty lab. Works as root, and as any user whom the machine allows user namespaces.
    ///
    /// # Errors
    /// Namespaces refused, `lab-holder` not built, or no folder for the lab's files.
    pub fn new(name: &str) -> Result<Self, LabError> {
        let program = built("lab-holder")?;
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let dir = base_dir()?.join(format!("{name}-{}-{serial}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&dir).step(format!("create {}", dir.display()))?;
        let log = File::create(holder_log(&dir)).step("create the holder's log")?;
        let mut holder = Command::new(program)
            .arg("outer")
            .arg(&dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .step("start lab-holder")?;
        let pipe = holder.stdin.take();
        let life = Mutex::new(Life { holder, pipe, kept: false });
        let world = World {
            name: name.to_owned(),
            dir,
            life,
            hosts: Mutex::default(),
            serial: AtomicU32::new(0),
        };
        let lab = Self { world: Arc::new(world) };
        let switch = lab.host(SWITCH)?;
        // It has no address on any segment, and frames are none of its IP netfilter's business.
        switch.sysctl("net.ipv6.conf.all.disable_ipv6", "1")?;
        switch.sysctl("net.ipv6.conf.default.disable_ipv6", "1")?;
        for family in ["iptables", "ip6tables"] {
            let path = format!("/proc/sys/net/bridge/bridge-nf-call-{family}");
            if Path::new(&path).exists() {
                switch.write_file(path, "0")?;
            }
        }
        Ok(lab)
    }

    /// The lab's name, as given.
    pub fn name(&self) -> &str {
        &self.world.name
    }

    /// The folder with the lab's files; one folder per host below `hosts/`. Removed with the lab.
    pub fn dir(&self) -> &Path {
        &self.world.dir
    }

    /// The host of that name: the existing one, else a new one with nothing but a loopback.
    ///
    /// # Errors
    /// A name that is no host name, or a host that does not come up.
    pub fn host(&self, name: &str) -> Result<Host, LabError> {
        if let Some(host) = self.world.hosts().get(name) {
            return Ok(host.clone());
        }
        let is_label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > 63 || !name.chars().all(is_label) {
            return Err(LabError::Topology(format!("{name:?}: not a host name (RFC 1123 label)")));
        }
        self.world.start(name)?;
        let host = Host::connect(&self.world.dir, name)?;
        self.world.hosts().insert(name.to_owned(), host.clone());
        Ok(host)
    }

    /// Every host but the switch, in order of name.
    pub fn hosts(&self) -> Vec<Host> {
        self.world.machines()
    }

    /// The host whose bridges are the segments; faults between hosts are put here, out of their sight.
    ///
    /// # Errors
    /// None once the lab exists.
    pub fn switch(&self) -> Result<Host, LabError> {
        self.host(SWITCH)
    }

    /// A number not handed out before in this lab.
    pub fn serial(&self) -> u32 {
        self.world.serial.fetch_add(1, Ordering::Relaxed)
    }

    /// What an operator would look at on each host: addresses, routes, rules, nftables, WireGuard,
    /// bridge tables and the end of every log.
    pub fn dump(&self) -> String {
        self.world.dump()
    }

    /// Lets the lab outlive this process, until `kept::remove`; the answer says how to look around.
    ///
    /// # Errors
    /// The lab has died.
    pub fn keep(&self) -> Result<kept::Kept, LabError> {
        self.world.keep()
    }
}

impl World {
    fn hosts(&self) -> MutexGuard<'_, BTreeMap<String, Host>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn machines(&self) -> Vec<Host> {
        self.hosts().values().filter(|host| host.name() != SWITCH).cloned().collect()
    }

    fn dump(&self) -> String {
        dump::lab(&self.name, &self.machines())
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, line: &str) -> Result<(), LabError> {
        match self.life().pipe.as_mut() {
            Some(pipe) => writeln!(pipe, "{line}").map_err(|error| self.died(&error.to_string())),
            None => Err(self.died("its pipe is closed")),
        }
    }

    fn died(&self, how: &str) -> LabError {
        let log = fs::read_to_string(holder_log(&self.dir)).unwrap_or_default();
        let cause = if log.is_empty() { how.to_owned() } else { log.trim_end().to_owned() };
        LabError::Keeper { host: format!("lab {}", self.name), cause }
    }

    fn start(&self, name: &str) -> Result<(), LabError> {
        self.tell(name)?;
        let home = self.dir.join("hosts").join(name);
        wait::eventually(HOST_DEADLINE, format!("{name} is up"), || {
            if home.join(keeper::SOCKET).exists() {
                return Ok(Ok(()));
            }
            if let Ok(Some(status)) = self.life().holder.try_wait() {
                return Ok(Err(self.died(&status.to_string())));
            }
            match fs::read_to_string(home.join("keeper.log")) {
                Ok(cause) if cause.ends_with('\n') => {
                    Ok(Err(LabError::Keeper { host: name.to_owned(), cause: cause.trim().into() }))
                }
                _ => Err("no socket yet"),
            }
        })?
    }

    fn keep(&self) -> Result<kept::Kept, LabError> {
        self.tell(init::KEEP)?;
        self.life().kept = true;
        kept::record(&self.name, &self.dir)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.dump());
            if env::var_os("SEALANE_LAB_KEEP").is_some()
                && let Ok(kept) = self.keep()
            {
                eprintln!("{kept}");
            }
        }
        let mut life = self.life();
        drop(life.pipe.take());
        if life.kept {
            return;
        }
        // Its end means that every process of the lab has ended and the folder is gone.
        let outcome = life.holder.wait();
        if outcome.as_ref().is_ok_and(ExitStatus::success) {
            return;
        }
        // A holder that was refused its namespaces had nothing yet but this folder.
        let unborn = !self.dir.join(outer::INIT_PID).exists();
        if !unborn || fs::remove_dir_all(&self.dir).is_err() {
            eprintln!("lab {}: its holder left {}: {outcome:?}", self.name, self.dir.display());
        }
    }
}

fn holder_log(dir: &Path) -> PathBuf {
    dir.join("holder.log")
}

/// `SEALANE_LAB_DIR`, else a folder of this user below the temporary folder.
///
/// # Errors
/// It cannot be made, or belongs to someone else.
pub fn base_dir() -> Result<PathBuf, LabError> {
    let own = || env::temp_dir().join(format!("sealane-lab-{}", geteuid()));
    let dir = env::var_os("SEALANE_LAB_DIR").map_or_else(own, PathBuf::from);
    let step = format!("create {}", dir.display());
    DirBuilder::new().mode(0o700).recursive(true).create(&dir).step(step.as_str())?;
    if fs::symlink_metadata(&dir).step(step.as_str())?.uid() != geteuid().as_raw() {
        return Err(io::Error::from(io::ErrorKind::PermissionDenied)).step(step);
    }
    Ok(dir)
}

/// The path of a program of this workspace: in `SEALANE_BIN`, else beside the running test.
///
/// # Errors
/// It is not built.
pub fn built(program: &str) -> Result<PathBuf, LabError> {
    let beside = || -> Result<PathBuf, LabError> {
        let mut dir = env::current_exe().step("own path")?;
        dir.pop();
        if dir.ends_with("deps") || dir.ends_with("examples") {
            dir.pop();
        }
        Ok(dir)
    };
    let dir = env::var_os("SEALANE_BIN").map_or_else(beside, |dir| Ok(PathBuf::from(dir)))?;
    let path = dir.join(program);
    if path.exists() { Ok(path) } else { Err(LabError::NotBuilt { program: program.into(), dir }) }
}
