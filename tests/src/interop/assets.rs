//! Owns programs of others that are built, not packaged: where they are kept, how they are had, and
//! when a test may go without. Does not own the packages of `tests/scripts/setup.sh`.

use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

/// Where wireguard-go's source is, to the Go tools.
const WIREGUARD_GO: &str = "golang.zx2c4.com/wireguard";
/// The version that is tested against: that of 22 May 2026.
const WIREGUARD_GO_VERSION: &str = "v0.0.0-20260522210424-ecfc5a8d5446";

/// Two tests that want the same program build it once.
static BUILDING: Mutex<()> = Mutex::new(());

/// Why a program is not to be had; with `SEALANE_OFFLINE=1` tests go without instead.
#[derive(Debug, thiserror::Error)]
#[error(
    "{program}: {cause}; it is looked for as {}, and built there by `{build}`, which takes Go 1.23 or newer and the \
     network; SEALANE_ASSETS names another folder, SEALANE_OFFLINE=1 skips what needs it",
    path.display()
)]
pub struct AssetError {
    program: &'static str,
    cause: String,
    path: PathBuf,
    build: String,
}

/// Whether tests skip what cannot be had: `SEALANE_OFFLINE=1`.
pub fn offline() -> bool {
    env::var_os("SEALANE_OFFLINE").is_some_and(|value| value == "1")
}

/// Says something to whoever runs the tests, though the test passes.
pub fn announce(text: &str) {
    // The macros' output is shown for failed tests only; that nobody reads is no failure.
    let _ = writeln!(io::stderr(), "interop: {text}");
}

/// The folder: `SEALANE_ASSETS`, else `~/.cache/sealane`.
pub fn folder() -> PathBuf {
    let home = || PathBuf::from(env::var_os("HOME").unwrap_or_else(|| "/root".into()));
    let own = || home().join(".cache/sealane");
    env::var_os("SEALANE_ASSETS").map_or_else(own, PathBuf::from)
}

/// A current `wireguard-go`, built on first use; `None`, said aloud, where that fails and
/// `SEALANE_OFFLINE=1`.
///
/// # Errors
/// It is not there and cannot be built.
pub fn wireguard_go() -> Result<Option<PathBuf>, AssetError> {
    let _one = BUILDING.lock();
    let path = folder().join(format!("wireguard-go-{WIREGUARD_GO_VERSION}"));
    if path.exists() {
        return Ok(Some(path));
    }
    let module = format!("{WIREGUARD_GO}@{WIREGUARD_GO_VERSION}");
    let build = format!("go install {module}");
    match install(&module, &path) {
        Ok(()) => Ok(Some(path)),
        Err(cause) if offline() => {
            announce(&format!("SKIPPED, as SEALANE_OFFLINE=1: no wireguard-go: {cause}"));
            Ok(None)
        }
        Err(cause) => Err(AssetError { program: "wireguard-go", cause, path, build }),
    }
}

/// Builds beside the destination and moves into place, so that a half-built program never stands there.
fn install(module: &str, path: &Path) -> Result<(), String> {
    let words = |fault: io::Error| fault.to_string();
    let work = path.with_extension(format!("{}.part", std::process::id()));
    fs::create_dir_all(&work).map_err(words)?;
    announce(&format!("building {module} (once, about a minute)"));
    let built = Command::new("go")
        .args(["install", "-v", "-trimpath", module])
        .env("CGO_ENABLED", "0")
        .env("GOBIN", &work)
        .env("GOFLAGS", "")
        .stdin(Stdio::null())
        .status();
    let outcome = match built {
        Ok(status) if status.success() => fs::rename(work.join("wireguard"), path).map_err(words),
        Ok(status) => Err(format!("`go install {module}` ended with {status}")),
        Err(fault) => Err(format!("go: {fault}")),
    };
    // What is left there is worth nothing.
    let _ = fs::remove_dir_all(&work);
    outcome
}
