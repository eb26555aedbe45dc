//! Owns `sealane join`: handing a token to the agent, and waiting until its lanes are up. The agent
//! makes the keys and does the joining.

pub mod stages;
pub mod progress;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use hyper::StatusCode;
use sealane_view::admin;
use sealane_view::membership::{JoinDocument, JoinRequest};
use sealane_view::status::StatusDocument;
use serde::Serialize;

use self::progress::Progress;
use self::stages::Stage;
use crate::agent::{AgentArgs, AskError};
use crate::clock::{self, Length};
use crate::failure::{Exit, Failure};
use crate::show::form::FormArgs;
use crate::show::palette::Palette;
use crate::show::table::Table;
use crate::show::text::printable;
use crate::show::units;
use crate::status::screen;
use crate::token::inspect;

/// Between two looks at the status.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The list and the advertisements of others come one after the other: one good look is not enough.
const GOOD_LOOKS: u8 = 2;
/// What a new token mends stands in the status until the newest list is there.
const VAIN_LOOKS: u8 = 12;

const EXAMPLE: &str = "\
Examples:
  sealane join --token-file /run/secrets/sealane.token
  ssh admin.example.net cat edge-1.token | sealane join --token-file -
  sealane join --token-file edge-1.token --timeout 5m
  sealane join --token-file edge-1-renewed.token
      on a host that has joined: takes broker addresses, pins and credential from a later token of the
      same member (sealane token renew); identity, keys and lanes stay

Says on standard error what it waits for: the broker, the list of members, the certificate, the
lanes to the members that joined before. Ends with 0 when sealane status would; with 1 when it does
not come to that in time: the host has joined all the same, and its agent goes on trying. What no
waiting mends, such as a token that was used before, ends it within seconds.

A token is never an argument: arguments can be read by everybody on the host.";

/// `sealane join`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct JoinArgs {
    /// File with the token, - for standard input.
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// How long to wait until everything works.
    #[arg(long, value_name = "LENGTH", default_value = "60s", conflicts_with = "no_wait")]
    timeout: Length,
    /// Do not wait: end as soon as the agent has taken the token.
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    agent: AgentArgs,
    #[command(flatten)]
    form: FormArgs,
}

/// What joining led to, and how things are after the wait.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct JoinedDocument {
    #[serde(flatten)]
    joined: JoinDocument,
    /// Absent without a wait, and when the agent did not answer during it.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<StatusDocument>,
}

/// Makes this host a member's.
pub async fn run(args: &JoinArgs) -> Result<Exit, Failure> {
    let (text, token) = inspect::load(&args.token_file)?;
    let mut progress = Progress::on_stderr();
    if !args.no_wait {
        let set = token.clusterset();
        progress.tell(&format!("token read: {} of clusterset {set}", token.member));
    }
    let request = JoinRequest { token: text.trim().to_owned() };
    let joined: JoinDocument = args.agent.ask(admin::JOIN, &request).await.map_err(refusal)?;
    if args.no_wait {
        args.form.show(&JoinedDocument { joined, status: None }, table)?;
        return Ok(Exit::Fine);
    }
    match (joined.renewed, joined.fingerprint.as_str()) {
        (true, _) => progress.tell("renewed: the access to the broker is that of the token"),
        (false, "") => {}
        (false, fingerprint) => progress.tell(&format!("enrolled: identity {fingerprint}")),
    }
    let mut last = None;
    let waiting = settle(&args.agent, &mut progress, &mut last);
    let settled = tokio::time::timeout(Duration::from_secs(args.timeout.0), waiting).await;
    progress.end();
    let mut document = JoinedDocument { joined, status: last };
    if matches!(settled, Ok(Err(_))) {
        // Pinning, which the agent would have next, mends nothing then.
        document.joined.next.clear();
    }
    args.form.show(&document, table)?;
    match settled {
        Ok(Ok(())) => Ok(Exit::Fine),
        Ok(Err(stage)) => {
            let what = "joined, but nobody will take this host for the member";
            Err(Failure::new(Exit::NotWorking, what, stage.text).next(stage.next))
        }
        Err(_) => Err(too_late(document.status.as_ref(), args.timeout)),
    }
}

/// Looks at the status until all is well, or waiting is in vain; `last` is the last one seen.
async fn settle<W: Write>(
    agent: &AgentArgs,
    progress: &mut Progress<W>,
    last: &mut Option<StatusDocument>,
) -> Result<(), Stage> {
    let (mut good, mut vain) = (0, 0);
    while good < GOOD_LOOKS {
        match agent.read::<StatusDocument>(admin::STATUS).await {
            Ok(status) => {
                good = if stages::waits_for(&status).is_none() { good + 1 } else { 0 };
                progress.show(&stages::of(&status));
                let dead_end = stages::dead_end(&status);
                *last = Some(status);
                vain = if dead_end.is_some() { vain + 1 } else { 0 };
                if let Some(stage) = dead_end.filter(|_| vain >= VAIN_LOOKS) {
                    return Err(stage);
                }
            }
            // An agent that restarts comes back.
            Err(error) => {
                good = 0;
                progress.tell(&format!("waiting for the agent: {error}"));
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

fn too_late(last: Option<&StatusDocument>, timeout: Length) -> Failure {
    let what = format!("joined, but not all is well after {}", units::duration(timeout.0));
    match last.and_then(stages::waits_for) {
        Some(stage) => Failure::new(Exit::NotWorking, what, stage.text).next(stage.next),
        None => Failure::new(Exit::NotWorking, what, "the agent does not answer")
            .next("see journalctl -u sealane-agent"),
    }
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

fn table(document: &JoinedDocument, palette: Palette) -> String {
    let JoinedDocument { joined, status } = document;
    let mut table = Table::bare();
    table.row(["member".to_owned(), joined.member.clone()]);
    table.row(["clusterset".to_owned(), joined.clusterset.clone()]);
    table.row(["node".to_owned(), joined.node.clone()]);
    if !joined.fingerprint.is_empty() {
        table.row(["fingerprint".to_owned(), joined.fingerprint.clone()]);
    }
    if joined.renewed {
        table
            .row(["renewed".to_owned(), "broker access; identity, keys and lanes stay".to_owned()]);
    }
    let mut text = table.render(palette);
    for step in &joined.next {
        text.push_str(&format!("next: {}\n", printable(step)));
    }
    if let Some(status) = status {
        text.push_str(&format!("\n{}", screen::draw(status, clock::now(), palette)));
    }
    text
}
