//! Owns running the `nft` program: what it is given, what it says, and how long it may take. Does not
//! own what is asked of it.

use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use sealane_state::owner::FILTER_TABLE;

use crate::nft::NftError;

/// One run may take this long. `nft` begins a listing anew whenever somebody else has written
/// meanwhile, without end, and whoever waits for it repairs nothing else.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Runs that were ended and that the kernel does not let go of; with as many no other is begun.
const MOST_STUCK: usize = 4;

/// The program, found anew at each run.
#[derive(Debug)]
pub(super) struct Program {
    path: PathBuf,
    stuck: Arc<AtomicUsize>,
}

/// What a run said, out and on the side; sent when it has ended and waits to be collected.
type Said = (io::Result<Vec<u8>>, io::Result<Vec<u8>>);

impl Program {
    /// The one at `path`, or of that name in `PATH`.
    pub(super) fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), stuck: Arc::default() }
    }

    /// Carries out commands, in one transaction.
    pub(super) fn write(&self, action: &'static str, text: &str) -> Result<(), NftError> {
        let output = self.run(&["-f", "-"], text)?;
        if output.status.success() { Ok(()) } else { Err(refused(action, &output)) }
    }

    /// Lists our table; `None` when there is none.
    pub(super) fn listing(&self, options: &[&str]) -> Result<Option<String>, NftError> {
        let mut arguments = options.to_vec();
        arguments.extend(["list", "table", "inet", FILTER_TABLE]);
        let output = self.run(&arguments, "")?;
        if output.status.success() {
            return Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned()));
        }
        // The C locale is set, so the words for ENOENT are known.
        let said = String::from_utf8_lossy(&output.stderr);
        if said.contains("No such file or directory") {
            Ok(None)
        } else {
            Err(refused("list", &output))
        }
    }

    /// Lists all tables of this host, in libnftables' JSON.
    pub(super) fn ruleset(&self) -> Result<String, NftError> {
        let output = self.run(&["-j", "list", "ruleset"], "")?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(refused("list", &output))
    }

    fn run(&self, arguments: &[&str], input: &str) -> Result<Output, NftError> {
        let slow = || NftError::Slow { asked: arguments.join(" ") };
        if self.stuck.load(Ordering::Relaxed) >= MOST_STUCK {
            return Err(slow());
        }
        let child = Command::new(&self.path)
            .args(arguments)
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // What it starts itself ends with it.
            .process_group(0)
            .spawn();
        let mut child = child.map_err(|fault| self.not_run(fault))?;
        let pid = Pid::from_raw(child.id().cast_signed());
        let said = match listen(&mut child, pid, input.as_bytes().to_vec()) {
            Ok(heard) => heard.recv_timeout(PATIENCE),
            Err(fault) => {
                self.end(child, pid);
                return Err(self.not_run(fault));
            }
        };
        let Ok((stdout, stderr)) = said else {
            self.end(child, pid);
            return Err(slow());
        };
        // It has ended: this only collects it.
        let status = child.wait().map_err(|fault| self.not_run(fault))?;
        let not_run = |fault| self.not_run(fault);
        Ok(Output { status, stdout: stdout.map_err(not_run)?, stderr: stderr.map_err(not_run)? })
    }

    /// Ends a run that took too long, and has it collected whenever the kernel lets go of it.
    fn end(&self, mut child: Child, pid: Pid) {
        let _ = killpg(pid, Signal::SIGKILL);
        let stuck = Arc::clone(&self.stuck);
        stuck.fetch_add(1, Ordering::Relaxed);
        let collect = move || {
            let _ = child.wait();
            stuck.fetch_sub(1, Ordering::Relaxed);
        };
        let collector = std::thread::Builder::new().name("nft-end".to_owned());
        if let Err(fault) = collector.spawn(collect) {
            self.stuck.fetch_sub(1, Ordering::Relaxed);
            tracing::debug!(%fault, "an ended nft stays uncollected");
        }
    }

    fn not_run(&self, fault: io::Error) -> NftError {
        let program = self.path.display().to_string();
        match fault.kind() {
            io::ErrorKind::NotFound => NftError::Missing { program },
            _ => NftError::Run { program, fault },
        }
    }
}

/// Feeds and hears a child from a thread that may outlive the run: what is stuck in the kernel is not
/// to be killed, and nobody waits for it.
fn listen(child: &mut Child, pid: Pid, input: Vec<u8>) -> io::Result<Receiver<Said>> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (said, heard) = mpsc::channel();
    let listener = move || {
        // Written beside the reading: a program that answers before it has read everything would
        // otherwise wait for us while we wait for it.
        let (out, errors) = std::thread::scope(|scope| {
            scope.spawn(move || stdin.map(|mut pipe: ChildStdin| pipe.write_all(&input)));
            let errors = scope.spawn(move || all_of(stderr));
            (all_of(stdout), errors.join().unwrap_or_else(|_| Ok(Vec::new())))
        });
        // It stays uncollected, so that its number is nobody else's while it may yet be killed.
        let _ = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
        // Who asked may have stopped waiting.
        let _ = said.send((out, errors));
    };
    std::thread::Builder::new().name("nft".to_owned()).spawn(listener)?;
    Ok(heard)
}

fn all_of(pipe: Option<impl Read>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    pipe.map_or(Ok(0), |mut pipe| pipe.read_to_end(&mut bytes))?;
    Ok(bytes)
}

/// Keeps the lines that name the fault; the echo of a big table that follows helps nobody.
fn refused(action: &'static str, output: &Output) -> NftError {
    const LONGEST_LINE: usize = 300;
    let shortened = |line: &str| line.chars().take(LONGEST_LINE).collect::<String>();
    let said = String::from_utf8_lossy(&output.stderr);
    let faults: Vec<String> =
        said.lines().filter(|line| line.contains("Error:")).take(5).map(shortened).collect();
    let said = if faults.is_empty() {
        said.lines().next().map(shortened).unwrap_or_else(|| output.status.to_string())
    } else {
        faults.join("; ")
    };
    NftError::Refused { action, said }
}
