//! Owns `sealane clusterset rotate-root`: the recovery key appoints a new root key and a new recovery key,
//! and the list is signed anew. It needs no old root key, which may be lost or stolen.

use std::path::PathBuf;

use clap::Args;
use sealane_api::clusterset::MAX_LINK_BYTES;
use sealane_api::clusterset_payload::RootLinkPayload;
use sealane_api::keys::SigningSeed;
use sealane_api::sign::{self, Appointed};

use super::folder::{FolderArgs, ROOT_KEY};
use super::manifest::{Manifest, ManifestError};
use super::passphrase::ProtectionArgs;
use super::recovery;
use super::sign::publish;
use crate::board::BoardArgs;
use crate::clock;
use crate::failure::{Exit, Failure};
use crate::random;
use crate::show::form::note;
use crate::token::secret_file::{self, SecretFile};

const EXAMPLE: &str = "\
Example:
  sealane clusterset rotate-root --recovery-file recovery --new-recovery-file recovery.2 \\
      --kubeconfig admin.kubeconfig

Review the list first (sealane clusterset show): whatever stands on it is signed anew. What the old
root key signed counts no more, whichever version it bears; members and their lanes are not touched.";

/// `sealane clusterset rotate-root`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct RotateRootArgs {
    #[command(flatten)]
    folder: FolderArgs,
    #[command(flatten)]
    protection: ProtectionArgs,
    /// File with the recovery key in force, - for standard input.
    #[arg(long, value_name = "FILE")]
    recovery_file: PathBuf,
    /// Where the next recovery key goes: a new file (mode 0600).
    #[arg(long, value_name = "FILE")]
    new_recovery_file: PathBuf,
    #[command(flatten)]
    board: BoardArgs,
}

/// Appoints a new root key.
pub async fn run(args: &RotateRootArgs) -> Result<Exit, Failure> {
    let handed_over = SecretFile::new_at(&args.new_recovery_file)?;
    let folder = args.folder.open()?;
    let manifest = folder.manifest()?;
    let recovery = in_force(args, &manifest)?;
    let board = args.board.open(&manifest.list).await?;
    let (root, next_recovery) = (random::seed()?, random::seed()?);
    let root_file = args.protection.file_of(&root)?;
    let next = rotated(&manifest, &recovery, (&root, &next_recovery))?;
    // The list before the key: whichever is missing after a crash, the newest recovery key that was
    // handed over is in force or the old one is, and this command mends the rest.
    handed_over.write(&recovery::written(&next_recovery))?;
    folder.keep(&next)?;
    folder.keep_root(&root_file)?;
    let links = next.list.position.link_index;
    note(&format!("root link {links}: a new root key is in {}", folder.path(ROOT_KEY).display()));
    note(&format!(
        "the new recovery key is in {}: take it off this machine; the old one is worth nothing",
        handed_over.path().display()
    ));
    publish(board.as_ref(), &next).await
}

/// Reads the recovery key, and checks that it is the one which may appoint the next root.
fn in_force(args: &RotateRootArgs, manifest: &Manifest) -> Result<SigningSeed, Failure> {
    let place = args.recovery_file.display();
    let bad = |cause: String, next: &str| Failure::new(Exit::BadInput, &place, cause).next(next);
    let text = secret_file::read(&args.recovery_file)?;
    let recovery = recovery::read(&text).map_err(|error| {
        bad(error.to_string(), "type the 14 groups as they were shown, on one line")
    })?;
    let expected = match manifest.spec.links.last() {
        Some(link) => {
            let link = link.decode(MAX_LINK_BYTES).map_err(ManifestError::from)?;
            let link = RootLinkPayload::parse(&link.payload).map_err(ManifestError::from)?;
            sealane_api::keys::VerifyKey::check(link.recovery).ok()
        }
        None => sealane_api::keys::VerifyKey::parse(&manifest.spec.genesis.recovery).ok(),
    };
    if expected != Some(recovery.public()) {
        let cause = "it is not the recovery key in force".to_owned();
        return Err(bad(cause, "use the one that was handed over with the last root key"));
    }
    Ok(recovery)
}

/// The same list under one more link, for as long a life as before.
fn rotated(
    manifest: &Manifest,
    recovery: &SigningSeed,
    (root, next_recovery): (&SigningSeed, &SigningSeed),
) -> Result<Manifest, Failure> {
    let now = clock::now();
    let life = manifest.list.expires.0.saturating_sub(manifest.list.issued.0);
    let mut list = manifest.list.under_next_root(now);
    list.expires = now.plus_seconds(life);
    let appointed = Appointed { root: root.public(), recovery: next_recovery.public() };
    let index = list.position.link_index;
    let mut links = manifest.spec.links.clone();
    links.push(sign::root_link(recovery, &list.id, index, appointed));
    Ok(Manifest::sign(root, manifest.spec.genesis.clone(), links, &list)
        .map_err(ManifestError::from)?)
}
