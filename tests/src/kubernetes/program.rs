//! Owns a program that a test runs on this machine's loopback, outside any lab: it ends with the test,
//! also when the test is killed. Does not own what it runs.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;

/// A program that runs.
#[derive(Debug)]
pub struct Program {
    child: Child,
    /// Where its output goes.
    pub log: PathBuf,
}

impl Program {
    /// Starts it.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(program: &Path, arguments: Vec<String>, log: PathBuf) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(&log)?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program).args(arguments);
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        Ok(Self { child: started(command)?, log })
    }

    /// All it wrote so far.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The kernel sends the signal when the *thread* that started a program ends, so that thread stays.
fn started(mut command: Command) -> io::Result<Child> {
    let (tell, told) = mpsc::channel();
    thread::Builder::new().name("programs".to_owned()).spawn(move || {
        let child = command.spawn();
        let lives = child.is_ok();
        if tell.send(child).is_ok() && lives {
            loop {
                thread::park();
            }
        }
    })?;
    told.recv().map_err(io::Error::other)?
}

/// A TCP port that nobody listens on just now.
///
/// # Errors
/// There is none.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
