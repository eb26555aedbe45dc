//! Owns a running `sealane-agent`: its file, its process, what it says of itself through `sealane`.

use std::time::Duration;

use sealane_view::status::{MemberState, StatusDocument};
use serde::de::DeserializeOwned;

use crate::lab::error::LabError;
use crate::lab::host::Host;
use crate::lab::process::Process;
use crate::lab::wait::eventually;
use crate::product::settings::Settings;

/// Where the agent reads its settings.
pub const CONFIG: &str = "/etc/sealane/agent.toml";

/// How long an agent may take to answer on a busy machine.
const START: Duration = Duration::from_secs(10);

/// How long lanes may take to come up on a busy machine.
pub const LANES: Duration = Duration::from_secs(30);

/// Writes the file, starts the agent, returns once it answers.
///
/// # Errors
/// It ends, or does not answer; its log is in the error.
pub fn start(host: &Host, settings: &Settings) -> Result<Process, LabError> {
    host.write_file(CONFIG, &settings.text())?;
    let process = host.command("sealane-agent").spawn()?;
    answers(&process)?;
    Ok(process)
}

/// Returns once the agent answers.
///
/// # Errors
/// It ends, or does not answer within 10 s; its log is in the error.
pub fn answers(process: &Process) -> Result<(), LabError> {
    let host = process.host();
    eventually(START, format!("{}: the agent answers", host.name()), || {
        status(host).map(drop).map_err(|error| {
            let log = process.log().unwrap_or_default();
            format!("{error}; its log: {log}")
        })
    })
}

/// What the agent says of itself, working or not.
///
/// # Errors
/// It does not answer.
pub fn status(host: &Host) -> Result<StatusDocument, LabError> {
    document(host, "status")
}

/// The document of a subcommand of `sealane`, whatever it says: exit code 1 means that what it tells
/// of does not work, which is an answer too.
///
/// # Errors
/// Any other exit code, or text that is no such document.
pub fn document<T: DeserializeOwned>(host: &Host, subcommand: &str) -> Result<T, LabError> {
    let words = subcommand.split_whitespace();
    let mut outcome = host.command("sealane").args(words).args(["-o", "json"]).output()?;
    if outcome.exit == Some(crate::lab::wire::Exit::Code(1)) && !outcome.stdout.is_empty() {
        outcome.exit = Some(crate::lab::wire::Exit::Code(0));
    }
    let what = format!("{}: `sealane {subcommand}`", host.name());
    let text = outcome.success()?;
    serde_json::from_str(&text).map_err(|cause| LabError::Json { what, cause, text })
}

/// Says whether a host reaches exactly these members; a node, whether the gateways of its own do.
///
/// # Errors
/// A sentence that names the first that it does not, and why.
pub fn reaches(host: &Host, members: &[&str]) -> Result<(), String> {
    let status = status(host).map_err(|error| error.to_string())?;
    let told: Vec<&str> = status.members.iter().map(|member| member.member.as_str()).collect();
    let mut expected = members.to_vec();
    expected.sort_unstable();
    if told != expected {
        return Err(format!("{} knows {told:?}, not {expected:?}", host.name()));
    }
    let is_reached = |state| matches!(state, MemberState::Up | MemberState::Unknown);
    match status.members.iter().find(|member| !is_reached(member.state)) {
        Some(it) => Err(format!("{}: {} is {:?}: {}", host.name(), it.member, it.state, it.reason)),
        None => Ok(()),
    }
}

/// Waits until a host reaches exactly these members.
///
/// # Errors
/// It does not within [`LANES`].
pub fn comes_to_reach(host: &Host, members: &[&str]) -> Result<(), LabError> {
    let what = format!("{} reaches {}", host.name(), members.join(" and "));
    eventually(LANES, what, || reaches(host, members))
}
