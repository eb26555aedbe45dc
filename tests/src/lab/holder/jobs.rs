//! Owns the processes that a keeper started: run to the end, or started, signalled and waited for.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::lab::wire::{Answer, Exit, Invocation};

/// How often a process is asked whether it has ended.
const POLL: Duration = Duration::from_millis(2);

/// The processes of one host.
#[derive(Debug)]
pub struct Jobs {
    home: PathBuf,
    running: Mutex<BTreeMap<i32, Child>>,
    serial: AtomicU64,
}

impl Jobs {
    /// No processes yet; scratch files go to `home`.
    pub fn new(home: PathBuf) -> Self {
        Self { home, running: Mutex::default(), serial: AtomicU64::new(0) }
    }

    /// Runs to the end or the time-out.
    ///
    /// # Errors
    /// A program that cannot be started.
    pub fn run(&self, what: &Invocation, stdin: &str, timeout_ms: u64) -> io::Result<Answer> {
        // Files, not pipes: a daemon that inherits them cannot keep the answer waiting.
        let (mut stdin_file, mut out, mut err) =
            (self.scratch()?, self.scratch()?, self.scratch()?);
        stdin_file.write_all(stdin.as_bytes())?;
        stdin_file.rewind()?;
        let mut child = command(what)?
            .stdin(stdin_file)
            .stdout(out.try_clone()?)
            .stderr(err.try_clone()?)
            .spawn()
            .map_err(|error| named(what, &error))?;
        let exit = wait_until(deadline(timeout_ms), || child.try_wait())?.map(exit_of);
        if exit.is_none() {
            child.kill()?;
            child.wait()?;
        }
        Ok(Answer::Output { exit, stdout: text(&mut out)?, stderr: text(&mut err)? })
    }

    /// Starts in the background, output appended to `log`.
    ///
    /// # Errors
    /// A program that cannot be started, or a log that cannot be written.
    pub fn spawn(&self, what: &Invocation, log: &Path) -> io::Result<Answer> {
        let log = OpenOptions::new().create(true).append(true).open(log)?;
        let child = command(what)?
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(|error| named(what, &error))?;
        let pid = child.id().cast_signed();
        self.running().insert(pid, child);
        Ok(Answer::Spawned(pid))
    }

    /// Signals a process, which may already be gone.
    ///
    /// # Errors
    /// A number that is no signal, or a refusal other than "no such process".
    pub fn signal(&self, pid: i32, signal: i32) -> io::Result<Answer> {
        // Holding the lock, no started process is reaped, so its number cannot name another one.
        let mut running = self.running();
        if let Some(child) = running.get_mut(&pid)
            && child.try_wait()?.is_some()
        {
            return Ok(Answer::Done);
        }
        match kill(Pid::from_raw(pid), Signal::try_from(signal)?) {
            Ok(()) | Err(Errno::ESRCH) => Ok(Answer::Done),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Waits for a process started here.
    ///
    /// # Errors
    /// A number that names none.
    pub fn wait(&self, pid: i32, timeout_ms: u64) -> io::Result<Answer> {
        let exit = wait_until(deadline(timeout_ms), || match self.running().get_mut(&pid) {
            Some(child) => child.try_wait(),
            None => Err(Errno::ESRCH.into()),
        })?;
        Ok(Answer::Exited(exit.map(exit_of)))
    }

    /// The processes in this network namespace that run `program`, whoever started them.
    ///
    /// # Errors
    /// `/proc` unreadable.
    pub fn find(&self, program: &str) -> io::Result<Answer> {
        let own = fs::read_link("/proc/self/ns/net")?;
        let mut pids = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let entry = entry?;
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let here = fs::read_link(entry.path().join("ns/net")).is_ok_and(|net| net == own);
            if here && runs(&entry.path(), program) {
                pids.push(pid);
            }
        }
        pids.sort_unstable();
        Ok(Answer::Pids(pids))
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<i32, Child>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn scratch(&self) -> io::Result<File> {
        let path =
            self.home.join(format!("scratch-{}", self.serial.fetch_add(1, Ordering::Relaxed)));
        let file = OpenOptions::new().create_new(true).read(true).write(true).open(&path)?;
        fs::remove_file(path)?;
        Ok(file)
    }
}

fn command(what: &Invocation) -> io::Result<Command> {
    let program = what.argv.first().ok_or(Errno::EINVAL)?;
    let mut command = Command::new(program);
    // Panics keep their backtraces; plain errors in logs are easier to read without.
    command.env("PATH", search_path()?).env("RUST_LIB_BACKTRACE", "0");
    command.args(&what.argv[1..]).envs(&what.env).process_group(0);
    Ok(command)
}

/// The folder this binary was built into first, then where Debian has system programs.
fn search_path() -> io::Result<String> {
    let built = env::current_exe()?;
    let built = built.parent().unwrap_or(Path::new("/")).display();
    Ok(format!("{built}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"))
}

fn named(what: &Invocation, error: &io::Error) -> io::Error {
    let program = what.argv.first().map_or("", String::as_str);
    match error.kind() {
        io::ErrorKind::NotFound => io::Error::new(
            io::ErrorKind::NotFound,
            format!("{program}: neither built (`cargo build --bins`) nor installed"),
        ),
        kind => io::Error::new(kind, format!("{program}: {error}")),
    }
}

fn deadline(timeout_ms: u64) -> Instant {
    Instant::now() + Duration::from_millis(timeout_ms)
}

/// Asks at least once, then until there is an answer or the deadline has passed.
fn wait_until<T>(
    deadline: Instant,
    mut ask: impl FnMut() -> io::Result<Option<T>>,
) -> io::Result<Option<T>> {
    loop {
        if let Some(answer) = ask()? {
            return Ok(Some(answer));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        thread::sleep(POLL);
    }
}

fn exit_of(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, signal) => Exit::Signal(signal.unwrap_or_default()),
    }
}

fn text(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// By the executable, or for a zombie-free answer by nothing else: a dead process has none.
fn runs(process: &Path, program: &str) -> bool {
    fs::read_link(process.join("exe")).is_ok_and(|exe| exe.file_name() == Some(OsStr::new(program)))
}
