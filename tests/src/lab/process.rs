//! Owns programs on a host: how one is described, run to its end, started, signalled, restarted.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::lab::error::{LabError, Step};
use crate::lab::host::{Host, millis, unexpected};
use crate::lab::wait::eventually;
use crate::lab::wire::{Answer, Exit, Invocation, Request};

/// How long a command run to its end may take unless told otherwise.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A command being put together.
#[derive(Debug, Clone)]
#[must_use = "a command does nothing until `output` or `spawn`"]
pub struct Command {
    host: Host,
    invocation: Invocation,
    stdin: String,
    timeout: Duration,
}

impl Command {
    /// From [`Host::command`].
    pub fn new(host: Host, invocation: Invocation) -> Self {
        Self { host, invocation, stdin: String::new(), timeout: TIMEOUT }
    }

    /// One more argument.
    pub fn arg(mut self, arg: impl ToString) -> Self {
        self.invocation.argv.push(arg.to_string());
        self
    }

    /// More arguments.
    pub fn args<S: ToString>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.invocation.argv.extend(args.into_iter().map(|arg| arg.to_string()));
        self
    }

    /// A variable of its environment.
    pub fn env(mut self, name: &str, value: impl ToString) -> Self {
        self.invocation.env.insert(name.to_owned(), value.to_string());
        self
    }

    /// What it reads on standard input (nothing, unless set; used by [`Command::output`] only).
    pub fn stdin(mut self, text: &str) -> Self {
        text.clone_into(&mut self.stdin);
        self
    }

    /// How long [`Command::output`] waits before it kills the program; 30 s unless set.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Runs it to the end.
    ///
    /// # Errors
    /// It cannot be started. How it ended is in the outcome.
    pub fn output(self) -> Result<Outcome, LabError> {
        self.host.complete(self.invocation, self.stdin, self.timeout)
    }

    /// Starts it; its output goes to a log file of its own.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(self) -> Result<Process, LabError> {
        let program = self.invocation.argv.first().map_or("", String::as_str);
        let log = self.host.next_log(program);
        Process::start(self.host, self.invocation, log)
    }
}

/// How a command ended and what it wrote.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Where it ran.
    pub host: String,
    /// Its command line.
    pub command: String,
    /// `None`: killed at the time-out.
    pub exit: Option<Exit>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Outcome {
    /// Standard output, if the command ended with exit code 0.
    ///
    /// # Errors
    /// Any other end.
    pub fn success(self) -> Result<String, LabError> {
        let outcome = match self.exit {
            Some(Exit::Code(0)) => return Ok(self.stdout),
            Some(exit) => exit.to_string(),
            None => "killed at its time-out".to_owned(),
        };
        let said = if self.stderr.trim().is_empty() { &self.stdout } else { &self.stderr };
        let stderr = said.trim().to_owned();
        Err(LabError::Command { host: self.host, command: self.command, outcome, stderr })
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => match Signal::try_from(*signal) {
                Ok(signal) => write!(f, "{signal}"),
                Err(_) => write!(f, "signal {signal}"),
            },
        }
    }
}

/// A program running on a host. Dropping the handle does not end it; the lab's end does.
#[derive(Debug)]
pub struct Process {
    host: Host,
    invocation: Invocation,
    log: PathBuf,
    pid: i32,
}

impl Process {
    fn start(host: Host, invocation: Invocation, log: PathBuf) -> Result<Self, LabError> {
        let request = Request::Spawn { invocation: invocation.clone(), log: log.clone() };
        match host.ask(&request)? {
            Answer::Spawned(pid) => Ok(Self { host, invocation, log, pid }),
            other => Err(unexpected(host.name(), &other)),
        }
    }

    /// Its number in the lab.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Where it runs.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Its log file, outside.
    pub fn log_file(&self) -> &Path {
        &self.log
    }

    /// All it wrote so far, over all its restarts.
    ///
    /// # Errors
    /// The lab is gone.
    pub fn log(&self) -> Result<String, LabError> {
        fs::read_to_string(&self.log).step(format!("read {}", self.log.display()))
    }

    /// Waits until its log has `text`, counting from its first start.
    ///
    /// # Errors
    /// It ended without, or has not said so after `deadline`; the log's end is in the error.
    pub fn says(&self, text: &str, deadline: Duration) -> Result<(), LabError> {
        let what =
            format!("{}: `{}` says {text:?}", self.host.name(), self.invocation.argv.join(" "));
        eventually(deadline, what.as_str(), || {
            let ended = self.exit_within(Duration::ZERO).map_err(|error| error.to_string())?;
            let log = self.log().map_err(|error| error.to_string())?;
            match ended {
                _ if log.contains(text) => Ok(Ok(())),
                None => Err(format!("it said: {}", tail(&log))),
                Some(exit) => Ok(Err(LabError::Timeout {
                    what: what.clone(),
                    after: Duration::ZERO,
                    last: format!("it ended with {exit}; it said: {}", tail(&log)),
                })),
            }
        })?
    }

    /// Sends a signal; a process already gone is no error.
    ///
    /// # Errors
    /// The host's keeper is gone.
    pub fn signal(&self, signal: Signal) -> Result<(), LabError> {
        self.host.signal(self.pid, signal)
    }

    /// SIGKILL; returns once it is gone. Its own children live on.
    ///
    /// # Errors
    /// The host's keeper is gone.
    pub fn kill(&self) -> Result<(), LabError> {
        self.signal(Signal::SIGKILL)?;
        self.wait(TIMEOUT).map(drop)
    }

    /// SIGTERM; answers how it ended.
    ///
    /// # Errors
    /// It has not ended after `deadline`.
    pub fn terminate(&self, deadline: Duration) -> Result<Exit, LabError> {
        self.signal(Signal::SIGTERM)?;
        self.wait(deadline)
    }

    /// How it ended.
    ///
    /// # Errors
    /// It has not ended after `deadline`.
    pub fn wait(&self, deadline: Duration) -> Result<Exit, LabError> {
        self.exit_within(deadline)?.ok_or_else(|| LabError::Timeout {
            what: format!("{}: `{}` ends", self.host.name(), self.invocation.argv.join(" ")),
            after: deadline,
            last: format!("process {} runs", self.pid),
        })
    }

    /// Whether it has not ended yet.
    ///
    /// # Errors
    /// The host's keeper is gone.
    pub fn is_running(&self) -> Result<bool, LabError> {
        Ok(self.exit_within(Duration::ZERO)?.is_none())
    }

    /// Starts the same command again, its output appended to the same log; SIGKILLs it if it runs.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn restart(&mut self) -> Result<(), LabError> {
        self.kill()?;
        let again = Self::start(self.host.clone(), self.invocation.clone(), self.log.clone())?;
        self.pid = again.pid;
        Ok(())
    }

    fn exit_within(&self, deadline: Duration) -> Result<Option<Exit>, LabError> {
        let request = Request::Wait { pid: self.pid, timeout_ms: millis(deadline) };
        match self.host.ask(&request)? {
            Answer::Exited(exit) => Ok(exit),
            other => Err(unexpected(self.host.name(), &other)),
        }
    }
}

fn tail(log: &str) -> &str {
    const SHOWN: usize = 2000;
    let mut from = log.len().saturating_sub(SHOWN);
    while !log.is_char_boundary(from) {
        from += 1;
    }
    log[from..].trim_end()
}
