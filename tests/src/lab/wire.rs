//! Owns the words between a test and the keeper of a host: one JSON line each way per connection.
//! Owns no socket beyond that exchange.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A program with its arguments and what it adds to the environment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Invocation {
    /// Program and arguments; the program is looked for among the built binaries, then the system's.
    pub argv: Vec<String>,
    /// Added to the keeper's environment.
    pub env: BTreeMap<String, String>,
}

/// What a test may ask of a keeper.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Run to the end and answer [`Answer::Output`].
    Run {
        /// What to run.
        invocation: Invocation,
        /// Its standard input.
        stdin: String,
        /// Killed after this long.
        timeout_ms: u64,
    },
    /// Start and answer [`Answer::Spawned`]; output is appended to the log.
    Spawn {
        /// What to run.
        invocation: Invocation,
        /// File for standard output and error.
        log: PathBuf,
    },
    /// Send a signal to a process started by [`Request::Spawn`] or named by [`Request::Find`].
    Signal {
        /// Its number in the lab.
        pid: i32,
        /// Signal number.
        signal: i32,
    },
    /// Wait for a process started by [`Request::Spawn`]; answers [`Answer::Exited`].
    Wait {
        /// Its number in the lab.
        pid: i32,
        /// Give up, with no exit, after this long.
        timeout_ms: u64,
    },
    /// The processes of this host whose program has this file name; answers [`Answer::Pids`].
    Find {
        /// File name without a folder.
        program: String,
    },
    /// Write a file as this host sees the path, with its folders.
    Write {
        /// Absolute path.
        path: PathBuf,
        /// What to write.
        contents: String,
        /// Permission bits.
        mode: u32,
    },
    /// Read a file as this host sees the path; answers [`Answer::Text`].
    Read {
        /// Absolute path.
        path: PathBuf,
    },
}

/// How a process ended: a code, or the signal that ended it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// It exited.
    Code(i32),
    /// A signal ended it.
    Signal(i32),
}

/// What a keeper answers.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// A command has ended (`None`: it was killed at its time-out).
    Output {
        /// How.
        exit: Option<Exit>,
        /// All it wrote there.
        stdout: String,
        /// All it wrote there.
        stderr: String,
    },
    /// The number, in the lab, of the process started.
    Spawned(i32),
    /// The exit, if it came in time.
    Exited(Option<Exit>),
    /// Process numbers in the lab, ascending.
    Pids(Vec<i32>),
    /// A file's text.
    Text(String),
    /// Nothing more to say.
    Done,
}

/// Writes one value as a line.
///
/// # Errors
/// The stream's.
pub fn send<T: Serialize>(mut stream: &UnixStream, value: &T) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    stream.write_all(&line)
}

/// Reads one line as a value.
///
/// # Errors
/// The stream's, or `InvalidData`.
pub fn receive<T: DeserializeOwned>(stream: &UnixStream) -> io::Result<T> {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}
