//! Owns small files that must survive a crash whole: written aside, synced, renamed, mode 0600.
//! Does not know what is in them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// A directory of such files, mode 0700.
#[derive(Debug, Clone)]
pub struct Store {
    directory: PathBuf,
}

/// Why a file could not be kept or read back.
#[derive(Debug, thiserror::Error)]
#[error("state file {}: {cause}; choose a writable folder with paths.state", path.display())]
pub struct StoreError {
    /// The file or directory.
    pub path: PathBuf,
    /// What the system said.
    pub cause: io::Error,
}

impl Store {
    /// Opens the directory, made if missing.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be made.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|cause| StoreError { path: directory.to_owned(), cause })?;
        Ok(Self { directory: directory.to_owned() })
    }

    /// Returns where the file of that name is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Replaces the file; after `Ok` the new bytes survive any crash, before it the old ones do.
    ///
    /// # Errors
    /// [`StoreError`] when the disk is full or read-only.
    pub fn save(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let target = self.path(name);
        let aside = self.path(&format!(".{name}.new"));
        write_synced(&aside, bytes)
            .and_then(|()| fs::rename(&aside, &target))
            .and_then(|()| File::open(&self.directory)?.sync_all())
            .map_err(|cause| StoreError { path: target, cause })
    }

    /// Reads the file; `None` when there is none.
    ///
    /// # Errors
    /// [`StoreError`] when it is there and cannot be read.
    pub fn load(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        match fs::read(self.path(name)) {
            Ok(bytes) => Ok(Some(Zeroizing::new(bytes))),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(StoreError { path: self.path(name), cause }),
        }
    }

    /// Removes the file if it is there.
    ///
    /// # Errors
    /// [`StoreError`] when it is there and cannot be removed.
    pub fn remove(&self, name: &str) -> Result<(), StoreError> {
        match fs::remove_file(self.path(name)) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                Err(StoreError { path: self.path(name), cause })
            }
            _ => Ok(()),
        }
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_readable_by_its_owner_only() {
        let place = tempfile::tempdir().unwrap();
        let store = Store::open(&place.path().join("state")).unwrap();
        assert!(store.load("held.json").unwrap().is_none());
        store.save("held.json", b"one").unwrap();
        store.save("held.json", b"two").unwrap();
        assert_eq!(store.load("held.json").unwrap().unwrap().as_slice(), b"two");
        let mode = fs::metadata(store.path("held.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(place.path().join("state")).unwrap().count(), 1);
    }

    #[test]
    fn a_write_that_fails_keeps_what_was_there() {
        let place = tempfile::tempdir().unwrap();
        let store = Store::open(place.path()).unwrap();
        store.save("held.json", b"kept").unwrap();
        fs::create_dir(store.path(".held.json.new")).unwrap();
        assert!(store.save("held.json", b"lost").is_err());
        assert_eq!(store.load("held.json").unwrap().unwrap().as_slice(), b"kept");
    }
}
