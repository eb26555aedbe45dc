//! Owns a running `sealane-broker` and where it is.

use std::time::Duration;

use crate::lab::error::LabError;
use crate::lab::process::Process;
use crate::product::ground::Ground;

/// How long the broker may take to listen on a busy machine.
const START: Duration = Duration::from_secs(20);

/// The administrator's access, as the broker writes it and as it is copied.
const KUBECONFIG: &str = "/var/lib/sealane-broker/admin.kubeconfig";

/// A broker on its host.
#[derive(Debug)]
pub struct Broker {
    /// The program.
    pub process: Process,
    /// Where members dial it.
    pub url: String,
    /// The pin of its certificate, as it prints it.
    pub spki: String,
}

impl Broker {
    /// The command line for this ground.
    pub fn line(ground: &Ground) -> String {
        let hosts = ground.broker_addresses.iter().map(|address| format!(" --host {address}"));
        format!("sealane-broker{}", hosts.collect::<String>())
    }

    /// Starts it; returns once it listens.
    ///
    /// # Errors
    /// It ends, or does not listen; its log is in the error.
    pub fn start(ground: &Ground) -> Result<Self, LabError> {
        let line = Self::line(ground);
        let mut words = line.split_whitespace();
        let program = ground.broker.command(words.next().unwrap_or_default());
        let process = program.args(words).spawn()?;
        process.says("try ", START)?;
        let log = process.log()?;
        let told = |key: &str| {
            let line = log.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
            line.trim().to_owned()
        };
        Ok(Self { url: told("url "), spki: told("pin "), process })
    }

    /// Gives the administrator access, as by `scp`.
    ///
    /// # Errors
    /// There is no such file.
    pub fn admit(ground: &Ground, path: &str) -> Result<(), LabError> {
        ground.admin.write_file(path, &ground.broker.read_file(KUBECONFIG)?)
    }

    /// Starts it again with what it has on disk; returns once it listens.
    ///
    /// # Errors
    /// As [`Broker::start`].
    pub fn restart(&mut self) -> Result<(), LabError> {
        let before = self.process.log()?.len();
        self.process.restart()?;
        let what = "the broker listens again";
        crate::lab::wait::eventually(START, what, || {
            let log = self.process.log().map_err(|error| error.to_string())?;
            let since = log.get(before..).unwrap_or_default();
            if since.contains("try ") { Ok(()) } else { Err(since.to_owned()) }
        })
    }
}
