//! Owns the corpus on disk: one folder per target, one file per input. Reads and writes files only.

use std::fs;
use std::io;
use std::path::PathBuf;

use crate::fuzz::target::Target;

/// Where the inputs of a target are.
pub fn folder(target: &Target) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name)
}

/// Returns all inputs of a target by file name, sorted.
///
/// # Errors
/// The folder or a file of it cannot be read.
pub fn inputs(target: &Target) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut inputs = Vec::new();
    for entry in fs::read_dir(folder(target))? {
        let entry = entry?;
        inputs.push((entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?));
    }
    inputs.sort();
    Ok(inputs)
}

/// Keeps an input under a name.
///
/// # Errors
/// It cannot be written.
pub fn keep(target: &Target, name: &str, input: &[u8]) -> io::Result<PathBuf> {
    let path = folder(target).join(name);
    fs::create_dir_all(folder(target))?;
    fs::write(&path, input)?;
    Ok(path)
}
