//! Owns `sealane trace`: what a packet meets, and the sentence that names the place that fails.

use std::net::IpAddr;
use std::str::FromStr;

use clap::Args;
use sealane_view::admin;
use sealane_view::trace::{Outcome, Stage, TraceDocument, TraceRequest};

use crate::agent::AgentArgs;
use crate::failure::{Exit, Failure};
use crate::show::form::FormArgs;
use crate::show::palette::{Palette, Tone};
use crate::show::table::Table;
use crate::show::text::printable;

const EXAMPLE: &str = "\
Examples:
  sealane trace 10.1.0.5 10.2.0.9
  sealane trace self fd00:2::9 --size 1500

Ends with 1 when the packet does not arrive; the last line says where it ends.";

/// `sealane trace`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct TraceArgs {
    /// Where the packet comes from: an address, or - or self for this host.
    #[arg(value_name = "SRC", allow_hyphen_values = true)]
    source: Source,
    /// Where it goes.
    #[arg(value_name = "DST")]
    destination: IpAddr,
    /// IP packet size, headers included; a full-sized packet of the route unless given.
    #[arg(short, long, value_name = "BYTES", value_parser = size)]
    size: Option<u32>,
    #[command(flatten)]
    agent: AgentArgs,
    #[command(flatten)]
    form: FormArgs,
}

/// Where a traced packet comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Source(Option<IpAddr>);

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "-" | "self" => Ok(Self(None)),
            address => address
                .parse()
                .map(|address| Self(Some(address)))
                .map_err(|_| "expected an IP address, - or self".to_owned()),
        }
    }
}

/// No IP packet is shorter than its header (RFC 791) or longer than its length field tells.
fn size(text: &str) -> Result<u32, String> {
    let size = text.parse().ok().filter(|size| (20..=65_535).contains(size));
    size.ok_or_else(|| "expected a packet of 20 to 65535 bytes".to_owned())
}

/// Traces a packet.
pub async fn run(args: &TraceArgs) -> Result<Exit, Failure> {
    if args.source.0.is_some_and(|source| source.is_ipv4() != args.destination.is_ipv4()) {
        return Err(Failure::new(Exit::Usage, "trace", "SRC and DST are of different families")
            .next("give two IPv4 or two IPv6 addresses"));
    }
    let request = TraceRequest {
        source: args.source.0,
        destination: args.destination,
        size_bytes: args.size,
    };
    let document: TraceDocument = args.agent.ask(admin::TRACE, &request).await?;
    args.form.show(&document, draw)?;
    Ok(match document.outcome {
        Outcome::Fail => Exit::NotWorking,
        Outcome::Ok | Outcome::Warn => Exit::Fine,
    })
}

/// Draws a trace, its verdict last.
pub fn draw(document: &TraceDocument, palette: Palette) -> String {
    let mut table = Table::new(["AT", "STAGE", "OUTCOME", "WHAT", "DETAIL"]);
    for hop in &document.hops {
        let (outcome, tone) = outcome_word(hop.outcome);
        table
            .row([
                hop.at.clone(),
                stage_word(hop.stage).to_owned(),
                outcome.to_owned(),
                hop.what.clone(),
                hop.detail.clone(),
            ])
            .tone(2, tone);
    }
    let source = document.source.map_or_else(|| "self".to_owned(), |source| source.to_string());
    let (_, tone) = outcome_word(document.outcome);
    let verdict = palette.paint(tone, &printable(&document.verdict));
    let hops = if table.is_empty() { String::new() } else { table.render(palette) };
    format!("{source} -> {}\n{hops}{verdict}\n", document.destination)
}

fn outcome_word(outcome: Outcome) -> (&'static str, Tone) {
    match outcome {
        Outcome::Ok => ("ok", Tone::Good),
        Outcome::Warn => ("warn", Tone::Doubtful),
        Outcome::Fail => ("fail", Tone::Bad),
    }
}

fn stage_word(stage: Stage) -> &'static str {
    match stage {
        Stage::Source => "source",
        Stage::Rule => "rule",
        Stage::Table => "table",
        Stage::Route => "route",
        Stage::Nft => "nft",
        Stage::Tunnel => "tunnel",
        Stage::Leg => "leg",
        Stage::Mtu => "mtu",
        Stage::Delivery => "delivery",
        Stage::ReturnPath => "return path",
    }
}
