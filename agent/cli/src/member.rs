//! Owns the commands `sealane member`: who is on the list, changing a grant, removing a member.
//! Adding one is `token create`.

use clap::{Args, Subcommand};
use sealane_api::cidr::Cidr;
use sealane_api::clusterset::{ClusterSet, MemberEntry};
use sealane_api::keys::VerifyKey;
use sealane_api::names::ClusterId;

use crate::board::{Board, BoardArgs};
use crate::clock;
use crate::clusterset::folder::{FolderArgs, unknown_member};
use crate::clusterset::manifest::{Manifest, ManifestError};
use crate::clusterset::passphrase::PassphraseArgs;
use crate::clusterset::show::{self, ListDocument};
use crate::clusterset::sign;
use crate::failure::{Exit, Failure};
use crate::show::form::FormArgs;

/// `sealane member`.
#[derive(Debug, Subcommand)]
pub enum MemberCommand {
    /// List the members and what each was granted.
    List(ListArgs),
    /// Change what a member was granted, or which identity keys speak for it; its lanes stay.
    Update(UpdateArgs),
    /// Remove a member: all others cut its lanes when they see the new list.
    Remove(RemoveArgs),
}

/// `sealane member list`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sealane member list -o json")]
pub struct ListArgs {
    #[command(flatten)]
    folder: FolderArgs,
    #[command(flatten)]
    form: FormArgs,
}

/// `sealane member update`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sealane member update --cluster cluster-a --cidr 10.1.0.0/16 \
    --cidr fd00:1::/48 --kubeconfig admin.kubeconfig")]
pub struct UpdateArgs {
    /// The member.
    #[arg(long, value_name = "NAME")]
    cluster: ClusterId,
    #[command(flatten)]
    grant: GrantArgs,
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    signing: SigningArgs,
}

/// Which identity keys speak for a member; they are shown by `sealane identity rotate` there.
#[derive(Debug, Clone, Args)]
pub struct IdentityArgs {
    /// Identity key that is to take over: it is listed before the present one.
    // One key in 64 begins with a hyphen.
    #[arg(long, value_name = "KEY", conflicts_with = "only_identity", allow_hyphen_values = true,
        value_parser = VerifyKey::parse)]
    add_identity: Option<VerifyKey>,
    /// Identity key that has taken over: it is listed alone, and what the other one signed is dead.
    #[arg(long, value_name = "KEY", allow_hyphen_values = true, value_parser = VerifyKey::parse)]
    only_identity: Option<VerifyKey>,
}

impl IdentityArgs {
    fn list(&self, entry: &mut MemberEntry) {
        if let Some(next) = self.add_identity {
            entry.keys.retain(|key| *key != next);
            entry.keys.truncate(1);
            entry.keys.insert(0, next);
        }
        if let Some(only) = self.only_identity {
            entry.keys = vec![only];
        }
    }

    /// Says why a list would be wrong: the present key is to be pinned, or the next one listed, first.
    fn objection(&self, entry: &MemberEntry) -> Option<(&'static str, &'static str)> {
        if self.add_identity.is_some() && entry.keys.is_empty() {
            let next = "pin the present one first: sealane clusterset sign";
            return Some(("no identity of it is pinned, so none can be replaced", next));
        }
        let only = self.only_identity?;
        (!entry.keys.contains(&only)).then_some((
            "the key is not listed yet, so its lanes would end",
            "give it with --add-identity first, and wait until the member uses it",
        ))
    }

    fn is_empty(&self) -> bool {
        self.add_identity.is_none() && self.only_identity.is_none()
    }
}

const REMOVE_EXAMPLE: &str = "\
Example:
  sealane member remove --cluster edge-1 --kubeconfig admin.kubeconfig

With --kubeconfig its account on the broker goes as well, every credential with it, and what its
gateways said there.";

/// `sealane member remove`.
#[derive(Debug, Args)]
#[command(after_help = REMOVE_EXAMPLE)]
pub struct RemoveArgs {
    /// The member.
    #[arg(long, value_name = "NAME")]
    cluster: ClusterId,
    #[command(flatten)]
    signing: SigningArgs,
}

