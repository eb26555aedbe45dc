//! Owns what a test does on one host: commands, files, sysctls. Owns no topology.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use serde_json::Value;

use crate::lab::address::flag;
use crate::lab::error::{LabError, Step};
use crate::lab::holder::keeper;
use crate::lab::process::{Command, Outcome};
use crate::lab::wire::{self, Answer, Invocation, Request};

/// A machine of the lab: its own network namespace, host name, `/run`, `/var/lib` and `/etc`.
/// Nodes, gateways, edge hosts, routers, broker hosts and pods are all this. Clones are handles.
#[derive(Debug, Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: String,
    home: PathBuf,
    /// Of the keeper, as this process counts.
    pid: i32,
    /// Of the keeper, as processes in the lab count.
    lab_pid: i32,
    links: AtomicU32,
    logs: AtomicU32,
}

impl Host {
    /// The handle of a host that is up.
    ///
    /// # Errors
    /// Its keeper does not answer.
    pub fn connect(lab: &Path, name: &str) -> Result<Self, LabError> {
        let home = lab.join("hosts").join(name);
        fs::create_dir_all(home.join("log")).step(format!("{name}: create its log folder"))?;
        let socket = home.join(keeper::SOCKET);
        let stream = UnixStream::connect(&socket).step(format!("{name}: {}", socket.display()))?;
        let pid = getsockopt(&stream, PeerCredentials).step(format!("{name}: its pid"))?.pid();
        fs::write(home.join("pid"), pid.to_string()).step(format!("{name}: record its pid"))?;
        let (links, logs) = (AtomicU32::new(0), AtomicU32::new(0));
        let mut inner = Inner { name: name.to_owned(), home, pid, lab_pid: 0, links, logs };
        match exchange(name, &stream, &Request::Read { path: "/proc/thread-self/status".into() })? {
            Answer::Text(status) => inner.lab_pid = tgid(&status).unwrap_or_default(),
            other => return Err(unexpected(name, &other)),
        }
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Its name in the lab, which is its host name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The number of its keeper as processes in the lab count: names its namespaces to `ip`.
    pub fn lab_pid(&self) -> i32 {
        self.inner.lab_pid
    }

    /// The number of its keeper as this process counts: names its namespaces to `nsenter`.
    pub fn pid(&self) -> i32 {
        self.inner.pid
    }

    /// The folder, outside, where the logs of its processes are.
    pub fn logs(&self) -> PathBuf {
        self.inner.home.join("log")
    }

    /// A name for the next link: `eth0`, `eth1` and so on.
    pub fn next_link(&self) -> String {
        format!("eth{}", self.inner.links.fetch_add(1, Ordering::Relaxed))
    }

    /// A log file not used before.
    pub fn next_log(&self, program: &str) -> PathBuf {
        let program = Path::new(program).file_name().unwrap_or_default().to_string_lossy();
        let serial = self.inner.logs.fetch_add(1, Ordering::Relaxed);
        self.logs().join(format!("{program}-{serial}.log"))
    }

    /// A command to be completed, then run to the end or started.
    pub fn command(&self, program: &str) -> Command {
        let invocation = Invocation { argv: vec![program.to_owned()], env: BTreeMap::new() };
        Command::new(self.clone(), invocation)
    }

    /// Runs a command line, split at white space, and answers its standard output.
    ///
    /// # Errors
    /// Anything but exit code 0, with what the command said.
    pub fn run(&self, line: &str) -> Result<String, LabError> {
        let mut words = line.split_whitespace();
        self.command(words.next().unwrap_or_default()).args(words).output()?.success()
    }

    /// Runs a shell script (`sh -e`), for pipes and quotes.
    ///
    /// # Errors
    /// As [`Host::run`].
    pub fn shell(&self, script: &str) -> Result<String, LabError> {
        self.command("sh").args(["-ec", script]).output()?.success()
    }

    /// Runs a command line that prints JSON, such as `ip -j route`.
    ///
    /// # Errors
    /// As [`Host::run`], or output that is not JSON.
    pub fn json(&self, line: &str) -> Result<Value, LabError> {
        let text = self.run(line)?;
        // iproute2 prints nothing at all where it has nothing to list.
        let json = if text.trim().is_empty() { "[]" } else { text.as_str() };
        let what = || format!("{}: `{line}`", self.name());
        serde_json::from_str(json).map_err(|cause| LabError::Json {
            what: what(),
            cause,
            text: text.clone(),
        })
    }

    /// Gives `ip` several commands at once; the first that fails ends it.
    ///
    /// # Errors
    /// As [`Host::run`], naming the line.
    pub fn ip<S: AsRef<str>>(&self, lines: &[S]) -> Result<(), LabError> {
        let script = lines.iter().map(|line| format!("{}\n", line.as_ref())).collect::<String>();
        let outcome = self.command("ip").args(["-batch", "-"]).stdin(&script).output()?;
        match outcome.success() {
            Err(LabError::Command { host, outcome, stderr, .. }) => {
                let command = format!("ip {}", script.trim_end().replace('\n', "; ip "));
                Err(LabError::Command { host, command, outcome, stderr })
            }
            other => other.map(drop),
        }
    }

    /// Gives `nft` a script, as one transaction.
    ///
    /// # Errors
    /// As [`Host::run`].
    pub fn nft(&self, script: &str) -> Result<(), LabError> {
        self.command("nft").args(["-f", "-"]).stdin(script).output()?.success().map(drop)
    }

    /// Sets a sysctl by its name with dots (`net.ipv4.ip_forward`), or with slashes where a link's
    /// name has dots.
    ///
    /// # Errors
    /// No such sysctl in this kernel, or a value it refuses.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<(), LabError> {
        self.write_file(sysctl_path(name), value)
    }

