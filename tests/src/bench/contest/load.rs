//! Owns one measurement: a load through the entrant that is led through, and what it cost.

use std::num::NonZeroU16;
use std::time::Duration;

use serde::Serialize;

use crate::bench::contest::course::Course;
use crate::bench::contest::cpu::{Machine, process};
use crate::lab::error::LabError;
use crate::lab::host::Host;
use crate::traffic::drive;

/// How long things take.
#[derive(Debug, Clone, Copy)]
pub struct Spans {
    /// Sent before, not counted.
    pub warm_up: Duration,
    /// What is counted.
    pub measured: Duration,
}

/// Bulk TCP from client to server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// As reports call it.
    pub name: &'static str,
    /// Connections at a time.
    pub streams: NonZeroU16,
}

/// All loads, in the order of a turn.
pub const LOADS: [Load; 2] = [
    Load { name: "tcp-1", streams: NonZeroU16::MIN },
    Load { name: "tcp-8", streams: NonZeroU16::MIN.saturating_add(7) },
];

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Sample {
    /// 10^9 bits of payload per second.
    pub gbit_per_s: f64,
    /// Time that all processors together were busy for, while 10^9 bytes of payload came over. Unit:
    /// seconds.
    pub machine_s_per_gb: f64,
    /// The part of it that is accounted to the two tunnels; over veth the kernel's work for one end is
    /// partly done in the other's system calls. Unit: seconds.
    pub tunnels_s_per_gb: f64,
    /// Part of the processors that the hypervisor gave to others, 0 to 1.
    pub stolen: f64,
    /// Part of the processors that had to do with something else than this measurement, 0 to 1.
    pub foreign: f64,
}

impl Course {
    /// Runs a load through entrant `number`, which has to be led through.
    ///
    /// # Errors
    /// A connection that does not come or go on; a tunnel that has ended.
    pub fn run(&self, number: usize, load: Load, spans: Spans) -> Result<Sample, LabError> {
        let send = |span| drive::streams(&self.client, self.to, span, load.streams);
        send(spans.warm_up)?;
        let before = self.spent(number)?;
        let bulk = send(spans.measured)?;
        let after = self.spent(number)?;
        let machine = after.machine.since(before.machine);
        let (tunnels, ends) = (after.tunnels - before.tunnels, after.ends - before.ends);
        #[expect(clippy::cast_precision_loss, reason = "a ratio is shown with a few digits")]
        let gigabytes = bulk.bytes as f64 / 1e9;
        Ok(Sample {
            gbit_per_s: bulk.gbit_per_s,
            machine_s_per_gb: machine.busy() / gigabytes,
            tunnels_s_per_gb: tunnels / gigabytes,
            stolen: machine.stolen(),
            foreign: machine.foreign(tunnels + ends),
        })
    }

    fn spent(&self, number: usize) -> Result<Spent, LabError> {
        let stat = self.client.read_file("/proc/stat")?;
        let machine = Machine::parse(&stat).ok_or_else(|| unreadable("/proc/stat"))?;
        let [a, b] = &self.tunnels[number];
        // The sender is a child of the client's keeper, which has its time once it has ended.
        let keeper = self.client.lab_pid();
        Ok(Spent {
            machine,
            tunnels: seconds(a.host(), a.pid())? + seconds(b.host(), b.pid())?,
            ends: seconds(&self.client, keeper)? + seconds(self.sink.host(), self.sink.pid())?,
        })
    }
}

struct Spent {
    machine: Machine,
    tunnels: f64,
    ends: f64,
}

fn seconds(host: &Host, pid: i32) -> Result<f64, LabError> {
    let path = format!("/proc/{pid}/stat");
    process(&host.read_file(path.as_str())?).ok_or_else(|| unreadable(&path))
}

fn unreadable(path: &str) -> LabError {
    LabError::Topology(format!("{path}: not as proc(5) has it"))
}
