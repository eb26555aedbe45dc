//! Owns `sealane gateway revoke` and `sealane gateway allow`: the word to the keeper, and what came of it.

use clap::Args;
use sealane_view::admin;
use sealane_view::gateway::{GatewayRequest, RevocationDocument};

use crate::agent::AgentArgs;
use crate::clock;
use crate::failure::{Exit, Failure};
use crate::show::form::FormArgs;
use crate::show::palette::Palette;
use crate::show::table::Table;
use crate::show::text::printable;
use crate::show::units;

const REVOKE: &str = "\
Examples:
  sealane gateway revoke old-host
  sealane gateway revoke old-host -o json

All certificates that old-host has up to now are dead on every host that hears of it, within seconds and
also while the broker is away. It cannot be undone for them: `sealane gateway allow` only lets new ones be
made. The name that this host speaks under cannot be revoked. If the identity key was copied too, a
revocation does not help: `sealane token create --rekey` on the administrator's machine does.";

const ALLOW: &str = "\
Example:
  sealane gateway allow old-host

Certificates from before the revocation stay dead. Ends with 1 when the gateway was not revoked.";

/// `sealane gateway revoke`.
#[derive(Debug, Args)]
#[command(after_help = REVOKE)]
pub struct RevokeArgs {
    /// The gateway: its node name, without the member.
    #[arg(value_name = "NAME")]
    gateway: String,
    #[command(flatten)]
    agent: AgentArgs,
    #[command(flatten)]
    form: FormArgs,
}

/// `sealane gateway allow`.
#[derive(Debug, Args)]
#[command(after_help = ALLOW)]
pub struct AllowArgs {
    /// The gateway: its node name, without the member.
    #[arg(value_name = "NAME")]
    gateway: String,
    #[command(flatten)]
    agent: AgentArgs,
    #[command(flatten)]
    form: FormArgs,
}

/// Revokes a gateway.
pub async fn revoke(args: &RevokeArgs) -> Result<Exit, Failure> {
    let request = GatewayRequest { gateway: args.gateway.clone() };
    let document: RevocationDocument = args.agent.ask(admin::REVOKE, &request).await?;
    args.form.show(&document, |document, palette| table(document, "revoked", palette))?;
    Ok(Exit::Fine)
}

/// Allows a gateway again.
pub async fn allow(args: &AllowArgs) -> Result<Exit, Failure> {
    let request = GatewayRequest { gateway: args.gateway.clone() };
    let document: RevocationDocument = args.agent.ask(admin::ALLOW, &request).await?;
    let done = if document.changed { "allowed again" } else { "was not revoked" };
    args.form.show(&document, |document, palette| table(document, done, palette))?;
    Ok(if document.changed { Exit::Fine } else { Exit::NotWorking })
}

fn table(document: &RevocationDocument, done: &str, palette: Palette) -> String {
    let gateway = format!("{}.{}", document.member, document.gateway);
    let mut text = format!("{} {done}\n", printable(&gateway));
    if document.revoked.is_empty() {
        return text;
    }
    let now = clock::now().0;
    let mut table = Table::new(["REVOKED", "BELOW GENERATION", "TOLD FOR"]);
    for revoked in &document.revoked {
        let left = revoked.told_until_unix_seconds.saturating_sub(now);
        let told = if left == 0 { "told long enough".to_owned() } else { units::duration(left) };
        table.row([revoked.gateway.clone(), revoked.below.to_string(), told]);
    }
    text.push_str(&table.render(palette));
    text
}
