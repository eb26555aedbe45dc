//! Owns how a status looks to people: who we are, the members, then every reason why not.

use sealane_api::time::UnixTime;
use sealane_view::gateway::{Replacement, TunnelKeyView};
use sealane_view::status::{
    ClusterSetState, MemberState, MemberView, NetworksView, Role, Severity, StatusDocument,
};

use crate::show::palette::{Palette, Tone};
use crate::show::table::Table;
use crate::show::text::printable;
use crate::show::units;

/// Draws a status as seen at `now`.
pub fn draw(status: &StatusDocument, now: UnixTime, palette: Palette) -> String {
    let parts = [
        head(status, now, palette),
        members(status, now, palette),
        problems(status, palette),
        refused(status, now, palette),
        warnings(status, palette),
    ];
    let shown: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    shown.join("\n")
}

fn head(status: &StatusDocument, now: UnixTime, palette: Palette) -> String {
    let mut table = Table::bare();
    match &status.member {
        Some(member) => table.row(["member".to_owned(), member.clone()]),
        None => table
            .row(["member".to_owned(), "none: join with sealane join --token-file FILE".to_owned()])
            .tone(1, Tone::Bad),
    };
    let roles: Vec<&str> = status.roles.iter().map(|role| role_word(*role)).collect();
    let node = match roles.as_slice() {
        [] => status.node.clone(),
        roles => format!("{} ({})", status.node, roles.join(", ")),
    };
    table.row(["node".to_owned(), node]);
    if let Some(networks) = Some(all(&status.networks)).filter(|text| !text.is_empty()) {
        table.row(["networks".to_owned(), networks]);
    }
    if let Some(set) = &status.clusterset {
        let left = set.expires_unix_seconds.checked_sub(now.0);
        let (text, tone) = match (set.state, left) {
            (ClusterSetState::Current, Some(left)) => {
                (format!("expires in {}", units::duration(left)), Tone::Good)
            }
            (ClusterSetState::Dropped, _) => {
                ("expired, lanes ended: have it signed again".to_owned(), Tone::Bad)
            }
            _ => ("expired, new members are refused: have it signed again".to_owned(), Tone::Bad),
        };
        let version = format!("{} version {}, {text}", set.id, set.version);
        table.row(["clusterset".to_owned(), version]).tone(1, tone);
    }
    broker(status, now, &mut table);
    if let Some(key) = &status.tunnel_key {
        table.row(["tunnel key".to_owned(), tunnel_key(key, now)]);
    }
    let revoked: Vec<&str> = status.revoked_gateways.iter().map(|it| it.gateway.as_str()).collect();
    if !revoked.is_empty() {
        table.row(["revoked".to_owned(), revoked.join(", ")]);
    }
    if let Some(backend) = &status.backend {
        table.row(["wireguard".to_owned(), backend.clone()]);
    }
    let versions: Vec<String> =
        status.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    if !versions.is_empty() {
        table.row(["versions".to_owned(), versions.join(", ")]);
    }
    table.render(palette)
}

fn broker(status: &StatusDocument, now: UnixTime, table: &mut Table) {
    let Some(broker) = &status.broker else { return };
    let since = units::since(Some(broker.since_unix_seconds), now.0);
    let cause = broker.last_error.as_deref().unwrap_or("no reason known");
    let (text, tone) = if broker.connected {
        (format!("{} connected for {since}", broker.url), Tone::Good)
    } else if broker.refused {
        (format!("{} turns us away for {since}: {cause}; lanes go on", broker.url), Tone::Bad)
    } else {
        (format!("{} away for {since}: {cause}; lanes go on", broker.url), Tone::Bad)
    };
    table.row(["broker".to_owned(), text]).tone(1, tone);
}

fn tunnel_key(key: &TunnelKeyView, now: UnixTime) -> String {
    let age = units::duration(now.0.saturating_sub(key.since_unix_seconds));
    let replacement = match key.replacement {
        None => "",
        Some(Replacement::Announced) => ", being replaced: others are told of the next one",
        Some(Replacement::Moving) => ", replacing the one before: lanes are moving",
    };
    format!("in use for {age}{replacement}")
}

