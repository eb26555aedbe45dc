//! Owns the command line of the lab's own processes; the lab starts them, people do not.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use sealane_tests::lab::holder::{init, keeper, outer};

/// Holds a lab of network namespaces; started by the lab library.
#[derive(Parser)]
enum Role {
    /// Create the lab's namespaces, wait for their end, remove the folder.
    Outer {
        /// The lab's folder.
        dir: PathBuf,
    },
    /// Be process 1 of the lab.
    Init {
        /// The lab's folder.
        dir: PathBuf,
    },
    /// Be one host of the lab.
    Keeper {
        /// The lab's folder.
        dir: PathBuf,
        /// The host's name.
        host: String,
    },
}

fn main() -> ExitCode {
    let outcome = match Role::parse() {
        Role::Outer { dir } => outer::hold(&dir),
        Role::Init { dir } => init::serve(&dir),
        Role::Keeper { dir, host } => keeper::keep(&dir, &host),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lab-holder: {error}");
            ExitCode::FAILURE
        }
    }
}
