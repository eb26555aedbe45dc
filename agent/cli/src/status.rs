//! Owns `sealane status`: is it working, and if not, why not. Decides only what counts as working.

pub mod screen;

use std::time::Duration;

use clap::Args;
use sealane_view::admin;
use sealane_view::status::{ClusterSetState, MemberState, MemberView, Severity, StatusDocument};

use crate::agent::AgentArgs;
use crate::clock::{self, Length};
use crate::failure::{Exit, Failure};
use crate::show::form::{Form, FormArgs, note, print};
use crate::show::palette::Palette;

const EXAMPLE: &str = "\
Examples:
  sealane status
  sealane status --watch

Ends with 0 when this host is in a clusterset, its broker answers, and every member that has
gateways is reached by all of them; with 1 otherwise, after the reasons. A member that has not
joined yet is shown and is no failure. A node without lanes says unknown of members and ends with 0
when its own gateways answer: whether they reach a member, their status says.";

/// `sealane status`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct StatusArgs {
    /// Show it again and again, until interrupted.
    #[arg(short, long)]
    watch: bool,
    /// Time between two looks with --watch.
    #[arg(long, value_name = "LENGTH", default_value = "1s", requires = "watch")]
    interval: Length,
    #[command(flatten)]
    agent: AgentArgs,
    #[command(flatten)]
    form: FormArgs,
}

/// Shows the status once, or until interrupted.
pub async fn run(args: &StatusArgs) -> Result<Exit, Failure> {
    if args.watch {
        return watch(args).await;
    }
    let document: StatusDocument = args.agent.read(admin::STATUS).await?;
    let now = clock::now();
    args.form.show(&document, |document, palette| screen::draw(document, now, palette))?;
    Ok(exit(&document))
}

async fn watch(args: &StatusArgs) -> Result<Exit, Failure> {
    loop {
        match args.agent.read::<StatusDocument>(admin::STATUS).await {
            Ok(document) => print(&look(args.form, &document)?)?,
            // An agent that restarts comes back; whoever watches wants to see both.
            Err(error) => note(&format!("sealane: {}", Failure::from(error))),
        }
        tokio::time::sleep(Duration::from_secs(args.interval.0)).await;
    }
}

fn look(form: FormArgs, document: &StatusDocument) -> Result<String, Failure> {
    let now = clock::now();
    let text = form.rendered(document, |document, palette| screen::draw(document, now, palette))?;
    Ok(match (form.output, Palette::of_stdout()) {
        (Form::Table, Palette::Ansi) => format!("\x1b[H\x1b[2J{text}"),
        (Form::Table, Palette::Plain) => format!("{text}\n"),
        (Form::Json, _) => text,
        (Form::Yaml, _) => format!("---\n{text}"),
    })
}

/// Says how the program ends after showing this status.
pub fn exit(status: &StatusDocument) -> Exit {
    let is_current =
        status.clusterset.as_ref().is_some_and(|set| set.state == ClusterSetState::Current);
    let has_broker = status.broker.as_ref().is_none_or(|broker| broker.connected);
    let has_problem = status.problems.iter().any(|problem| problem.severity != Severity::Notice);
    let reached = status.members.iter().all(|member| is_reached(member, status));
    if status.member.is_some() && is_current && has_broker && !has_problem && reached {
        Exit::Fine
    } else {
        Exit::NotWorking
    }
}

/// A member without gateways has not joined yet, unless its gateways are being refused.
fn is_reached(member: &MemberView, status: &StatusDocument) -> bool {
    match member.state {
        MemberState::Up | MemberState::Unknown => true,
        MemberState::Absent => {
            !status.rejections.iter().any(|refused| refused.member == member.member)
        }
        MemberState::Degraded | MemberState::Connecting | MemberState::Down => false,
    }
}
