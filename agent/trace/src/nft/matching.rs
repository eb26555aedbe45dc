//! Owns whether an nft comparison holds, does not, or cannot be told. Reads sets; follows no verdict.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde_json::Value;

use crate::nft::ruleset::{ChainId, Ruleset};
use crate::nft::term::{self, Doubt, Sight, Term};

/// Whether something holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Truth {
    /// It does.
    Yes,
    /// It does not.
    No,
    /// Nobody can tell.
    Maybe(Doubt),
}

/// Where sets are looked for.
#[derive(Debug, Clone, Copy)]
pub struct Sets<'r> {
    /// All sets.
    pub ruleset: &'r Ruleset,
    /// The chain that asks; sets belong to tables.
    pub near: &'r ChainId,
}

/// Judges a `match` statement.
pub fn judge(body: &Value, sight: &Sight<'_>, sets: Sets<'_>) -> Truth {
    let left = term::read(&body["left"], sight);
    match &left {
        Term::Elsewhere => return Truth::No,
        Term::Unclear(doubt) => return Truth::Maybe(doubt.clone()),
        _ => {}
    }
    let right = &body["right"];
    match body["op"].as_str().unwrap_or("==") {
        "==" | "in" => sets.hold(&left, right),
        "!=" => match sets.hold(&left, right) {
            Truth::Yes => Truth::No,
            Truth::No => Truth::Yes,
            maybe @ Truth::Maybe(_) => maybe,
        },
        op => ordered(&left, op, right),
    }
}

impl Sets<'_> {
    /// Says whether a value, a set or a range on the right holds the term.
    pub fn hold(self, term: &Term, right: &Value) -> Truth {
        match right {
            Value::String(text) => match text.strip_prefix('@') {
                Some(name) => match self.ruleset.elements(self.near, name) {
                    Some(elements) => self.any(term, elements),
                    None => unread(&format!("set {name}")),
                },
                None => equals_text(term, text),
            },
            Value::Number(number) => match number.as_u64() {
                Some(number) => equals_number(term, number),
                None => unread("a number"),
            },
            Value::Bool(_) => unread("a flag"),
            Value::Array(elements) => self.any(term, elements),
            Value::Null => unread("an expression"),
            Value::Object(object) => match object.iter().next() {
                Some((kind, body)) => self.holds_object(term, kind, body),
                None => unread("an empty expression"),
            },
        }
    }

    fn holds_object(self, term: &Term, kind: &str, body: &Value) -> Truth {
        match (kind, body) {
            ("set" | "|", Value::Array(elements)) => self.any(term, elements),
            ("set", one) => self.hold(term, one),
            ("elem", _) => self.hold(term, &body["val"]),
            ("prefix", _) => in_prefix(term, body),
            ("range", Value::Array(ends)) => in_range(term, ends),
            ("concat", Value::Array(parts)) => self.all(term, parts),
            (other, _) => unread(other),
        }
    }

    fn any(self, term: &Term, elements: &[Value]) -> Truth {
        let mut answer = Truth::No;
        for element in elements {
            // Elements of a map are pairs of key and value.
            let key = element.as_array().and_then(|pair| pair.first()).unwrap_or(element);
            match self.hold(term, key) {
                Truth::Yes => return Truth::Yes,
                Truth::No => {}
                maybe @ Truth::Maybe(_) => answer = maybe,
            }
        }
        answer
    }

    fn all(self, term: &Term, parts: &[Value]) -> Truth {
        let Term::Several(terms) = term else { return unread("a concatenation") };
        if terms.len() != parts.len() {
            return unread("a concatenation");
        }
        let mut answer = Truth::Yes;
        for (term, part) in terms.iter().zip(parts) {
            let one = match term {
                Term::Unclear(doubt) => Truth::Maybe(doubt.clone()),
                term => self.hold(term, part),
            };
            match one {
                Truth::Yes => {}
                Truth::No => return Truth::No,
                maybe @ Truth::Maybe(_) => answer = maybe,
            }
        }
        answer
    }
}

