//! Owns `sealane identity`: the fingerprint that an administrator compares before pinning, and the key
//! that is to take the place of the present one.

use clap::{Args, Subcommand};
use sealane_view::admin;
use sealane_view::membership::NextIdentityDocument;
use sealane_view::status::{IdentityView, StatusDocument};
use serde::Serialize;

use crate::agent::AgentArgs;
use crate::failure::{Exit, Failure};
use crate::show::form::FormArgs;
use crate::show::palette::Palette;
use crate::show::table::Table;

/// `sealane identity`.
#[derive(Debug, Subcommand)]
pub enum IdentityCommand {
    /// Show the fingerprint of this member's identity key, as its keeper holds it.
    Show(ShowArgs),
    /// Make the next identity key of this member, for the administrator to list; on its keeper.
    Rotate(RotateArgs),
}

const ROTATE: &str = "\
Example:
  sealane identity rotate

Nothing changes yet. The administrator lists both keys with the command that is shown; the keeper then
certifies its gateways with the next one, and once others have seen that, the list may name it alone.
No lane is touched. Said again, the same key is shown until it is in use.";

/// `sealane identity rotate`.
#[derive(Debug, Args)]
#[command(after_help = ROTATE)]
pub struct RotateArgs {
    #[command(flatten)]
    agent: AgentArgs,
    #[command(flatten)]
    form: FormArgs,
}

/// `sealane identity show`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sealane identity show")]
pub struct ShowArgs {
    #[command(flatten)]
    agent: AgentArgs,
    #[command(flatten)]
    form: FormArgs,
}

/// Whose identity it is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct IdentityDocument {
    member: String,
    #[serde(flatten)]
    identity: IdentityView,
}

/// Runs the command.
pub async fn run(command: IdentityCommand) -> Result<Exit, Failure> {
    match command {
        IdentityCommand::Show(args) => show(&args).await,
        IdentityCommand::Rotate(args) => rotate(&args).await,
    }
}

async fn rotate(args: &RotateArgs) -> Result<Exit, Failure> {
    let document: NextIdentityDocument = args.agent.ask(admin::ROTATE_IDENTITY, &()).await?;
    args.form.show(&document, |document, palette| {
        let NextIdentityDocument { member, next_identity, next_fingerprint } = document;
        let mut table = Table::bare();
        table.row(["member".to_owned(), member.clone()]);
        table.row(["fingerprint".to_owned(), next_fingerprint.clone()]);
        table.row(["key".to_owned(), next_identity.clone()]);
        let update = format!("sealane member update --cluster {member}");
        table.row(["list both".to_owned(), format!("{update} --add-identity {next_identity}")]);
        table.row(["later".to_owned(), format!("{update} --only-identity {next_identity}")]);
        table.render(palette)
    })?;
    Ok(Exit::Fine)
}

async fn show(args: &ShowArgs) -> Result<Exit, Failure> {
    let status: StatusDocument = args.agent.read(admin::STATUS).await?;
    let (Some(member), Some(identity)) = (status.member, status.identity) else {
        return Err(Failure::new(
            Exit::NotWorking,
            "identity",
            "this host holds no identity key: it has not joined, or its keeper is elsewhere",
        )
        .next("ask the host with the role keeper in sealane status"));
    };
    args.form.show(&IdentityDocument { member, identity }, table)?;
    Ok(Exit::Fine)
}

fn table(document: &IdentityDocument, palette: Palette) -> String {
    let pinned = if document.identity.pinned {
        "yes: the accepted list names this key"
    } else {
        "no: have it pinned with sealane clusterset sign, unless sealane status says that another is"
    };
    let mut table = Table::bare();
    table.row(["member".to_owned(), document.member.clone()]);
    table.row(["fingerprint".to_owned(), document.identity.fingerprint.clone()]);
    table.row(["pinned".to_owned(), pinned.to_owned()]);
    table.render(palette)
}
