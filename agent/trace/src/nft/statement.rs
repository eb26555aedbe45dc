//! Owns what single nft statements say: verdicts, marks, addresses of translations, xtables extensions.
//! Does not own the order in which they are followed.

use std::net::IpAddr;

use serde_json::Value;

use crate::bits::Bits;
use crate::nft::term::{self, Doubt, Sight, Term};

/// Statements that decide nothing about a packet.
pub const INERT: [&str; 9] =
    ["counter", "log", "comment", "notrack", "flow", "set", "last", "dup", "ct helper"];

/// What a statement that ends a rule does.
pub enum End {
    /// Lets the packet pass this base chain.
    Accept,
    /// Drops it; words to follow the rule's number.
    Drop(&'static str),
    /// Goes back to the calling chain.
    Return,
    /// Goes to a chain and comes back.
    Jump(String),
    /// Goes to a chain and does not come back.
    Goto(String),
    /// Nobody can tell.
    Anything(String),
}

/// Returns what a statement that is neither a match nor a change does.
pub fn end_of(kind: &str, body: &Value) -> End {
    let target = || body["target"].as_str().unwrap_or("").to_owned();
    match kind {
        "accept" => End::Accept,
        "drop" => End::Drop(""),
        "reject" => End::Drop(", with an ICMP error or a reset"),
        "return" => End::Return,
        "jump" => End::Jump(target()),
        "goto" => End::Goto(target()),
        other => End::Anything(other.to_owned()),
    }
}

/// A rule that may or may not have held leaves marks that may or may not be set.
pub fn blur(sight: &mut Sight<'_>, before: &Sight<'_>) {
    sight.mark = sight.mark.either(before.mark);
    sight.connection = sight.connection.either(before.connection);
}

/// Changes a mark as a `mangle` statement does; what else it changes is not followed.
pub fn mangle(body: &Value, sight: &mut Sight<'_>) {
    let value = term::mark(term::read(&body["value"], sight)).unwrap_or(Bits::UNKNOWN);
    let key = &body["key"];
    if key["meta"]["key"] == "mark" {
        sight.mark = value;
    } else if key["ct"]["key"] == "mark" {
        sight.connection = value;
    }
}

/// Returns the address that a translation is to.
pub fn address(expression: &Value, sight: &Sight<'_>) -> Option<IpAddr> {
    if let Some(elements) = expression["map"]["data"]["set"].as_array() {
        let Term::Draw(_) = term::read(&expression["map"]["key"], sight) else { return None };
        let count = elements.len().max(1);
        let pair = elements.get(usize::from(sight.choice) % count)?;
        return pair[1].as_str()?.parse().ok();
    }
    match term::read(expression, sight) {
        Term::Address(address) => Some(address),
        _ => None,
    }
}

/// Says whether an xtables extension is a match. Newer versions of nft show its type and name, older
/// ones nothing; a target stands last.
pub fn is_xt_match(body: &Value, last: bool) -> bool {
    match body["type"].as_str() {
        Some(kind) => kind == "match" && body["name"] != "comment",
        None => !last,
    }
}

/// Returns why an xtables match cannot be judged.
pub fn xt_doubt(body: &Value) -> Doubt {
    match body["name"].as_str() {
        Some("statistic") => Doubt::Chance,
        Some(name @ ("tcp" | "udp" | "multiport" | "icmp")) => Doubt::Protocol(name.to_owned()),
        Some(name) => Doubt::Unread(format!("the xtables match {name}")),
        None => Doubt::Unread("an xtables match".to_owned()),
    }
}

/// Says whether an expression reads the destination address, alone or with others.
pub fn reads_destination(expression: &Value) -> bool {
    match expression {
        Value::Object(object) => object.iter().any(|(kind, body)| match kind.as_str() {
            "payload" => body["field"] == "daddr",
            "concat" => body.as_array().is_some_and(|parts| parts.iter().any(reads_destination)),
            _ => false,
        }),
        _ => false,
    }
}

/// Says whether an element is the address itself, alone or with others of a concatenation.
pub fn names(element: &Value, address: IpAddr) -> bool {
    match element {
        Value::String(text) => text.parse() == Ok(address),
        Value::Array(parts) => parts.iter().any(|part| names(part, address)),
        Value::Object(object) => object.iter().any(|(kind, body)| match kind.as_str() {
            "concat" | "set" => names(body, address),
            "elem" => names(&body["val"], address),
            _ => false,
        }),
        _ => false,
    }
}