    /// The value of a sysctl, without the line's end.
    ///
    /// # Errors
    /// No such sysctl.
    pub fn sysctl_value(&self, name: &str) -> Result<String, LabError> {
        Ok(self.read_file(sysctl_path(name))?.trim_end().to_owned())
    }

    /// Makes it forward packets, both families.
    ///
    /// # Errors
    /// As [`Host::sysctl`].
    pub fn enable_forwarding(&self) -> Result<(), LabError> {
        self.sysctl("net.ipv4.ip_forward", "1")?;
        self.sysctl("net.ipv6.conf.all.forwarding", "1")
    }

    /// Adds a default route by each of the gateways: at most one of each family.
    ///
    /// # Errors
    /// As [`Host::run`].
    pub fn default_via(&self, gateways: &[IpAddr]) -> Result<(), LabError> {
        gateways.iter().try_for_each(|gateway| {
            let family = flag(*gateway);
            self.run(&format!("ip {family} route add default via {gateway}")).map(drop)
        })
    }

    /// Writes a file, readable by its owner alone, as the host sees the path; makes its folders.
    ///
    /// # Errors
    /// What the file system refused.
    pub fn write_file(&self, path: impl Into<PathBuf>, contents: &str) -> Result<(), LabError> {
        let request =
            Request::Write { path: path.into(), contents: contents.to_owned(), mode: 0o600 };
        self.ask(&request).map(drop)
    }

    /// Reads a file as the host sees the path.
    ///
    /// # Errors
    /// What the file system refused.
    pub fn read_file(&self, path: impl Into<PathBuf>) -> Result<String, LabError> {
        match self.ask(&Request::Read { path: path.into() })? {
            Answer::Text(text) => Ok(text),
            other => Err(unexpected(self.name(), &other)),
        }
    }

    /// The numbers of this host's processes that run `program`, whoever started them.
    ///
    /// # Errors
    /// The keeper is gone.
    pub fn find(&self, program: &str) -> Result<Vec<i32>, LabError> {
        match self.ask(&Request::Find { program: program.to_owned() })? {
            Answer::Pids(pids) => Ok(pids),
            other => Err(unexpected(self.name(), &other)),
        }
    }

    /// Sends a signal to a process, given by its number in the lab; one already gone is no error.
    ///
    /// # Errors
    /// The keeper is gone.
    pub fn signal(&self, pid: i32, signal: nix::sys::signal::Signal) -> Result<(), LabError> {
        self.ask(&Request::Signal { pid, signal: signal as i32 }).map(drop)
    }

    /// Asks the keeper.
    ///
    /// # Errors
    /// The keeper is gone, or what it refused.
    pub fn ask(&self, request: &Request) -> Result<Answer, LabError> {
        let stream = UnixStream::connect(self.inner.home.join(keeper::SOCKET));
        exchange(self.name(), &stream.step(format!("{}: its keeper", self.name()))?, request)
    }

    /// Runs a command to its end, killed after `timeout`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn complete(
        &self,
        invocation: Invocation,
        stdin: String,
        timeout: Duration,
    ) -> Result<Outcome, LabError> {
        let timeout_ms = millis(timeout);
        let command = invocation.argv.join(" ");
        match self.ask(&Request::Run { invocation, stdin, timeout_ms })? {
            Answer::Output { exit, stdout, stderr } => {
                Ok(Outcome { host: self.name().to_owned(), command, exit, stdout, stderr })
            }
            other => Err(unexpected(self.name(), &other)),
        }
    }
}

/// Whole milliseconds.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The error for an answer to another question.
pub fn unexpected(host: &str, answer: &Answer) -> LabError {
    LabError::Keeper { host: host.to_owned(), cause: format!("unexpected answer {answer:?}") }
}

fn exchange(host: &str, stream: &UnixStream, request: &Request) -> Result<Answer, LabError> {
    wire::send(stream, request).step(format!("{host}: ask its keeper"))?;
    let answer: Result<Answer, String> =
        wire::receive(stream).step(format!("{host}: its keeper's answer to {request:?}"))?;
    answer.map_err(|cause| LabError::Keeper { host: host.to_owned(), cause })
}

fn sysctl_path(name: &str) -> PathBuf {
    let relative = if name.contains('/') { name.to_owned() } else { name.replace('.', "/") };
    Path::new("/proc/sys").join(relative)
}

fn tgid(status: &str) -> Option<i32> {
    status.lines().find_map(|line| line.strip_prefix("Tgid:"))?.trim().parse().ok()
}
