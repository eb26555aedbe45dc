//! Owns the program `bench`: which measurements run. Each is a module of `sealane_tests::bench`.

use std::error::Error;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use sealane_tests::bench::{lanes, memory, plan, throughput};

const EXAMPLE: &str = "\
Examples:
  bench                                    everything
  bench --rounds 9 --seconds 5 throughput  the tunnel against the bare link, at length
  bench memory                             what agent and tunnel hold of memory";

/// Measures tunnel, plan, probing and memory.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLE)]
struct Flags {
    /// What is measured; everything when nothing is named.
    subjects: Vec<Subject>,
    /// Rounds of throughput; each measures the link and then the tunnel.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Length of each measurement of throughput. Unit: seconds.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
enum Subject {
    /// TCP through a pair of userspace tunnels, as a ratio to the bare link.
    Throughput,
    /// A full recomputation of the plan, for growing numbers of members.
    Plan,
    /// Processor time that probing takes, for growing numbers of lanes.
    Lanes,
    /// Resident memory of agent and tunnel.
    Memory,
}

fn main() -> Result<(), Box<dyn Error>> {
    let flags = Flags::parse();
    let wanted = |subject| flags.subjects.is_empty() || flags.subjects.contains(&subject);
    if wanted(Subject::Plan) {
        plan::measure()?;
    }
    if wanted(Subject::Lanes) {
        lanes::measure()?;
    }
    if wanted(Subject::Memory) {
        memory::measure()?;
    }
    if wanted(Subject::Throughput) {
        throughput::measure(flags.rounds, Duration::from_secs(flags.seconds))?;
    }
    Ok(())
}
