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

const APPLY_EXAMPLE: &str = "\
Examples:
  sealane clusterset apply --kubeconfig admin.kubeconfig
      also puts the list back on a broker that lost it or was set back, which sealane status on a member
      calls BrokerBehind
  sealane clusterset apply --kubeconfig admin.kubeconfig --replace-fork
      after LinkFork: the broker holds a list under a root link that is not the administrator's. Make sure
      by other means that the list here is; on members that believe the other one, sealane clusterset
      accept-link follows.";

/// `sealane clusterset apply`.
#[derive(Debug, Args)]
#[command(after_help = APPLY_EXAMPLE)]
pub struct ApplyArgs {
    #[command(flatten)]
    folder: FolderArgs,
    #[command(flatten)]
    board: BoardArgs,
    /// Replace a list whose root links fork from those of this one.
    #[arg(long, requires = "kubeconfig")]
    replace_fork: bool,
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
    match args.replace_fork {
        true => board.replace_fork(&manifest).await?,
        false => board.apply(&manifest).await?,
    }
    note(&format!("version {} is on {}", manifest.list.position.version, board.url()));
    Ok(Exit::Fine)
}
