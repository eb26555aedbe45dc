//! Owns files that hold one secret line: written 0600 and whole, read from a path or standard input.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use sealane_broker::store::Store;
use zeroize::Zeroizing;

use crate::failure::{Exit, Failure};
use crate::show::form::note;

const MAX_BYTES: u64 = 64 * 1024;

/// A place for a secret, checked to be free before the secret is made.
pub struct SecretFile {
    path: PathBuf,
}

impl SecretFile {
    /// Names a file that does not exist yet, in a folder that does.
    pub fn new_at(path: &Path) -> Result<Self, Failure> {
        let folder = folder_of(path);
        let cause = if path.exists() {
            "it exists already"
        } else if path.file_name().is_none() || !folder.is_dir() {
            "its folder does not exist"
        } else {
            return Ok(Self { path: path.to_owned() });
        };
        Err(Failure::new(Exit::BadInput, path.display(), cause).next("name a new file"))
    }

    /// Writes the secret and a line end.
    pub fn write(&self, secret: &str) -> Result<(), Failure> {
        let line = Zeroizing::new(format!("{secret}\n"));
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        Store::open(folder_of(&self.path))
            .and_then(|store| store.save(&name, line.as_bytes()))
            .map_err(|error| {
                Failure::new(Exit::BadInput, error.path.display(), error.cause)
                    .next("name a file that can be written")
            })
    }

    /// Returns where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Reads a secret from a file, or from standard input when the path is `-`. Warns when others on
/// this machine can read the file.
pub fn read(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let bad = |cause: std::io::Error| {
        Failure::new(Exit::BadInput, path.display(), cause)
            .next("name a readable file, or - for standard input")
    };
    let mut text = Zeroizing::new(String::new());
    if path == Path::new("-") {
        std::io::stdin().take(MAX_BYTES).read_to_string(&mut text).map_err(bad)?;
        return Ok(text);
    }
    let file = std::fs::File::open(path).map_err(bad)?;
    let mode = file.metadata().map_err(bad)?.permissions().mode();
    if mode & 0o077 != 0 {
        note(&format!(
            "warning: {} can be read by others (mode {:03o}); chmod 600 it",
            path.display(),
            mode & 0o777
        ));
    }
    file.take(MAX_BYTES).read_to_string(&mut text).map_err(bad)?;
    Ok(text)
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}
