//! Owns `sealane token create`: a new entry on the list, an account on the broker, and the token.

use clap::Args;
use sealane_api::clusterset::{ClusterSet, JoinKey, MemberEntry};
use sealane_api::keys::SigningSeed;
use sealane_api::names::ClusterId;
use sealane_api::time::{DAY_SECONDS, UnixTime};
use sealane_broker::account::Credential;

use super::content::{self, CredentialArgs, TokenFileArgs};
use crate::board::Board;
use crate::clock::{self, Length};
use crate::clusterset::manifest::{Manifest, ManifestError};
use crate::clusterset::sign;
use crate::failure::{Exit, Failure};
use crate::member::{GrantArgs, SigningArgs};
use crate::random;
use crate::show::form::note;

const LONGEST_SECONDS: u64 = 90 * DAY_SECONDS;

const EXAMPLE: &str = "\
Examples:
  sealane token create --cluster cluster-a --cidr 10.1.0.0/16 --cidr fd00:1::/48 \\
      --kubeconfig admin.kubeconfig --token-file cluster-a.token
      signs the list with cluster-a on it, applies it, and writes the token with its broker account
  sealane token create --cluster edge-1 --cidr 192.168.7.0/24 --token-file edge-1.token
      contacts nobody: apply clusterset.yaml and give the host a broker credential yourself

The token is a secret until the member is pinned (sealane clusterset sign). It joins one member.";

/// `sealane token create`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct CreateArgs {
    /// Name of the member: a cluster or an edge host.
    #[arg(long, value_name = "NAME")]
    cluster: ClusterId,
    #[command(flatten)]
    grant: GrantArgs,
    /// How long the token can be used to join, at most 90d.
    #[arg(long, value_name = "LENGTH", default_value = "7d")]
    valid_for: Length,
    /// The member is on the list already: forget its identity and its broker credentials, and let it
    /// enrol anew.
    #[arg(long)]
    rekey: bool,
    #[command(flatten)]
    credential: CredentialArgs,
    #[command(flatten)]
    output: TokenFileArgs,
    #[command(flatten)]
    signing: SigningArgs,
}

/// Makes a token.
pub async fn run(args: &CreateArgs) -> Result<Exit, Failure> {
    let output = args.output.open()?;
    let folder = args.signing.folder.open()?;
    let manifest = folder.manifest()?;
    let now = clock::now();
    check(args, &manifest.list)?;
    let board = args.signing.board.open(&manifest.list).await?;
    if let Some(board) = &board {
        board.check_held(&manifest).await?;
    }
    let root = folder.root(&args.signing.passphrase)?;
    let join = random::seed()?;
    let next = manifest
        .next(&root, now, |list| admit(args, list, &join, now))
        .map_err(ManifestError::from)?;
    let credential = credential(args, board.as_ref()).await?;
    let token = content::token(&next, (&args.cluster, Some(join), credential))?;
    // The token first: a token without its entry is harmless, an entry whose token is lost is not.
    output.write(&token)?;
    folder.keep(&next)?;
    report(args, &next, now);
    sign::publish(board.as_ref(), &next).await
}

fn check(args: &CreateArgs, list: &ClusterSet) -> Result<(), Failure> {
    let member = &args.cluster;
    let refuse = |exit, cause: &str, next: &str| {
        Err(Failure::new(exit, format!("token for {member}"), cause).next(next))
    };
    if args.valid_for.0 > LONGEST_SECONDS {
        return refuse(Exit::Usage, "--valid-for is longer than 90d", "choose a shorter one");
    }
    match list.members.get(member) {
        Some(_) if !args.rekey => refuse(
            Exit::BadInput,
            "it is on the list already",
            "change its grant with sealane member update, give it another broker credential with \
             sealane token renew, or replace its identity with --rekey",
        ),
        None if args.rekey => refuse(Exit::BadInput, "it is not on the list", "leave out --rekey"),
        None if args.grant.cidrs.is_empty() => {
            refuse(Exit::Usage, "no network was granted", "give --cidr at least once")
        }
        _ => Ok(()),
    }
}

fn admit(args: &CreateArgs, list: &mut ClusterSet, join: &SigningSeed, now: UnixTime) {
    let entry = list
        .members
        .entry(args.cluster.clone())
        .or_insert_with(|| MemberEntry::granting(Vec::new()));
    args.grant.grant(entry);
    entry.keys.clear();
    entry.join = Some(JoinKey { key: join.public(), before: now.plus_seconds(args.valid_for.0) });
}

async fn credential(args: &CreateArgs, board: Option<&Board>) -> Result<Credential, Failure> {
    if let Some(board) = board
        && args.rekey
    {
        // Whoever has the old token has its credential as well.
        board.close_account(&args.cluster).await?;
    }
    args.credential.obtain(&args.cluster, board).await
}

fn report(args: &CreateArgs, next: &Manifest, now: UnixTime) {
    let until = clock::date(now.plus_seconds(args.valid_for.0));
    note(&format!("{} may join until {until}", args.cluster));
    if next.list.brokers.is_empty() {
        note(
            "warning: the list names no broker, so neither does the token; \
              name one with sealane clusterset sign --broker URL and make the token again",
        );
    }
    if args.signing.board.kubeconfig.is_none() && args.credential.file.is_none() {
        note(
            "the token holds no broker credential; give --kubeconfig or --credential-file \
              unless the host has one of its own",
        );
    }
}
