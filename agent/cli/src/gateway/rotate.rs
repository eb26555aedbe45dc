//! Owns `sealane gateway rotate`: the word to the agent, and what it began.

use clap::Args;
use sealane_view::admin;
use sealane_view::gateway::RotationDocument;

use crate::agent::AgentArgs;
use crate::clock;
use crate::failure::{Exit, Failure};
use crate::show::form::FormArgs;
use crate::show::palette::Palette;
use crate::show::text::printable;
use crate::show::units;

const EXAMPLE: &str = "\
Examples:
  sealane gateway rotate
  sealane gateway rotate -o json

Gateway, tunnel and pair keys are replaced; each lane goes on under the old keys until the other end has
taken up the new ones. It is begun by this command and goes on by itself, also after a restart;
sealane status shows how far it is. It happens unasked when the tunnel key is 90 days old. With
sealane-tunnel no packet is lost; kernel WireGuard ends its sessions when its key changes, so that
packets wait for the next handshake.";

/// `sealane gateway rotate`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct RotateArgs {
    #[command(flatten)]
    agent: AgentArgs,
    #[command(flatten)]
    form: FormArgs,
}

/// Begins to replace the keys of this gateway.
pub async fn run(args: &RotateArgs) -> Result<Exit, Failure> {
    let document: RotationDocument = args.agent.ask(admin::ROTATE, &()).await?;
    args.form.show(&document, table)?;
    Ok(Exit::Fine)
}

fn table(document: &RotationDocument, _: Palette) -> String {
    let gateway = format!("{}.{}", document.member, document.gateway);
    let age = document.tunnel_key.as_ref().map_or_else(String::new, |key| {
        let age = clock::now().0.saturating_sub(key.since_unix_seconds);
        format!(", {} old", units::duration(age))
    });
    format!(
        "{}: the tunnel key{age} is being replaced; sealane status shows how far it is\n",
        printable(&gateway)
    )
}
