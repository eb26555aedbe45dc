//! Owns `sealane identity show`: the fingerprint that an administrator compares before pinning.

use clap::{Args, Subcommand};
use sealane_view::admin;
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
    let IdentityCommand::Show(args) = command;
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
