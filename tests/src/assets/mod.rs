//! Owns programs of others that are built, not packaged: where they are kept, how they are had, and
//! when a test may go without. Does not own the packages of `tests/scripts/setup.sh`.

pub mod go;
pub mod program;

use std::env;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Whether tests skip what cannot be had: `SEALANE_OFFLINE=1`.
pub fn offline() -> bool {
    env::var_os("SEALANE_OFFLINE").is_some_and(|value| value == "1")
}

/// Says something to whoever runs the tests, though the test passes.
pub fn announce(text: &str) {
    // The macros' output is shown for failed tests only; that nobody reads is no failure.
    let _ = writeln!(io::stderr(), "assets: {text}");
}

/// The folder: `SEALANE_ASSETS`, else `~/.cache/sealane`.
pub fn folder() -> PathBuf {
    let home = || PathBuf::from(env::var_os("HOME").unwrap_or_else(|| "/root".into()));
    let own = || home().join(".cache/sealane");
    env::var_os("SEALANE_ASSETS").map_or_else(own, PathBuf::from)
}

/// A command at low priority, as builds here take minutes.
fn low(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("nice");
    command.args(["-n", "10"]).arg(program).stdin(Stdio::null());
    command
}
