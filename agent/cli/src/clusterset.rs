//! Owns the commands `sealane clusterset`: making a clusterset, showing, signing and applying its
//! list. Its files are in the modules below; members' entries in `member` and `token`.

pub mod recovery;
pub mod passphrase;
pub mod root_key;
pub mod manifest;
pub mod folder;
pub mod brokers;
pub mod init;
pub mod sign;
pub mod show;
pub mod rotate_root;
pub mod accept_link;

use clap::{Args, Subcommand};

use self::folder::FolderArgs;
use crate::board::BoardArgs;
use crate::failure::{Exit, Failure};
use crate::show::form::note;

/// `sealane clusterset`.
#[derive(Debug, Subcommand)]
pub enum ClusterSetCommand {
    /// Make a clusterset: root key, recovery key and the first, empty list.
    Init(init::InitArgs),
    /// Show the list: version, brokers, members and what each was granted.
    Show(show::ShowArgs),
    /// Sign the next version: renew it, pin members, change brokers.
    Sign(sign::SignArgs),
    /// Bring the list to a broker.
    Apply(ApplyArgs),
    /// Replace the root key, with the recovery key.
    RotateRoot(rotate_root::RotateRootArgs),
    /// Give a list to the agent of this host by hand, also after a fork of root links.
    AcceptLink(accept_link::AcceptLinkArgs),
}

/// `sealane clusterset apply`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sealane clusterset apply --kubeconfig admin.kubeconfig")]
pub struct ApplyArgs {
    #[command(flatten)]
    folder: FolderArgs,
    #[command(flatten)]
    board: BoardArgs,
}

/// Runs one of the commands.
pub async fn run(command: ClusterSetCommand) -> Result<Exit, Failure> {
    match command {
        ClusterSetCommand::Init(args) => init::run(&args),
        ClusterSetCommand::Show(args) => show::run(&args),
        ClusterSetCommand::Sign(args) => sign::run(&args).await,
        ClusterSetCommand::Apply(args) => apply(&args).await,
        ClusterSetCommand::RotateRoot(args) => rotate_root::run(&args).await,
        ClusterSetCommand::AcceptLink(args) => accept_link::run(&args).await,
    }
}

async fn apply(args: &ApplyArgs) -> Result<Exit, Failure> {
    let manifest = args.folder.open()?.manifest()?;
    let Some(board) = args.board.open(&manifest.list).await? else {
        return Err(Failure::new(Exit::Usage, "no broker was named", "--kubeconfig is missing")
            .next("give --kubeconfig FILE, or use kubectl apply --server-side"));
    };
    board.apply(&manifest).await?;
    note(&format!("version {} is on {}", manifest.list.position.version, board.url()));
    Ok(Exit::Fine)
}
