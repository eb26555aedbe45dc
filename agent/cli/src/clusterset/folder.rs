//! Owns the administrator's folder: `root.key` and `clusterset.yaml`, one writer at a time. Does not
//! own what is in them.

use std::fs::File;
use std::path::{Path, PathBuf};

use clap::Args;
use sealane_api::keys::SigningSeed;
use sealane_api::names::ClusterId;
use sealane_broker::store::{Store, StoreError};

use super::manifest::{Manifest, ManifestError};
use super::passphrase::PassphraseArgs;
use super::root_key::{RootKeyError, RootKeyFile};
use crate::failure::{Exit, Failure};

/// The root key, 0600.
pub const ROOT_KEY: &str = "root.key";
/// The signed list; not a secret.
pub const MANIFEST: &str = "clusterset.yaml";

/// Where the administrator's folder is.
#[derive(Debug, Clone, Args)]
pub struct FolderArgs {
    /// Folder of root.key and clusterset.yaml.
    #[arg(long, value_name = "DIR", env = "SEALANE_CLUSTERSET_DIR", default_value = "clusterset")]
    pub dir: PathBuf,
}

/// An open folder; nobody else writes it while this lives.
pub struct Folder {
    store: Store,
    _lock: File,
}

impl FolderArgs {
    /// Makes the folder of a new clusterset.
    pub fn create(&self) -> Result<Folder, Failure> {
        let folder = self.locked()?;
        for name in [ROOT_KEY, MANIFEST] {
            let path = folder.path(name);
            if path.exists() {
                return Err(Failure::new(Exit::BadInput, path.display(), "it exists already")
                    .next("choose another --dir; a root key is never replaced"));
            }
        }
        Ok(folder)
    }

    /// Opens the folder of a clusterset that was made before.
    pub fn open(&self) -> Result<Folder, Failure> {
        if !self.dir.is_dir() {
            return Err(Failure::new(
                Exit::BadInput,
                self.dir.display(),
                "there is no such folder",
            )
            .next("name it with --dir, or make a clusterset with sealane clusterset init"));
        }
        self.locked()
    }

    fn locked(&self) -> Result<Folder, Failure> {
        let store = Store::open(&self.dir).map_err(unusable)?;
        let at = |cause: std::io::Error| {
            Failure::new(Exit::BadInput, self.dir.display(), cause)
                .next("make the folder readable and writable")
        };
        let lock = File::open(&self.dir).map_err(at)?;
        lock.lock().map_err(at)?;
        Ok(Folder { store, _lock: lock })
    }
}

impl Folder {
    /// Returns where a file of the folder is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.store.path(name)
    }

    /// Returns the root key; asks for its passphrase only when it is sealed.
    pub fn root(&self, passphrase: &PassphraseArgs) -> Result<SigningSeed, Failure> {
        let path = self.path(ROOT_KEY);
        let bad = |error: RootKeyError| {
            Failure::new(Exit::BadInput, path.display(), error)
                .next("check the passphrase, or bring back the file from your copy")
        };
        let bytes = self.store.load(ROOT_KEY).map_err(unusable)?.ok_or_else(|| {
            Failure::new(Exit::BadInput, path.display(), "there is no such file")
                .next("signing needs the folder in which clusterset init made the root key")
        })?;
        let file = RootKeyFile::parse(&bytes).map_err(bad)?;
        if file.is_sealed() {
            file.unseal(&passphrase.known()?).map_err(bad)
        } else {
            file.plain().map_err(bad)
        }
    }

    /// Keeps a new root key.
    pub fn keep_root(&self, file: &RootKeyFile) -> Result<(), Failure> {
        self.store.save(ROOT_KEY, &file.bytes()).map_err(unusable)
    }

    /// Returns the list, verified.
    pub fn manifest(&self) -> Result<Manifest, Failure> {
        let path = self.path(MANIFEST);
        let bytes = self.store.load(MANIFEST).map_err(unusable)?.ok_or_else(|| {
            Failure::new(Exit::BadInput, path.display(), "there is no such file")
                .next("bring it back from Git or from a broker")
        })?;
        let text = str::from_utf8(&bytes).map_err(|error| bad_manifest(&path, error))?;
        let manifest = Manifest::parse(text).map_err(|error| bad_manifest(&path, error))?;
        self.check_anchor(&manifest)?;
        Ok(manifest)
    }

    /// Keeps a list.
    pub fn keep(&self, manifest: &Manifest) -> Result<(), Failure> {
        let path = self.path(MANIFEST);
        let text = manifest.text().map_err(|error| bad_manifest(&path, error))?;
        self.store.save(MANIFEST, text.as_bytes()).map_err(unusable)
    }

    /// A list of another clusterset verifies against its own genesis; the root key beside it tells.
    fn check_anchor(&self, manifest: &Manifest) -> Result<(), Failure> {
        let Some(bytes) = self.store.load(ROOT_KEY).map_err(unusable)? else { return Ok(()) };
        let root = RootKeyFile::parse(&bytes).ok().map(|file| file.public().to_string());
        let is_first_root = manifest.spec.links.is_empty();
        if !is_first_root || root.is_none_or(|root| root == manifest.spec.genesis.root) {
            return Ok(());
        }
        let cause = "it was signed by another root key than the one beside it";
        Err(bad_manifest(&self.path(MANIFEST), cause))
    }
}

/// Returns the failure of a command that names a member which is not on the list.
pub fn unknown_member(member: &ClusterId) -> Failure {
    Failure::new(Exit::BadInput, format!("member {member}"), "it is not on the list")
        .next("see sealane member list")
}

fn bad_manifest(path: &Path, cause: impl ToString) -> Failure {
    Failure::new(Exit::BadInput, path.display(), cause.to_string())
        .next("bring back the last good one from Git or from a broker")
}

fn unusable(error: StoreError) -> Failure {
    Failure::new(Exit::BadInput, error.path.display(), error.cause)
        .next("make the folder readable and writable")
}

impl From<ManifestError> for Failure {
    fn from(error: ManifestError) -> Self {
        Self::new(Exit::BadInput, "sign the list", error)
    }
}