fn equals_text(term: &Term, text: &str) -> Truth {
    if text == "*" {
        return Truth::Yes;
    }
    match term {
        Term::Address(address) => match text.parse::<IpAddr>() {
            Ok(other) => known(*address == other),
            Err(_) => unread("a name in place of an address"),
        },
        Term::Text(have) => known(match text.strip_suffix('*') {
            Some(start) => have.starts_with(start),
            None => have == text,
        }),
        Term::Local(local) => match (text, local) {
            ("local", local) => known(*local),
            (_, true) => Truth::No,
            _ => unread("fib type"),
        },
        Term::Absent | Term::Elsewhere => Truth::No,
        Term::Unclear(doubt) => Truth::Maybe(doubt.clone()),
        Term::Draw(_) => Truth::Maybe(Doubt::Chance),
        Term::Number(_) | Term::Mark(_) | Term::Several(_) => unread("a comparison"),
    }
}

fn equals_number(term: &Term, number: u64) -> Truth {
    match term {
        Term::Number(have) => known(*have == number),
        Term::Mark(mark) => match u32::try_from(number) {
            Ok(number) => match mark.equals(number, u32::MAX) {
                Some(equal) => known(equal),
                None => unread("its mark"),
            },
            Err(_) => Truth::No,
        },
        Term::Draw(_) => Truth::Maybe(Doubt::Chance),
        Term::Absent | Term::Elsewhere => Truth::No,
        Term::Unclear(doubt) => Truth::Maybe(doubt.clone()),
        // A link that is gone is shown by its number.
        Term::Text(_) => Truth::No,
        Term::Address(_) | Term::Local(_) | Term::Several(_) => unread("a comparison"),
    }
}

fn in_prefix(term: &Term, body: &Value) -> Truth {
    let Term::Address(address) = term else { return absent_or("a prefix", term) };
    let net = body["addr"].as_str().and_then(|text| text.parse().ok());
    let length = body["len"].as_u64().and_then(|length| u8::try_from(length).ok());
    match net.zip(length).and_then(|(net, length)| IpNetwork::new(net, length).ok()) {
        Some(net) => known(net.contains(*address)),
        None => unread("a prefix"),
    }
}

fn in_range(term: &Term, ends: &[Value]) -> Truth {
    let [from, to] = ends else { return unread("a range") };
    match term {
        Term::Address(address) => {
            let end = |value: &Value| value.as_str().and_then(|text| text.parse::<IpAddr>().ok());
            match end(from).zip(end(to)) {
                Some((from, to)) => known((from..=to).contains(address)),
                None => unread("a range"),
            }
        }
        Term::Number(number) => match from.as_u64().zip(to.as_u64()) {
            Some((from, to)) => known((from..=to).contains(number)),
            None => unread("a range"),
        },
        term => absent_or("a range", term),
    }
}

fn ordered(left: &Term, op: &str, right: &Value) -> Truth {
    let number = match left {
        Term::Number(number) => Some(*number),
        Term::Mark(mark) => mark.exact().map(u64::from),
        _ => None,
    };
    let Some((left, right)) = number.zip(right.as_u64()) else { return unread("a comparison") };
    match op {
        "<" => known(left < right),
        "<=" => known(left <= right),
        ">" => known(left > right),
        ">=" => known(left >= right),
        _ => unread("a comparison"),
    }
}

fn absent_or(what: &str, term: &Term) -> Truth {
    match term {
        Term::Absent | Term::Elsewhere => Truth::No,
        Term::Unclear(doubt) => Truth::Maybe(doubt.clone()),
        Term::Draw(_) => Truth::Maybe(Doubt::Chance),
        _ => unread(what),
    }
}

fn known(holds: bool) -> Truth {
    if holds { Truth::Yes } else { Truth::No }
}

fn unread(what: &str) -> Truth {
    Truth::Maybe(Doubt::Unread(what.to_owned()))
}
