//! Owns the program `demo`: its flags and exit code. The story is in the library.

use std::process::ExitCode;

use clap::Parser;
use sealane_tests::demo::story::{self, Ending};

/// Two clusters and an edge host on this machine, joined and put to the test.
#[derive(Debug, Parser)]
#[command(after_help = "\
Example:
  demo --keep && demo --down

Exit codes: 0 every claim holds, 1 one does not or the lab cannot be built, 2 wrong flags.")]
struct Flags {
    /// Leave everything up, and say how to look around.
    #[arg(long, conflicts_with = "down")]
    keep: bool,
    /// Remove what --keep left up.
    #[arg(long)]
    down: bool,
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    let outcome = if flags.down {
        story::remove().map(|count| {
            println!("removed: {count}");
            true
        })
    } else {
        story::tell(if flags.keep { Ending::Kept } else { Ending::Clean })
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}
