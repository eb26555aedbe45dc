//! Owns the bytes of questions and answers between agents, and the bounds of what others may say.
//! Does not carry them.

use std::net::IpAddr;

use sealane_view::trace::{HopView, TraceAnswer, TraceEnd, TraceQuestion};

use crate::bits::Bits;
use crate::packet::{Entry, Flow, Packet};
use crate::walk::Account;

/// Version of both forms.
pub const VERSION: u8 = 1;
/// Agents that are asked after the first, at most.
pub const MOST_AGENTS: u8 = 8;
/// Largest question in bytes.
pub const LARGEST_QUESTION: usize = 1024;
/// Largest answer in bytes.
pub const LARGEST_ANSWER: usize = 64 * 1024;
/// Steps in one direction that an answer may hold.
const MOST_HOPS: usize = 96;
/// Characters that a text of an answer may have.
const LONGEST_TEXT: usize = 256;

/// Why bytes of another agent are not used. Asking again does not help; its version may differ.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// They are too many.
    #[error("{have} bytes, at most {most} are read")]
    TooLong {
        /// How many there are.
        have: usize,
        /// How many there may be.
        most: usize,
    },
    /// They are not of our form.
    #[error("not in the form of a trace: {0}")]
    Form(#[from] serde_json::Error),
    /// They are of another version.
    #[error("trace version {0}, this agent speaks {VERSION}; run the same release on both ends")]
    Version(u8),
    /// The packet could not be one.
    #[error("source {source_address} and destination {destination} are not of one family")]
    Families {
        /// The source.
        source_address: IpAddr,
        /// The destination.
        destination: IpAddr,
    },
}

/// Returns the question for the agent that is next; `None` where nobody is, or no more may be asked.
pub fn question(account: &Account, hops_left: u8) -> Option<TraceQuestion> {
    let hops_left = hops_left.min(MOST_AGENTS).checked_sub(1)?;
    if matches!(account.next, crate::walk::Next::End(_)) {
        return None;
    }
    Some(TraceQuestion {
        version: VERSION,
        source: account.source?,
        destination: account.destination,
        size_bytes: account.size,
        choice: account.choice,
        hops_left,
    })
}

/// Returns a question's bytes.
///
/// # Errors
/// [`WireError::Form`] never in practice: the form holds no map and no float.
pub fn question_bytes(question: &TraceQuestion) -> Result<Vec<u8>, WireError> {
    Ok(serde_json::to_vec(question)?)
}

/// Reads another agent's question.
///
/// # Errors
/// [`WireError`] says what is wrong with it.
pub fn read_question(bytes: &[u8]) -> Result<TraceQuestion, WireError> {
    bounded(bytes, LARGEST_QUESTION)?;
    version(bytes)?;
    let mut question: TraceQuestion = serde_json::from_slice(bytes)?;
    let (source_address, destination) = (question.source, question.destination);
    if source_address.is_ipv4() != destination.is_ipv4() {
        return Err(WireError::Families { source_address, destination });
    }
    question.hops_left = question.hops_left.min(MOST_AGENTS);
    Ok(question)
}

/// Returns the packet that a question asks for; `entry` is the lane or leg that brought it.
pub fn packet(question: &TraceQuestion, entry: Entry) -> Packet {
    Packet {
        source: Some(question.source),
        destination: question.destination,
        size: question.size_bytes,
        entry,
        mark: Bits::exactly(0),
        flow: Flow::New,
        choice: question.choice,
    }
}

/// Returns an answer's bytes, at most [`LARGEST_ANSWER`]; of a longer answer the later steps of both
/// directions are left out.
///
/// # Errors
/// [`WireError::Form`] never in practice: the form holds no map and no float.
pub fn answer_bytes(answer: &TraceAnswer) -> Result<Vec<u8>, WireError> {
    let mut answer = answer.clone();
    bound(&mut answer);
    loop {
        let bytes = serde_json::to_vec(&answer)?;
        if bytes.len() <= LARGEST_ANSWER {
            return Ok(bytes);
        }
        answer.hops.truncate(answer.hops.len() / 2);
        answer.back.truncate(answer.back.len() / 2);
    }
}

/// Reads the answer of the agent `asked` (`member.node`).
///
/// Texts are cut and made printable; an agent speaks for hosts of its own member, and for others
/// only behind lanes of its own, so that a step which names `own`, this host, is put down to it.
///
/// # Errors
/// [`WireError`] says what is wrong with it.
pub fn read_answer(bytes: &[u8], asked: &str, own: &str) -> Result<TraceAnswer, WireError> {
    bounded(bytes, LARGEST_ANSWER)?;
    version(bytes)?;
    let mut answer: TraceAnswer = serde_json::from_slice(bytes)?;
    bound(&mut answer);
    let mut places: Vec<&mut String> =
        answer.hops.iter_mut().chain(&mut answer.back).map(|hop| &mut hop.at).collect();
    places.push(match &mut answer.end {
        TraceEnd::Delivered { at, .. }
        | TraceEnd::Left { at, .. }
        | TraceEnd::Dropped { at }
        | TraceEnd::Unknown { at } => at,
    });
    for place in places {
        if place == own || place.is_empty() {
            asked.clone_into(place);
        }
    }
    Ok(answer)
}

fn bounded(bytes: &[u8], most: usize) -> Result<(), WireError> {
    let have = bytes.len();
    if have > most { Err(WireError::TooLong { have, most }) } else { Ok(()) }
}

/// A newer form may have fields that this one refuses; its version is the better reason.
fn version(bytes: &[u8]) -> Result<(), WireError> {
    #[derive(serde::Deserialize)]
    struct Versioned {
        version: u8,
    }
    match serde_json::from_slice::<Versioned>(bytes)?.version {
        VERSION => Ok(()),
        other => Err(WireError::Version(other)),
    }
}

fn bound(answer: &mut TraceAnswer) {
    for hops in [&mut answer.hops, &mut answer.back] {
        hops.truncate(MOST_HOPS);
        for HopView { at, what, detail, .. } in hops {
            for text in [at, what, detail] {
                *text = printable(text);
            }
        }
    }
    match &mut answer.end {
        TraceEnd::Delivered { at, link } => {
            *at = printable(at);
            *link = link.as_deref().map(printable);
        }
        TraceEnd::Left { at, link, .. } => (*at, *link) = (printable(at), printable(link)),
        TraceEnd::Dropped { at } | TraceEnd::Unknown { at } => *at = printable(at),
    }
}

fn printable(text: &str) -> String {
    let printed = |c: char| if c == ' ' || c.is_ascii_graphic() { c } else { '?' };
    text.chars().take(LONGEST_TEXT).map(printed).collect()
}
