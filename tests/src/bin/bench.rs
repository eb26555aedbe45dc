//! Owns the program `bench`: which measurements run. Each is a module of `sealane_tests::bench`.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use sealane_state::rule::Family;
use sealane_tests::bench::contest::Terms;
use sealane_tests::bench::contest::entrant::Entrant;
use sealane_tests::bench::contest::load::Spans;
use sealane_tests::bench::{contest, lanes, memory, plan, throughput};

const EXAMPLE: &str = "\
Examples:
  bench                                    everything
  bench --rounds 9 --seconds 5 throughput  the tunnel against the bare link, at length
  bench --seconds 3 contest                the tunnel against those of others, in five minutes
  bench --entrants sealane,wireguard-go --ipv6 contest
  bench memory                             what agent and tunnel hold of memory";

/// Measures tunnels, ours and those of others, plan, probing and memory.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLE)]
struct Flags {
    /// What is measured; everything when nothing is named.
    subjects: Vec<Subject>,
    /// Rounds of contest and throughput; in each, every tunnel has its turn.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Length of each measurement of contest and throughput; a fifth of it is sent before and not
    /// counted in the contest. Unit: seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Who takes part in the contest: everyone when nobody is named.
    #[arg(long, value_delimiter = ',')]
    entrants: Vec<Entrant>,
    /// The contest over IPv6, inside the tunnels and around them.
    #[arg(long)]
    ipv6: bool,
    /// Where the contest is written as JSON.
    #[arg(long, default_value = "target/bench/report.json")]
    report: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
enum Subject {
    /// Routed TCP through the tunnel and through those of others, as ratios.
    Contest,
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
    if wanted(Subject::Contest) {
        let all = Entrant::value_variants();
        let entrants = if flags.entrants.is_empty() { all } else { &flags.entrants };
        contest::measure(flags.terms(), entrants, &flags.report)?;
    }
    Ok(())
}

impl Flags {
    fn terms(&self) -> Terms {
        let measured = Duration::from_secs(self.seconds);
        Terms {
            rounds: self.rounds,
            spans: Spans { warm_up: measured / 5, measured },
            family: if self.ipv6 { Family::V6 } else { Family::V4 },
        }
    }
}
