//! Owns `sealane clusterset init`: new keys and the first list. Replaces nothing.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use sealane_api::clusterset::{ClusterSet, LIFE_SECONDS, ListPosition, OnExpiry, PostQuantum};
use sealane_api::keys::SigningSeed;
use sealane_api::kinds::Genesis;
use sealane_api::names::ClusterSetId;

use super::brokers::BrokerArgs;
use super::folder::{FolderArgs, MANIFEST, ROOT_KEY};
use super::manifest::{Manifest, ManifestError};
use super::passphrase::ProtectionArgs;
use super::recovery;
use crate::clock::{self, Length};
use crate::failure::{Exit, Failure};
use crate::random;
use crate::show::form::{note, print};
use crate::token::secret_file::SecretFile;

const EXAMPLE: &str = "\
Example:
  sealane clusterset init --dir clusterset \\
      --broker https://broker.example.net:6464 --broker-pin PIN

The recovery key is shown this once and kept nowhere: write it down and keep it off every machine.
clusterset.yaml is no secret and belongs into Git; root.key does not.";

/// `sealane clusterset init`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct InitArgs {
    #[command(flatten)]
    folder: FolderArgs,
    #[command(flatten)]
    protection: ProtectionArgs,
    /// Write the recovery key to this file (mode 0600) instead of showing it.
    #[arg(long, value_name = "FILE")]
    recovery_file: Option<PathBuf>,
    #[command(flatten)]
    brokers: BrokerArgs,
    /// Life of a signed list; each signing renews it.
    #[arg(long, value_name = "LENGTH", default_value = "365d")]
    valid_for: Length,
    /// What happens when nobody signs in time.
    #[arg(long, value_enum, default_value_t)]
    on_expiry: Expiry,
}

/// What happens to lanes when the list expires.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Expiry {
    /// Members go on; new ones are refused.
    #[default]
    Hold,
    /// All lanes end.
    Drop,
}

/// Makes a clusterset.
pub fn run(args: &InitArgs) -> Result<Exit, Failure> {
    let brokers = args.brokers.addresses()?;
    let folder = args.folder.create()?;
    let recovery_file = args.recovery_file.as_deref().map(SecretFile::new_at).transpose()?;
    let (root, recovery) = (random::seed()?, random::seed()?);
    let id = ClusterSetId::of_genesis(&root.public(), &recovery.public());
    let now = clock::now();
    let list = ClusterSet {
        id: id.clone(),
        position: ListPosition { link_index: 0, version: 1 },
        issued: now,
        expires: now.plus_seconds(args.valid_for.0),
        on_expiry: match args.on_expiry {
            Expiry::Hold => OnExpiry::Hold,
            Expiry::Drop => OnExpiry::Drop,
        },
        post_quantum: PostQuantum::Off,
        brokers,
        members: std::collections::BTreeMap::new(),
    };
    let genesis =
        Genesis { root: root.public().to_string(), recovery: recovery.public().to_string() };
    let manifest =
        Manifest::sign(&root, genesis, Vec::new(), &list).map_err(ManifestError::from)?;
    let root_file = args.protection.file_of(&root)?;
    // A recovery key without its clusterset is harmless; the reverse is not.
    hand_over(&recovery, recovery_file)?;
    folder.keep_root(&root_file)?;
    folder.keep(&manifest)?;
    note(&format!(
        "clusterset {id} made: {} (secret), {} (for Git)",
        folder.path(ROOT_KEY).display(),
        folder.path(MANIFEST).display()
    ));
    note("next: sealane token create --cluster NAME --cidr NETWORK, once per member");
    Ok(Exit::Fine)
}

fn hand_over(recovery: &SigningSeed, file: Option<SecretFile>) -> Result<(), Failure> {
    let text = recovery::written(recovery);
    if let Some(file) = file {
        file.write(&text)?;
        note(&format!("recovery key in {}: take it off this machine", file.path().display()));
        return Ok(());
    }
    note("recovery key, shown this once; write it down, it outranks a lost or stolen root key:");
    print(&zeroize::Zeroizing::new(format!("{}\n", text.as_str())))
}

const _: () = assert!(LIFE_SECONDS == 365 * 86_400, "the default of --valid-for");