/// What a member may do.
#[derive(Debug, Clone, Args)]
pub struct GrantArgs {
    /// Network that the member may advertise. Repeatable; all of them replace those granted before.
    #[arg(long = "cidr", value_name = "NETWORK")]
    pub cidrs: Vec<Cidr>,
    /// Namespace whose services it may export, or * for all (the default). Repeatable.
    #[arg(long = "namespace-grant", value_name = "NAME")]
    pub namespaces: Vec<String>,
    /// Most gateways that may be live at once (16 unless said).
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=64))]
    pub gateways: Option<u64>,
}

/// What every command that signs needs.
#[derive(Debug, Clone, Args)]
pub struct SigningArgs {
    #[command(flatten)]
    pub(crate) folder: FolderArgs,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseArgs,
    #[command(flatten)]
    pub(crate) board: BoardArgs,
}

impl GrantArgs {
    /// Says whether nothing would change.
    pub fn is_empty(&self) -> bool {
        self.cidrs.is_empty() && self.namespaces.is_empty() && self.gateways.is_none()
    }

    /// Changes an entry to what was given; what was not given stays.
    pub fn grant(&self, entry: &mut MemberEntry) {
        if !self.cidrs.is_empty() {
            entry.cidrs.clone_from(&self.cidrs);
            entry.cidrs.sort_unstable();
            entry.cidrs.dedup();
        }
        if !self.namespaces.is_empty() {
            entry.namespaces.clone_from(&self.namespaces);
        }
        entry.gateways = self.gateways.unwrap_or(entry.gateways);
    }
}

/// Runs one of the commands.
pub async fn run(command: MemberCommand) -> Result<Exit, Failure> {
    match command {
        MemberCommand::List(args) => list(&args),
        MemberCommand::Update(args) => update(&args).await,
        MemberCommand::Remove(args) => remove(&args).await,
    }
}

fn list(args: &ListArgs) -> Result<Exit, Failure> {
    let manifest = args.folder.open()?.manifest()?;
    let now = clock::now();
    let members = ListDocument::of(&manifest.list).members;
    args.form.show(&members, |members, palette| show::members(members, now, palette))?;
    Ok(Exit::Fine)
}

async fn update(args: &UpdateArgs) -> Result<Exit, Failure> {
    if args.grant.is_empty() && args.identity.is_empty() {
        return Err(Failure::new(Exit::Usage, "nothing to change", "no grant was given").next(
            "give --cidr, --namespace-grant, --gateways, --add-identity or --only-identity",
        ));
    }
    let manifest = args.signing.folder.open()?.manifest()?;
    let entry = manifest.list.members.get(&args.cluster);
    if let Some((cause, next)) = entry.and_then(|entry| args.identity.objection(entry)) {
        return Err(Failure::new(Exit::BadInput, args.cluster.to_string(), cause).next(next));
    }
    let (next, board) = edit(&args.signing, &args.cluster, |list| {
        if let Some(entry) = list.members.get_mut(&args.cluster) {
            args.grant.grant(entry);
            args.identity.list(entry);
        }
    })
    .await?;
    sign::publish(board.as_ref(), &next).await
}

async fn remove(args: &RemoveArgs) -> Result<Exit, Failure> {
    let (next, board) = edit(&args.signing, &args.cluster, |list| {
        list.members.remove(&args.cluster);
    })
    .await?;
    let exit = sign::publish(board.as_ref(), &next).await?;
    if let Some(board) = &board {
        board.close_account(&args.cluster).await?;
        board.remove_words(&args.cluster).await?;
    }
    Ok(exit)
}

/// Signs and keeps the next version; returns it, and the broker to bring it to.
async fn edit(
    signing: &SigningArgs,
    member: &ClusterId,
    change: impl FnOnce(&mut ClusterSet),
) -> Result<(Manifest, Option<Board>), Failure> {
    let folder = signing.folder.open()?;
    let manifest = folder.manifest()?;
    if !manifest.list.members.contains_key(member) {
        return Err(unknown_member(member));
    }
    let board = signing.board.open(&manifest.list).await?;
    if let Some(board) = &board {
        board.check_held(&manifest).await?;
    }
    let root = folder.root(&signing.passphrase)?;
    let next = manifest.next(&root, clock::now(), change).map_err(ManifestError::from)?;
    folder.keep(&next)?;
    Ok((next, board))
}
