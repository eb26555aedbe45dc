//! Owns `sealane clusterset accept-link`: giving a list to the agent of this host by hand, also one whose
//! root links fork from those that it believes.

use std::path::PathBuf;

use clap::Args;
use sealane_view::admin;
use sealane_view::membership::{ListDocument, ListRequest};

use super::manifest::Manifest;
use crate::agent::AgentArgs;
use crate::failure::{Exit, Failure};
use crate::show::form::FormArgs;
use crate::show::palette::Palette;
use crate::show::table::Table;

const EXAMPLE: &str = "\
Example:
  sealane clusterset accept-link --file clusterset.yaml

For a host that says LinkFork: it believes another root link than the
administrator's. Make sure by other means that the file is the administrator's;
the agent verifies that it is signed, and nobody but a person can say which of
two recovery links is the right one. While the broker is away it brings any
newer list to a host as well, and peers hear it from there.";

/// `sealane clusterset accept-link`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct AcceptLinkArgs {
    /// The administrator's clusterset.yaml.
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    agent: AgentArgs,
    #[command(flatten)]
    form: FormArgs,
}

/// Gives the list to the agent.
pub async fn run(args: &AcceptLinkArgs) -> Result<Exit, Failure> {
    let bad = |cause: String| {
        Failure::new(Exit::BadInput, args.file.display(), cause)
            .next("bring the administrator's clusterset.yaml here")
    };
    let text = std::fs::read_to_string(&args.file).map_err(|error| bad(error.to_string()))?;
    let manifest = Manifest::parse(&text).map_err(|error| bad(error.to_string()))?;
    let spec = serde_json::to_value(&manifest.spec).map_err(|error| bad(error.to_string()))?;
    let document: ListDocument = args.agent.ask(admin::CLUSTERSET, &ListRequest { spec }).await?;
    args.form.show(&document, table)?;
    Ok(Exit::Fine)
}

fn table(document: &ListDocument, palette: Palette) -> String {
    let mut table = Table::bare();
    table.row(["clusterset".to_owned(), document.clusterset.clone()]);
    table.row(["root links".to_owned(), document.link_index.to_string()]);
    table.row(["version".to_owned(), document.version.to_string()]);
    let news = if document.accepted { "accepted" } else { "believed already" };
    table.row(["list".to_owned(), news.to_owned()]);
    table.render(palette)
}
