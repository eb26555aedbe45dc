//! Owns what a contest tells: a table for people, a line for each ratio that counts, JSON for
//! programs. Computes no ratio itself.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::thread;

use sealane_state::rule::Family;
use serde::Serialize;

use crate::bench::contest::Terms;
use crate::bench::contest::entrant::{BASELINE, OWN};
use crate::bench::contest::load::{LOADS, Sample, Spans};
use crate::bench::contest::ratio::{Spread, doubtful};

/// One measurement.
#[derive(Debug, Clone, Serialize)]
pub struct Turn {
    /// From 1.
    pub round: usize,
    /// Whose.
    pub entrant: String,
    /// Which.
    pub load: &'static str,
    /// What came of it.
    #[serde(flatten)]
    pub sample: Sample,
}

/// All of a contest.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// IP version inside the tunnel and around it.
    ip_version: u8,
    processors: usize,
    warm_up_s: f64,
    measured_s: f64,
    headlines: Vec<Headline>,
    entrants: Vec<Line>,
    turns: Vec<Turn>,
}

/// A ratio by its name.
#[derive(Debug, Clone, Serialize)]
struct Headline {
    name: String,
    #[serde(flatten)]
    ratio: Spread,
}

/// An entrant under a load.
#[derive(Debug, Clone, Serialize)]
struct Line {
    entrant: String,
    load: &'static str,
    gbit_per_s: Spread,
    machine_s_per_gb: Spread,
    tunnels_s_per_gb: Spread,
    /// To the baseline, in rounds of both.
    speed_ratio: Option<Spread>,
    /// The same of the machine's time per byte.
    cost_ratio: Option<Spread>,
    doubtful_rounds: usize,
    rounds: usize,
    /// After all loads. Unit: KiB.
    resident_kib: u64,
}

type Measure = fn(&Sample) -> f64;
const SPEED: Measure = |sample| sample.gbit_per_s;
const COST: Measure = |sample| sample.machine_s_per_gb;
const TUNNELS: Measure = |sample| sample.tunnels_s_per_gb;

const HEADLINES: [(&str, Measure); 3] =
    [("speed", SPEED), ("cpu-per-gb", COST), ("tunnels-cpu-per-gb", TUNNELS)];

impl Report {
    /// From what was measured; `resident` is by entrant, in KiB.
    pub fn new(terms: Terms, turns: Vec<Turn>, resident: Vec<(String, u64)>) -> Self {
        let mut entrants = Vec::new();
        let mut headlines = Vec::new();
        for load in LOADS {
            for (entrant, resident_kib) in &resident {
                entrants.extend(line(&turns, entrant, load.name, *resident_kib));
                for (what, measure) in HEADLINES {
                    let ratio = ratio(&turns, (OWN, entrant), load.name, measure);
                    let name = format!("{}-{what}-vs-{entrant}", load.name);
                    let headline = ratio.map(|ratio| Headline { name, ratio });
                    headlines.extend(headline.filter(|_| entrant != OWN));
                }
            }
        }
        let ip_version = if terms.family == Family::V4 { 4 } else { 6 };
        let processors = thread::available_parallelism().map_or(0, usize::from);
        let Spans { warm_up, measured } = terms.spans;
        Self {
            ip_version,
            processors,
            warm_up_s: warm_up.as_secs_f64(),
            measured_s: measured.as_secs_f64(),
            headlines,
            entrants,
            turns,
        }
    }

    /// Writes it as JSON, and makes the folder.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, serde_json::to_string_pretty(self)? + "\n")
    }
}

fn line(turns: &[Turn], entrant: &str, load: &'static str, resident_kib: u64) -> Option<Line> {
    let spread = |measure| Spread::of(of(turns, entrant, load, measure).into_iter().map(|p| p.1));
    let to_baseline = |measure| ratio(turns, (entrant, BASELINE), load, measure);
    let own = turns.iter().filter(|turn| turn.entrant == entrant && turn.load == load);
    Some(Line {
        entrant: entrant.to_owned(),
        load,
        gbit_per_s: spread(SPEED)?,
        machine_s_per_gb: spread(COST)?,
        tunnels_s_per_gb: spread(TUNNELS)?,
        speed_ratio: to_baseline(SPEED),
        cost_ratio: to_baseline(COST),
        doubtful_rounds: own.clone().filter(|turn| doubtful(&turn.sample)).count(),
        rounds: own.count(),
        resident_kib,
    })
}

fn ratio(
    turns: &[Turn],
    (one, other): (&str, &str),
    load: &str,
    measure: Measure,
) -> Option<Spread> {
    Spread::of_ratios(&of(turns, one, load, measure), &of(turns, other, load, measure))
}

/// Round and value.
fn of(turns: &[Turn], entrant: &str, load: &str, measure: Measure) -> Vec<(usize, f64)> {
    let own = turns.iter().filter(|turn| turn.entrant == entrant && turn.load == load);
    own.map(|turn| (turn.round, measure(&turn.sample))).collect()
}

impl fmt::Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sample { gbit_per_s, machine_s_per_gb, stolen, foreign, .. } = self.sample;
        let (stolen, foreign) = (stolen * 100.0, foreign * 100.0);
        write!(
            f,
            "round {:>2}  {:<5}  {:<14}  {gbit_per_s:>6.2} Gbit/s  {machine_s_per_gb:>6.2} s/GB  \
             stolen {stolen:>2.0} %  foreign {foreign:>2.0} %",
            self.round, self.load, self.entrant
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "routed TCP over IPv{}, medians; ratios to {BASELINE} within each round, least to most\n\
             {:<5}  {:<14}  {:>6}  {:>18}  {:>8}  {:>8}  {:>18}  {:>8}  {:>8}",
            self.ip_version,
            "load",
            "tunnel",
            "Gbit/s",
            "ratio",
            "cpu s/GB",
            "tunnels",
            "ratio",
            "RSS KiB",
            "doubtful"
        )?;
        for line in &self.entrants {
            writeln!(
                f,
                "{:<5}  {:<14}  {:>6.2}  {:>18}  {:>8.2}  {:>8.2}  {:>18}  {:>8}  {:>8}",
                line.load,
                line.entrant,
                line.gbit_per_s.median,
                range(line.speed_ratio),
                line.machine_s_per_gb.median,
                line.tunnels_s_per_gb.median,
                range(line.cost_ratio),
                line.resident_kib,
                format!("{}/{}", line.doubtful_rounds, line.rounds)
            )?;
        }
        writeln!(f, "\n{:<44}  {:>6}  {:>6}  {:>6}", "name", "ratio", "min", "max")?;
        for Headline { name, ratio: Spread { median, min, max } } in &self.headlines {
            writeln!(f, "{name:<44}  {median:>6.2}  {min:>6.2}  {max:>6.2}")?;
        }
        Ok(())
    }
}

fn range(spread: Option<Spread>) -> String {
    spread.map_or_else(
        || "-".to_owned(),
        |Spread { median, min, max }| format!("{median:.2} ({min:.2}-{max:.2})"),
    )
}
