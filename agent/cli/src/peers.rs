//! Owns `sealane peers`: the lanes of this host, and its legs to nodes of its own member.

use clap::Args;
use sealane_api::time::UnixTime;
use sealane_view::admin;
use sealane_view::peers::{LegView, PathState, PeerView, PeersDocument};

use crate::agent::AgentArgs;
use crate::clock;
use crate::failure::{Exit, Failure};
use crate::show::form::FormArgs;
use crate::show::palette::{Palette, Tone};
use crate::show::table::Table;
use crate::show::units;

/// `sealane peers`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  sealane peers -o json | jq '.peers[] | {member, endpoint, rttMicroseconds}'"
)]
pub struct PeersArgs {
    #[command(flatten)]
    agent: AgentArgs,
    #[command(flatten)]
    form: FormArgs,
}

/// Shows lanes and legs.
pub async fn run(args: &PeersArgs) -> Result<Exit, Failure> {
    let document: PeersDocument = args.agent.read(admin::PEERS).await?;
    let now = clock::now();
    args.form.show(&document, |document, palette| draw(document, now, palette))?;
    Ok(Exit::Fine)
}

/// Draws lanes and legs as seen at `now`.
pub fn draw(document: &PeersDocument, now: UnixTime, palette: Palette) -> String {
    let mut parts = Vec::new();
    if !document.peers.is_empty() {
        parts.push(lanes(&document.peers, now, palette));
    }
    if !document.legs.is_empty() {
        parts.push(legs(&document.legs, palette));
    }
    if parts.is_empty() {
        parts.push("no lanes and no legs; sealane status says why\n".to_owned());
    }
    parts.join("\n")
}

fn lanes(peers: &[PeerView], now: UnixTime, palette: Palette) -> String {
    let mut table = Table::new([
        "PEER",
        "STATE",
        "FOR",
        "CARRIES",
        "LINK",
        "ENDPOINT",
        "HANDSHAKE",
        "RTT",
        "LOSS",
        "MTU",
        "RECEIVED",
        "SENT",
        "WHY",
    ]);
    for peer in peers {
        let (state, tone) = state_word(peer.state);
        table
            .row([
                format!("{}.{}", peer.member, peer.gateway),
                state.to_owned(),
                units::since(peer.since_unix_seconds, now.0),
                if peer.carries { "yes" } else { "no" }.to_owned(),
                peer.link.clone(),
                units::number(peer.endpoint),
                ago(peer.last_handshake_unix_seconds, now),
                units::round_trip(peer.rtt_microseconds),
                units::loss(peer.loss_permille),
                units::number(peer.path_mtu_bytes),
                units::bytes(peer.received_bytes),
                units::bytes(peer.sent_bytes),
                peer.reason.clone(),
            ])
            .tone(1, tone);
    }
    table.render(palette)
}

fn ago(then: Option<u64>, now: UnixTime) -> String {
    match then {
        Some(_) => format!("{} ago", units::since(then, now.0)),
        None => "never".to_owned(),
    }
}

fn legs(legs: &[LegView], palette: Palette) -> String {
    let mut table = Table::new(["NODE", "ROLE", "STATE", "UNDERLAY", "RTT"]);
    for leg in legs {
        let (state, tone) = state_word(leg.state);
        let (state, tone) = if leg.gateway { (state, tone) } else { ("not probed", Tone::Neutral) };
        table
            .row([
                leg.node.clone(),
                if leg.gateway { "gateway" } else { "node" }.to_owned(),
                state.to_owned(),
                leg.underlay.to_string(),
                units::round_trip(leg.rtt_microseconds),
            ])
            .tone(2, tone);
    }
    table.render(palette)
}

fn state_word(state: PathState) -> (&'static str, Tone) {
    match state {
        PathState::Up => ("up", Tone::Good),
        PathState::Unknown => ("unknown", Tone::Doubtful),
        PathState::Down => ("down", Tone::Bad),
    }
}
