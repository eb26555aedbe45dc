//! Owns the contest: `sealane-tunnel` and the WireGuard programs of others between the same four
//! hosts, in turns. Does not judge: it prints ratios.

pub mod entrant;
pub mod course;
pub mod load;
pub mod cpu;
pub mod ratio;
pub mod report;

use std::error::Error;
use std::path::Path;

use crate::bench::contest::course::Course;
use crate::bench::contest::entrant::Entrant;
use crate::bench::contest::load::{LOADS, Spans};
use crate::bench::contest::report::{Report, Turn};
use sealane_state::rule::Family;

/// How a contest is run.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// In each, everyone has a turn; each begins with the next one.
    pub rounds: usize,
    /// Of each measurement.
    pub spans: Spans,
    /// Of the addresses in the tunnel and around it.
    pub family: Family,
}

/// Runs it, prints its table and its ratios, and writes all of it to `report` as JSON.
///
/// # Errors
/// Those of the lab; a program of others that cannot be had; a tunnel that does not come up.
pub fn measure(terms: Terms, entrants: &[Entrant], report: &Path) -> Result<(), Box<dyn Error>> {
    let entrants: Vec<_> = entrants.iter().map(|entrant| entrant.obtain()).collect();
    let entrants: Vec<_> =
        entrants.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
    if cfg!(debug_assertions) {
        eprintln!("not optimised: these ratios say nothing; `make bench-quick` builds what counts");
    }
    let course = Course::build(terms.family, &entrants)?;
    let mut turns = Vec::new();
    for round in 0..terms.rounds {
        for place in 0..entrants.len() {
            let number = (round + place) % entrants.len();
            course.lead_through(number)?;
            for load in LOADS {
                let sample = course.run(number, load, terms.spans)?;
                let entrant = entrants[number].name.to_owned();
                turns.push(Turn { round: round + 1, entrant, load: load.name, sample });
                if let Some(turn) = turns.last() {
                    eprintln!("{turn}");
                }
            }
        }
    }
    let resident = course.resident()?;
    let outcome = Report::new(terms, turns, resident);
    print!("{outcome}");
    outcome.write(report)?;
    eprintln!("all of it: {}", report.display());
    Ok(())
}
