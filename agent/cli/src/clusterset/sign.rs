//! Owns `sealane clusterset sign`: the next version of the list, renewed, with members pinned or
//! other brokers. Adding and removing members is elsewhere.

use std::io::IsTerminal as _;

use clap::Args;
use sealane_api::keys::VerifyKey;
use sealane_api::names::ClusterId;

use super::brokers::BrokerArgs;
use super::folder::{FolderArgs, unknown_member};
use super::manifest::{Manifest, ManifestError};
use super::passphrase::PassphraseArgs;
use crate::board::{Board, BoardArgs};
use crate::clock::{self, Length};
use crate::failure::{Exit, Failure};
use crate::show::form::note;

const EXAMPLE: &str = "\
Examples:
  sealane clusterset sign --kubeconfig admin.kubeconfig
      asks about each member that enrolled and is not pinned, then signs and applies
  sealane clusterset sign --kubeconfig admin.kubeconfig --pin edge-1=2qtf-...-ab4x
      pins without asking; on the member: sealane identity show

Without a terminal nobody is asked: who enrolled and is not pinned is listed, for --pin.

A pinned member needs its token no more, and whoever found the token can do nothing with it.";

/// `sealane clusterset sign`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct SignArgs {
    #[command(flatten)]
    folder: FolderArgs,
    #[command(flatten)]
    passphrase: PassphraseArgs,
    #[command(flatten)]
    board: BoardArgs,
    /// Pin the identity with this fingerprint, which enrolled on the broker. Repeatable.
    #[arg(id = "members_to_pin", long = "pin", value_name = "MEMBER=FINGERPRINT", value_parser = pin, requires = "kubeconfig")]
    pins: Vec<(ClusterId, String)>,
    #[command(flatten)]
    brokers: BrokerArgs,
    /// Life of the list from now on.
    #[arg(long, value_name = "LENGTH")]
    valid_for: Option<Length>,
}

fn pin(text: &str) -> Result<(ClusterId, String), String> {
    let (member, fingerprint) = text.split_once('=').ok_or("expected MEMBER=FINGERPRINT")?;
    let member = ClusterId::parse(member).map_err(|error| error.to_string())?;
    Ok((member, fingerprint.to_owned()))
}

/// Signs the next version.
pub async fn run(args: &SignArgs) -> Result<Exit, Failure> {
    let brokers = args.brokers.addresses()?;
    let folder = args.folder.open()?;
    let manifest = folder.manifest()?;
    let board = args.board.open(&manifest.list).await?;
    if let Some(board) = &board {
        board.check_held(&manifest).await?;
    }
    let pinned = match &board {
        Some(board) => chosen(args, &manifest, board).await?,
        None => Vec::new(),
    };
    let root = folder.root(&args.passphrase)?;
    let next = manifest
        .next(&root, clock::now(), |list| {
            if !brokers.is_empty() {
                list.brokers = brokers;
            }
            if let Some(life) = args.valid_for {
                list.expires = list.issued.plus_seconds(life.0);
            }
            for (member, key) in &pinned {
                if let Some(entry) = list.members.get_mut(member) {
                    entry.keys = vec![*key];
                    entry.join = None;
                }
            }
        })
        .map_err(ManifestError::from)?;
    folder.keep(&next)?;
    for (member, key) in &pinned {
        note(&format!("{member} pinned to {}", key.fingerprint()));
    }
    publish(board.as_ref(), &next).await
}

/// Applies a freshly signed list where a broker was named, and says where things stand.
pub async fn publish(board: Option<&Board>, next: &Manifest) -> Result<Exit, Failure> {
    let version = next.list.position.version;
    let Some(board) = board else {
        note(&format!("version {version} signed; members see it after sealane clusterset apply"));
        return Ok(Exit::Fine);
    };
    board.apply(next).await.map_err(|failure| {
        failure.next("the list is signed and kept; repeat with sealane clusterset apply")
    })?;
    note(&format!("version {version} signed and applied to {}", board.url()));
    Ok(Exit::Fine)
}

/// Returns the identities to pin: those named, else those that the person at the terminal agrees to.
async fn chosen(
    args: &SignArgs,
    manifest: &Manifest,
    board: &Board,
) -> Result<Vec<(ClusterId, VerifyKey)>, Failure> {
    let mut pinned = Vec::new();
    for (member, fingerprint) in &args.pins {
        let entry = manifest.list.members.get(member).ok_or_else(|| unknown_member(member))?;
        if entry.keys.iter().any(|key| key.fingerprint() == *fingerprint) {
            continue;
        }
        let offered = board.enrolled(&manifest.list, member).await?;
        let key = offered.into_iter().find(|key| key.fingerprint() == *fingerprint);
        pinned.push((member.clone(), key.ok_or_else(|| not_enrolled(member, fingerprint))?));
    }
    if !args.pins.is_empty() {
        return Ok(pinned);
    }
    let can_ask = std::io::stdin().is_terminal();
    let unpinned = manifest.list.members.iter().filter(|(_, entry)| entry.keys.is_empty());
    for (member, _) in unpinned {
        for key in board.enrolled(&manifest.list, member).await? {
            if !can_ask {
                let print = key.fingerprint();
                note(&format!(
                    "{member} enrolled and is not pinned; to pin it: --pin {member}={print}"
                ));
            } else if agreed(member, &key) {
                pinned.push((member.clone(), key));
                break;
            }
        }
    }
    Ok(pinned)
}

fn agreed(member: &ClusterId, key: &VerifyKey) -> bool {
    let mut answer = String::new();
    note(&format!("{member} enrolled as {}", key.fingerprint()));
    note("  the same on the member, in sealane identity show? pin it? [y/N]");
    std::io::stdin().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

fn not_enrolled(member: &ClusterId, fingerprint: &str) -> Failure {
    let what = format!("pin {member}={fingerprint}");
    Failure::new(Exit::BadInput, what, "no identity with this fingerprint enrolled on the broker")
        .next("compare with sealane identity show on the member, and let it join first")
}
