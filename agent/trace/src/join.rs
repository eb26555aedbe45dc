//! Owns how the accounts of several hosts become one, and the sentence at its end. Trusts what was
//! read from the wire to be bounded, not to be true.

use sealane_view::trace::{
    HopView, Outcome, Stage, TraceAnswer, TraceDocument, TraceEnd, TraceRequest,
};

use crate::walk::{ANSWER, Account, Next};
use crate::wire::VERSION;

/// What the next agent said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// This.
    Answer(TraceAnswer),
    /// Nothing that could be used, and why.
    Nothing(String),
}

/// Joins an account with what the next agent said; `said` does not count where nobody is next.
///
/// Shape: no steps back where the packet does not arrive, for then nobody answers.
pub fn answer(account: Account, said: Said) -> TraceAnswer {
    let mut answer = joined(account, said);
    if matches!(answer.end, TraceEnd::Dropped { .. } | TraceEnd::Unknown { .. }) {
        answer.back.clear();
    }
    answer
}

fn joined(account: Account, said: Said) -> TraceAnswer {
    let Account { mut hops, back, next, .. } = account;
    let (name, lane) = match next {
        Next::End(end) => return TraceAnswer { version: VERSION, hops, back, end },
        Next::AskPeer { name, .. } => (name, "lane"),
        Next::AskNode { name, .. } => (name, "leg"),
    };
    match said {
        Said::Answer(answer) => {
            hops.extend(answer.hops);
            let mut whole_back = answer.back;
            whole_back.extend(back);
            TraceAnswer { version: VERSION, hops, back: whole_back, end: answer.end }
        }
        Said::Nothing(why) => {
            hops.push(HopView {
                at: account.at,
                stage: if lane == "lane" { Stage::Tunnel } else { Stage::Leg },
                what: format!("agent of {name}"),
                detail: format!("does not tell what comes next: {why}"),
                outcome: Outcome::Warn,
            });
            TraceAnswer { version: VERSION, hops, back, end: TraceEnd::Unknown { at: name } }
        }
    }
}

/// Makes the document that a person reads. `nobodys` is the sentence of [`crate::owner::of_nobody`]:
/// a packet to such a destination fails unless this clusterset's hosts deliver it all the same.
pub fn document(
    request: &TraceRequest,
    account: Account,
    said: Said,
    nobodys: Option<String>,
) -> TraceDocument {
    let source = request.source.or(account.source);
    let first = account.at.clone();
    let TraceAnswer { hops, back, end, .. } = answer(account, said);
    let onward = hops.len();
    let hops: Vec<HopView> = hops.into_iter().chain(back).collect();
    let failed = hops.iter().any(|hop| hop.outcome == Outcome::Fail);
    let dropped = matches!(end, TraceEnd::Dropped { .. });
    let worst = hops.iter().map(|hop| hop.outcome).max().unwrap_or(Outcome::Warn);
    let mut outcome = if dropped { Outcome::Fail } else { worst };
    if !failed && !dropped && !matches!(end, TraceEnd::Delivered { .. }) {
        outcome = outcome.max(Outcome::Warn);
    }
    let nobodys = nobodys.filter(|_| !matches!(end, TraceEnd::Delivered { .. }));
    if nobodys.is_some() {
        outcome = Outcome::Fail;
    }
    let from = source.map_or_else(|| first.clone(), |source| source.to_string());
    let subject = format!("{from} -> {}", request.destination);
    let mut verdict = format!("{subject} {}", sentence(&hops, onward, &end));
    verdict.extend(nobodys.map(|sentence| format!("; {sentence}")));
    TraceDocument { source, destination: request.destination, hops, outcome, verdict }
}

fn sentence(hops: &[HopView], onward: usize, end: &TraceEnd) -> String {
    let (there, back) = hops.split_at(onward);
    let failing = |hops: &[HopView]| hops.iter().find(|hop| hop.outcome == Outcome::Fail).cloned();
    if let Some(HopView { at, what, detail, .. }) = failing(there) {
        return format!("fails at {at}: {what} {detail}");
    }
    let arrival = match end {
        TraceEnd::Delivered { at, link: None } => format!("is delivered at {at}"),
        TraceEnd::Delivered { at, link: Some(link) } => {
            format!("is delivered at {at} (link {link})")
        }
        TraceEnd::Left { at, link, .. } => match there.last() {
            Some(HopView { what, detail, .. }) => format!("leaves {at}: {what} {detail}"),
            None => format!("leaves {at} by link {link}"),
        },
        TraceEnd::Dropped { at } => return format!("fails at {at}"),
        TraceEnd::Unknown { at } => format!("gets as far as {at}"),
    };
    let through = passed(there, end);
    if let Some(HopView { at, what, detail, .. }) = failing(back) {
        let what = what.trim_start_matches(ANSWER);
        return format!("{arrival}{through}, but its answer fails at {at}: {what} {detail}");
    }
    if let (TraceEnd::Unknown { .. }, Some((HopView { what, detail, .. }, before))) =
        (end, there.split_last())
    {
        // The lane itself may be known to carry packets, whatever its agent does not tell.
        let lane = before.iter().rev().find(|hop| hop.stage == Stage::Tunnel);
        let lane = lane.filter(|hop| hop.outcome == Outcome::Warn);
        let lane = lane.map(|hop| format!("; {} {}", hop.what, hop.detail)).unwrap_or_default();
        return format!("{arrival}{through}{lane}; the {what} {detail}");
    }
    let doubtful = |hop: &&HopView| {
        // What stands in the way of certainty beyond the last host is told with the arrival.
        let told = hop.stage == Stage::Delivery && matches!(end, TraceEnd::Left { .. });
        hop.outcome == Outcome::Warn && !told
    };
    let ending = match (there.iter().find(doubtful), back.iter().find(doubtful)) {
        (Some(HopView { at, what, detail, .. }), _) => {
            format!(", with a doubt at {at}: {what} {detail}")
        }
        (None, Some(HopView { at, what, detail, .. })) => format!("; at {at} the {what} {detail}"),
        (None, None) if back.is_empty() || matches!(end, TraceEnd::Left { .. }) => String::new(),
        (None, None) => "; the answer comes back the same way".to_owned(),
    };
    format!("{arrival}{through}{ending}")
}

/// Names the hosts between the first and the last.
fn passed(there: &[HopView], end: &TraceEnd) -> String {
    let (TraceEnd::Delivered { at: last, .. }
    | TraceEnd::Left { at: last, .. }
    | TraceEnd::Dropped { at: last }
    | TraceEnd::Unknown { at: last }) = end;
    let first = there.first().map(|hop| hop.at.as_str());
    let mut hosts: Vec<&str> = Vec::new();
    for hop in there {
        let at = hop.at.as_str();
        if Some(at) != first && at != last && hosts.last() != Some(&at) {
            hosts.push(at);
        }
    }
    if hosts.is_empty() { String::new() } else { format!(" by way of {}", hosts.join(", ")) }
}
