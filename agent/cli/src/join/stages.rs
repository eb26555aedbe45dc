//! Owns what a host that joins goes through until its lanes are up, told from a status. Pure: asks
//! nobody, waits for nothing.

use sealane_view::status::{BrokerView, MemberState, ProblemView, Role, Severity, StatusDocument};

use crate::failure::Exit;
use crate::status;

/// Problems that pass by no waiting: somebody has to do something first.
const DEAD_ENDS: [&str; 5] = [
    "IdentityNotOurs",
    "EnrolmentConflict",
    "EnrolmentBadSignature",
    "MemberRevoked",
    "CredentialRefused",
];

/// One thing that has to come about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// Whether it has.
    pub reached: bool,
    /// What it is, or what is waited for.
    pub text: String,
    /// What people can do when it does not come about.
    pub next: String,
}

/// Returns all stages in the order in which they come about.
pub fn of(status: &StatusDocument) -> Vec<Stage> {
    let mut stages = vec![broker(status), listed(status)];
    if status.roles.contains(&Role::Gateway) {
        stages.push(certified(status));
    }
    stages.push(lanes(status));
    stages.push(well(status));
    stages
}

/// Returns why waiting is in vain: others will not believe this host, or the broker turns it away.
pub fn dead_end(status: &StatusDocument) -> Option<Stage> {
    let mut problems = status.problems.iter();
    let found = problems.find(|problem| DEAD_ENDS.contains(&problem.reason.as_str()))?;
    Some(stage_of(found))
}

/// Returns the first stage that is not reached; `None` when all is well.
pub fn waits_for(status: &StatusDocument) -> Option<Stage> {
    of(status).into_iter().find(|stage| !stage.reached)
}

fn broker(status: &StatusDocument) -> Stage {
    let (url, cause) = match &status.broker {
        Some(BrokerView { url, last_error, .. }) => (url.as_str(), last_error.as_deref()),
        None => ("", None),
    };
    let reached = status.broker.as_ref().is_some_and(|broker| broker.connected);
    let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
    Stage {
        reached,
        text: if reached {
            format!("broker reached: {url}")
        } else {
            format!("waiting for broker {url}{cause}")
        },
        next: "check that it runs and that this host may reach its port".to_owned(),
    }
}

fn listed(status: &StatusDocument) -> Stage {
    let text = match &status.clusterset {
        Some(set) => format!("listed: version {} of the list is accepted", set.version),
        None => "waiting for the list of members".to_owned(),
    };
    Stage {
        reached: status.clusterset.is_some(),
        text,
        next: "have the administrator run sealane clusterset apply".to_owned(),
    }
}

fn certified(status: &StatusDocument) -> Stage {
    let reached = status.advertised_unix_seconds.is_some();
    let text = if reached {
        "certified: the broker holds this gateway's advertisement"
    } else {
        "waiting for this gateway's certificate and advertisement to be on the broker"
    };
    Stage { reached, text: text.to_owned(), next: "see journalctl -u sealane-agent".to_owned() }
}

fn lanes(status: &StatusDocument) -> Stage {
    let joined = status.members.iter().filter(|member| member.state != MemberState::Absent);
    let (mut all, mut live) = (0, 0);
    for member in joined.clone() {
        (all, live) = (all + member.gateways, live + member.live_gateways);
    }
    let is_missing = |state| !matches!(state, MemberState::Up | MemberState::Unknown);
    let missing = joined.filter(|member| is_missing(member.state));
    let missing: Vec<&str> = missing.map(|member| member.member.as_str()).collect();
    let text = match (all, missing.as_slice()) {
        (0, []) => "lanes: no other member has joined yet".to_owned(),
        (_, []) => format!("lanes: {live} of {all} up"),
        (_, names) => format!("lanes: {live} of {all} up, waiting for {}", names.join(", ")),
    };
    Stage {
        reached: missing.is_empty(),
        text,
        next: "see sealane peers; UDP port 51820 of one side has to be reachable".to_owned(),
    }
}

/// What else keeps the status from being good; the worst of it.
fn well(status: &StatusDocument) -> Stage {
    if status::exit(status) == Exit::Fine {
        return Stage { reached: true, text: "all is well".to_owned(), next: String::new() };
    }
    let problem = status.problems.iter().find(|problem| problem.severity != Severity::Notice);
    problem.map_or_else(
        || Stage {
            reached: false,
            text: "see the status".to_owned(),
            next: "see sealane status".to_owned(),
        },
        stage_of,
    )
}

fn stage_of(problem: &ProblemView) -> Stage {
    let ProblemView { reason, thing, cause, next, .. } = problem;
    let text = format!("problem {reason}: {thing}: {cause}");
    Stage { reached: false, text, next: next.clone() }
}
