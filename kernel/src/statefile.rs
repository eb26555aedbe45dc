//! Owns how a small state file is written: whole or not at all, on the disk before it counts, for
//! root's eyes. Does not own what stands in it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Reads a state file; `None` when there is none.
///
/// # Errors
/// The file cannot be read, or is not what we write (`InvalidData`).
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|fault| io::Error::new(io::ErrorKind::InvalidData, fault)),
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// Replaces a state file; after a crash at any instant the old or the new one is there, whole.
///
/// # Errors
/// The folder or the file cannot be written; the old file is then still there.
pub(crate) fn write<T: Serialize>(path: &Path, content: &T) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
    let bytes = serde_json::to_vec(content)?;
    let fresh = path.with_extension("new");
    // What a crash left of an earlier attempt may have other permissions.
    remove(&fresh)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    File::open(folder)?.sync_all()
}

/// Removes a state file, if it is there.
///
/// # Errors
/// The file is there and cannot be removed.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(fault) if fault.kind() != io::ErrorKind::NotFound => Err(fault),
        _ => Ok(()),
    }
}
