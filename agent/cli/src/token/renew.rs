//! Owns `sealane token renew`: a token with a new broker credential, and with the brokers and pins of the
//! list, for a member that has joined. Signs nothing and needs no root key.

use clap::Args;
use sealane_api::names::ClusterId;
use sealane_api::time::UnixTime;

use super::content::{self, CredentialArgs, TokenFileArgs};
use crate::board::BoardArgs;
use crate::clock;
use crate::clusterset::folder::{FolderArgs, unknown_member};
use crate::failure::{Exit, Failure};
use crate::show::form::note;

const EXAMPLE: &str = "\
Examples:
  sealane token renew --cluster edge-1 --kubeconfig admin.kubeconfig --token-file edge-1-renewed.token
      then, on each host of edge-1: sealane join --token-file edge-1-renewed.token
  kubectl create token -n sealane-system member-edge-1 --duration 8760h |
      sealane token renew --cluster edge-1 --credential-file - --token-file edge-1-renewed.token

The member keeps its identity, its keys and its lanes. On sealane-broker the credential before it works
for 24 hours more. If that one may be in wrong hands, sealane token create --rekey ends it at once.";

/// `sealane token renew`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct RenewArgs {
    /// Name of the member, which is on the list.
    #[arg(long, value_name = "NAME")]
    cluster: ClusterId,
    #[command(flatten)]
    credential: CredentialArgs,
    #[command(flatten)]
    output: TokenFileArgs,
    #[command(flatten)]
    folder: FolderArgs,
    #[command(flatten)]
    board: BoardArgs,
}

/// Makes the token.
pub async fn run(args: &RenewArgs) -> Result<Exit, Failure> {
    let member = &args.cluster;
    let refuse = |exit, cause: &str, next: &str| {
        Err(Failure::new(exit, format!("token for {member}"), cause).next(next))
    };
    if args.board.kubeconfig.is_none() && args.credential.file.is_none() {
        let next = "give --kubeconfig, or --credential-file with one made elsewhere";
        return refuse(Exit::Usage, "there is no broker credential to put into it", next);
    }
    let output = args.output.open()?;
    let manifest = args.folder.open()?.manifest()?;
    if !manifest.list.members.contains_key(member) {
        return Err(unknown_member(member));
    }
    if manifest.list.brokers.is_empty() {
        let next = "name one with sealane clusterset sign --broker URL";
        return refuse(Exit::BadInput, "the list names no broker", next);
    }
    let board = args.board.open(&manifest.list).await?;
    let credential = args.credential.obtain(member, board.as_ref()).await?;
    let expires = credential.expires;
    let token = content::token(&manifest, (member, None, credential))?;
    output.write(&token)?;
    let until = expires.map(|at| format!(", good until {}", clock::date(UnixTime(at))));
    note(&format!("broker credential of {member} renewed{}", until.unwrap_or_default()));
    note("next, on each of its hosts: sealane join --token-file FILE; lanes stay up");
    Ok(Exit::Fine)
}