fn members(status: &StatusDocument, now: UnixTime, palette: Palette) -> String {
    if status.members.is_empty() {
        return match status.member {
            Some(_) => "no other member is on the list\n".to_owned(),
            None => String::new(),
        };
    }
    let mut table = Table::new([
        "MEMBER", "STATE", "FOR", "VIA", "GATEWAYS", "RTT", "LOSS", "MTU", "NETWORKS", "WHY",
    ]);
    for member in &status.members {
        let (state, tone) = state_word(member.state);
        table
            .row([
                member.member.clone(),
                state.to_owned(),
                units::since(member.since_unix_seconds, now.0),
                units::number(member.via.as_ref()),
                format!("{}/{}", member.live_gateways, member.gateways),
                units::round_trip(member.rtt_microseconds),
                units::loss(member.loss_permille),
                units::number(member.path_mtu_bytes),
                networks(member),
                why(member),
            ])
            .tone(1, tone);
    }
    table.render(palette)
}

fn networks(member: &MemberView) -> String {
    if member.granted.is_empty() {
        return all(&member.networks);
    }
    let granted: Vec<String> = member.granted.iter().map(ToString::to_string).collect();
    format!("({})", granted.join(","))
}

fn why(member: &MemberView) -> String {
    match member.state {
        MemberState::Up => String::new(),
        _ => member.reason.clone(),
    }
}

fn problems(status: &StatusDocument, palette: Palette) -> String {
    let mut text = String::new();
    for problem in &status.problems {
        let (word, tone) = match problem.severity {
            Severity::Host => ("problem, whole host", Tone::Bad),
            Severity::Part => ("problem", Tone::Bad),
            Severity::Notice => ("notice", Tone::Doubtful),
        };
        let head = format!("{word} {}", printable(&problem.reason));
        let (thing, cause) = (printable(&problem.thing), printable(&problem.cause));
        text.push_str(&format!("{}: {thing}: {cause}\n", palette.paint(tone, &head)));
        if !problem.next.is_empty() {
            text.push_str(&format!("  next: {}\n", printable(&problem.next)));
        }
    }
    text
}

fn refused(status: &StatusDocument, now: UnixTime, palette: Palette) -> String {
    let mut text = String::new();
    for refused in &status.rejections {
        let head = palette.paint(Tone::Bad, &format!("refused {}", printable(&refused.reason)));
        let since = units::since(Some(refused.since_unix_seconds), now.0);
        let (kind, object) = (printable(&refused.kind), printable(&refused.object));
        let member = match refused.member.as_str() {
            "" => String::new(),
            name => format!(" of {}", printable(name)),
        };
        let why = printable(&refused.explanation);
        text.push_str(&format!("{head}: {kind} {object}{member}, for {since}\n  {why}\n"));
    }
    text
}

fn warnings(status: &StatusDocument, palette: Palette) -> String {
    let line = |warning: &String| {
        format!("{}: {}\n", palette.paint(Tone::Doubtful, "warning"), printable(warning))
    };
    status.warnings.iter().map(line).collect()
}

fn all(networks: &NetworksView) -> String {
    let lists = [&networks.pods, &networks.services, &networks.external];
    let texts: Vec<String> = lists.into_iter().flatten().map(ToString::to_string).collect();
    texts.join(",")
}

fn role_word(role: Role) -> &'static str {
    match role {
        Role::Gateway => "gateway",
        Role::Node => "node",
        Role::Keeper => "keeper",
    }
}

fn state_word(state: MemberState) -> (&'static str, Tone) {
    match state {
        MemberState::Up => ("up", Tone::Good),
        MemberState::Degraded => ("degraded", Tone::Doubtful),
        MemberState::Connecting => ("connecting", Tone::Doubtful),
        MemberState::Down => ("down", Tone::Bad),
        MemberState::Absent => ("absent", Tone::Neutral),
        MemberState::Unknown => ("unknown", Tone::Neutral),
    }
}
