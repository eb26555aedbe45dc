//! Fuzzes the parsers of `sealane_tests::fuzz`: mutates the corpus for a while, target by target, and keeps
//! whatever panics. The same seed makes the same inputs.

use std::collections::BTreeSet;
use std::num::NonZero;
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Parser;
use sealane_tests::fuzz::corpus;
use sealane_tests::fuzz::mutate::Mutator;
use sealane_tests::fuzz::target::{self, Target};

const EXAMPLE: &str = "\
Examples:
  fuzz                                every target for a minute
  fuzz --seconds 5 --seed 7 gossip    one target, briefly, with the inputs of seed 7
  fuzz --write-seeds                  writes the inputs that each target begins with into tests/corpus

An input that panics is kept in tests/corpus/TARGET and fails the tests until it is mended.";

/// Inputs that are mutated further, of one target.
const MOST_KEPT: usize = 4096;

/// Fuzzes the parsers of what others wrote.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLE)]
struct Args {
    /// Targets; all of them when none is named.
    targets: Vec<String>,
    /// Time for each target. Unit: seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Targets at a time; as many as there are cores when not given.
    #[arg(long)]
    jobs: Option<NonZero<usize>>,
    /// Seed of the inputs.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the inputs that targets begin with, and stop.
    #[arg(long)]
    write_seeds: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let targets = chosen(&args.targets)?;
    if args.write_seeds {
        for target in targets {
            for (name, input) in (target.seeds)() {
                corpus::keep(target, name, &input).with_context(|| target.name.to_owned())?;
            }
        }
        return Ok(ExitCode::SUCCESS);
    }
    // An input that panics is told by its path, not by the panic's own words.
    panic::set_hook(Box::new(|_| {}));
    let crashes = fuzz_all(&targets, &args)?;
    Ok(if crashes == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Fuzzes the targets, each on one thread; returns how many inputs panicked.
fn fuzz_all(targets: &[&'static Target], args: &Args) -> anyhow::Result<usize> {
    let jobs = args.jobs.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZero::get);
    let queue = Mutex::new(targets.iter());
    let work = || {
        let mut crashes = 0;
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(target) = next else { return Ok(crashes) };
            crashes += fuzz(target, Duration::from_secs(args.seconds), args.seed)?;
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        let ended = |worker: thread::ScopedJoinHandle<'_, _>| match worker.join() {
            Ok(crashes) => crashes,
            Err(_) => bail!("a worker panicked outside its target"),
        };
        workers.into_iter().map(ended).sum()
    })
}

fn chosen(names: &[String]) -> anyhow::Result<Vec<&'static Target>> {
    if names.is_empty() {
        return Ok(target::ALL.iter().collect());
    }
    let find = |name: &String| match target::named(name) {
        Some(target) => Ok(target),
        None => bail!("no target {name}; see --help"),
    };
    names.iter().map(find).collect()
}

/// Mutates the corpus of one target until time is up; returns how many inputs panicked.
fn fuzz(target: &Target, span: Duration, seed: u64) -> anyhow::Result<usize> {
    let committed = corpus::inputs(target).with_context(|| target.name.to_owned())?;
    let mut pool: Vec<Vec<u8>> = committed.into_iter().map(|(_, input)| input).collect();
    let mut ways: BTreeSet<_> = pool.iter().map(|input| (target.run)(input)).collect();
    let mut mutator = Mutator::new(seed);
    let (mut runs, mut crashes) = (0_u64, 0);
    let until = Instant::now() + span;
    while Instant::now() < until {
        let (one, other) = (mutator.pick(pool.len()), mutator.pick(pool.len()));
        let input = mutator.mutate(&pool[one], &pool[other]);
        runs += 1;
        match panic::catch_unwind(AssertUnwindSafe(|| (target.run)(&input))) {
            Ok(outcome) => {
                if ways.insert(outcome) && pool.len() < MOST_KEPT {
                    pool.push(input);
                }
            }
            Err(_) => {
                crashes += 1;
                let path = corpus::keep(target, &format!("panic-{seed}-{runs}"), &input)?;
                println!("{}: panics on {}", target.name, path.display());
            }
        }
    }
    println!("{:<14} {runs:>9} inputs {:>6} ways {crashes:>3} panics", target.name, ways.len());
    Ok(crashes)
}
