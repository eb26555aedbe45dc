//! Owns `sealane join`: handing a token to the agent. The agent makes the keys and does the joining.

use std::path::PathBuf;

use clap::Args;
use hyper::StatusCode;
use sealane_view::admin;
use sealane_view::membership::{JoinDocument, JoinRequest};

use crate::agent::{AgentArgs, AskError};
use crate::failure::{Exit, Failure};
use crate::show::form::FormArgs;
use crate::show::palette::Palette;
use crate::show::table::Table;
use crate::show::text::printable;
use crate::token::inspect;

const EXAMPLE: &str = "\
Examples:
  sealane join --token-file /run/secrets/sealane.token
  ssh admin.example.net cat edge-1.token | sealane join --token-file -

A token is never an argument: arguments can be read by everybody on the host.";

/// `sealane join`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct JoinArgs {
    /// File with the token, - for standard input.
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    #[command(flatten)]
    agent: AgentArgs,
    #[command(flatten)]
    form: FormArgs,
}

/// Makes this host a member's.
pub async fn run(args: &JoinArgs) -> Result<Exit, Failure> {
    let (text, _) = inspect::load(&args.token_file)?;
    let request = JoinRequest { token: text.trim().to_owned() };
    let document: JoinDocument = args.agent.ask(admin::JOIN, &request).await.map_err(refusal)?;
    args.form.show(&document, table)?;
    Ok(Exit::Fine)
}

/// What the agent finds wrong with the request is wrong with the token.
fn refusal(error: AskError) -> Failure {
    let is_token = matches!(
        error,
        AskError::Refused {
            status: StatusCode::UNPROCESSABLE_ENTITY | StatusCode::BAD_REQUEST,
            ..
        }
    );
    let mut failure = Failure::from(error);
    if is_token {
        failure.exit = Exit::BadInput;
    }
    failure
}

fn table(document: &JoinDocument, palette: Palette) -> String {
    let mut table = Table::bare();
    table.row(["member".to_owned(), document.member.clone()]);
    table.row(["clusterset".to_owned(), document.clusterset.clone()]);
    table.row(["node".to_owned(), document.node.clone()]);
    if !document.fingerprint.is_empty() {
        table.row(["fingerprint".to_owned(), document.fingerprint.clone()]);
    }
    let mut text = table.render(palette);
    for step in &document.next {
        text.push_str(&format!("next: {}\n", printable(step)));
    }
    text
}
