//! Owns `sealane leave`: asking the agent to withdraw and to remove every trace.

use clap::Args;
use sealane_view::admin;
use sealane_view::membership::{LeaveDocument, LeaveRequest, WithoutBroker};

use crate::agent::AgentArgs;
use crate::failure::{Exit, Failure};
use crate::show::form::FormArgs;
use crate::show::palette::{Palette, Tone};
use crate::show::text::printable;

const EXAMPLE: &str = "\
Examples:
  sealane leave
  sealane leave --without-broker

Ends with 1 when something could not be removed from the host; what and why is shown.";

/// `sealane leave`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct LeaveArgs {
    /// Leave also when the broker cannot be told; others then keep this gateway until its
    /// advertisement expires.
    #[arg(long)]
    without_broker: bool,
    #[command(flatten)]
    agent: AgentArgs,
    #[command(flatten)]
    form: FormArgs,
}

/// Leaves the clusterset.
pub async fn run(args: &LeaveArgs) -> Result<Exit, Failure> {
    let without_broker =
        if args.without_broker { WithoutBroker::Leave } else { WithoutBroker::Refuse };
    let document: LeaveDocument =
        args.agent.ask(admin::LEAVE, &LeaveRequest { without_broker }).await?;
    args.form.show(&document, table)?;
    Ok(if document.remains.is_empty() { Exit::Fine } else { Exit::NotWorking })
}

fn table(document: &LeaveDocument, palette: Palette) -> String {
    let told = if document.withdrawn {
        "the broker holds our withdrawal"
    } else {
        "the broker was not told; others drop this gateway when its advertisement expires"
    };
    let mut text = format!("left {}; {told}\n", printable(&document.member));
    if document.remains.is_empty() {
        text.push_str("nothing of sealane remains on this host\n");
    }
    for thing in &document.remains {
        let line = format!("remains: {}", printable(thing));
        text.push_str(&format!("{}\n", palette.paint(Tone::Bad, &line)));
    }
    text
}
