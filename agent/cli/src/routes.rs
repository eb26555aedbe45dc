//! Owns `sealane routes`: where packets for other members go from this host.

use clap::Args;
use sealane_view::admin;
use sealane_view::routes::{RouteState, RoutesDocument};

use crate::agent::AgentArgs;
use crate::failure::{Exit, Failure};
use crate::show::form::FormArgs;
use crate::show::palette::{Palette, Tone};
use crate::show::table::Table;
use crate::show::units;

/// `sealane routes`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sealane routes")]
pub struct RoutesArgs {
    #[command(flatten)]
    agent: AgentArgs,
    #[command(flatten)]
    form: FormArgs,
}

/// Shows the routes.
pub async fn run(args: &RoutesArgs) -> Result<Exit, Failure> {
    let document: RoutesDocument = args.agent.read(admin::ROUTES).await?;
    args.form.show(&document, draw)?;
    Ok(Exit::Fine)
}

/// Draws the routes and the own sources.
pub fn draw(document: &RoutesDocument, palette: Palette) -> String {
    let mut table =
        Table::new(["DESTINATION", "MEMBER", "STATE", "VIA", "LINK", "SOURCE", "MTU", "WHY"]);
    for route in &document.routes {
        let (state, tone) = match route.state {
            RouteState::Routed => ("routed", Tone::Good),
            RouteState::Unreachable => ("unreachable", Tone::Bad),
            RouteState::LeftOut => ("left out", Tone::Doubtful),
        };
        table
            .row([
                route.destination.to_string(),
                route.member.clone(),
                state.to_owned(),
                route.via.join(","),
                units::number(route.link.as_ref()),
                units::number(route.source),
                units::number(route.mtu_bytes),
                route.reason.clone(),
            ])
            .tone(2, tone);
    }
    let routes = if table.is_empty() {
        "no routes to other members; sealane status says why\n".to_owned()
    } else {
        table.render(palette)
    };
    if document.sources.is_empty() {
        return routes;
    }
    let mut sources = Table::new(["FAMILY", "OWN SOURCE", "WHY"]);
    for source in &document.sources {
        let address = units::number(source.address);
        sources.row([source.family.clone(), address, source.reason.clone()]);
    }
    format!("{routes}\n{}", sources.render(palette))
}
