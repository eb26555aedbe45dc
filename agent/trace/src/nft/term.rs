//! Owns what an nft expression reads from a packet, and how sure that is. Does not compare.

use std::net::IpAddr;

use sealane_state::link::Mac;
use sealane_state::rule::Family;
use serde_json::Value;

use crate::bits::Bits;
use crate::packet::{Flow, family_of};

/// A packet as netfilter sees it at a hook.
#[derive(Clone, Copy)]
pub struct Sight<'p> {
    /// Source now.
    pub source: IpAddr,
    /// Destination now.
    pub destination: IpAddr,
    /// Link it came in by; `None` for packets made here.
    pub input: Option<&'p str>,
    /// Link it goes out by; `None` where it is not known yet, or there is none.
    pub output: Option<&'p str>,
    /// Link-layer source, where known.
    pub mac: Option<Mac>,
    /// Bytes, IP header included, where known.
    pub size: Option<u32>,
    /// Packet mark.
    pub mark: Bits,
    /// Connection mark.
    pub connection: Bits,
    /// Its place in its flow.
    pub flow: Flow,
    /// Which of several equal ways to follow.
    pub choice: u8,
    /// Whether a nat chain has decided on its destination.
    pub destination_bound: bool,
    /// Whether a nat chain has decided on its source.
    pub source_bound: bool,
    /// The source that masquerading at the way out would give it.
    pub masquerade: Option<IpAddr>,
    /// Whether an address is one of this host's.
    pub is_local: &'p dyn Fn(IpAddr) -> bool,
}

impl Sight<'_> {
    /// Returns the IP version.
    pub fn family(&self) -> Family {
        family_of(self.destination)
    }
}

/// What an expression reads.
#[derive(Debug, Clone, PartialEq)]
pub enum Term {
    /// An address.
    Address(IpAddr),
    /// A name, such as a link's.
    Text(String),
    /// A number.
    Number(u64),
    /// A mark.
    Mark(Bits),
    /// Whether the address is this host's; other address types are not told apart.
    Local(bool),
    /// A number drawn below this one.
    Draw(u64),
    /// Several at once.
    Several(Vec<Term>),
    /// The packet has no such thing here, such as an outgoing link at prerouting.
    Absent,
    /// The packet is of another family, so the rule does not hold, whatever it compares.
    Elsewhere,
    /// It cannot be read.
    Unclear(Doubt),
}

/// Why something cannot be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doubt {
    /// It depends on the protocol or a port, which nobody named.
    Protocol(String),
    /// It is drawn by lot.
    Chance,
    /// It depends on something that a walk does not follow.
    Unread(String),
}

impl std::fmt::Display for Doubt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Protocol(what) => write!(f, "that depends on {what}"),
            Self::Chance => f.write_str("that is drawn by lot"),
            Self::Unread(what) => write!(f, "{what} cannot be judged"),
        }
    }
}

/// Reads an expression of nft's JSON.
pub fn read(expression: &Value, sight: &Sight<'_>) -> Term {
    match expression {
        Value::String(text) => of_text(text),
        Value::Number(number) => number.as_u64().map_or_else(|| unread("a number"), Term::Number),
        Value::Object(object) => match object.iter().next() {
            Some((kind, body)) => of_object(kind, body, sight),
            None => unread("an empty expression"),
        },
        _ => unread("an expression"),
    }
}

fn of_text(text: &str) -> Term {
    match text.parse() {
        Ok(address) => Term::Address(address),
        Err(_) => Term::Text(text.to_owned()),
    }
}

fn of_object(kind: &str, body: &Value, sight: &Sight<'_>) -> Term {
    match kind {
        "payload" => payload(word(body, "protocol"), word(body, "field"), sight),
        "meta" => meta(word(body, "key"), sight),
        "ct" if body["dir"].is_null() => connection(word(body, "key"), sight),
        "fib" => fib(body, sight),
        "numgen" | "jhash" | "symhash" => {
            body["mod"].as_u64().map_or_else(|| unread(kind), Term::Draw)
        }
        "&" => combined(body, sight, Bits::and),
        "|" => combined(body, sight, Bits::or),
        "^" => combined(body, sight, Bits::xor),
        "concat" => match body {
            Value::Array(parts) => Term::Several(parts.iter().map(|it| read(it, sight)).collect()),
            _ => unread(kind),
        },
        other => unread(other),
    }
}

fn payload(protocol: &str, field: &str, sight: &Sight<'_>) -> Term {
    let family = match protocol {
        "ip" | "icmp" => Some(Family::V4),
        "ip6" | "icmpv6" => Some(Family::V6),
        _ => None,
    };
    if family.is_some_and(|family| family != sight.family()) {
        return Term::Elsewhere;
    }
    match (protocol, field) {
        ("ip" | "ip6", "saddr") => Term::Address(sight.source),
        ("ip" | "ip6", "daddr") => Term::Address(sight.destination),
        ("ip", "length") => length(sight),
        ("ip", "protocol") | ("ip6", "nexthdr") => {
            Term::Unclear(Doubt::Protocol("the protocol".to_owned()))
        }
        ("ether", "saddr") if sight.input.is_none() => Term::Elsewhere,
        ("ether", "saddr") => match sight.mac {
            Some(mac) => Term::Text(mac.to_string()),
            None => unread("ether saddr"),
        },
        (
            "tcp" | "udp" | "th" | "icmp" | "icmpv6" | "sctp" | "dccp" | "udplite" | "esp" | "ah",
            _,
        ) => Term::Unclear(Doubt::Protocol(format!("{protocol} {field}"))),
        _ => unread(&format!("{protocol} {field}")),
    }
}

fn meta(key: &str, sight: &Sight<'_>) -> Term {
    let link = |name: Option<&str>| name.map_or(Term::Absent, |name| Term::Text(name.to_owned()));
    let by_family = |v4: &str, v6: &str| {
        Term::Text(if sight.family() == Family::V4 { v4 } else { v6 }.to_owned())
    };
    match key {
        "iif" | "iifname" => link(sight.input),
        "oif" | "oifname" => link(sight.output),
        "mark" => Term::Mark(sight.mark),
        "nfproto" => by_family("ipv4", "ipv6"),
        "protocol" => by_family("ip", "ip6"),
        "l4proto" => Term::Unclear(Doubt::Protocol("the protocol".to_owned())),
        "length" => length(sight),
        other => unread(&format!("meta {other}")),
    }
}

fn length(sight: &Sight<'_>) -> Term {
    sight.size.map_or_else(|| unread("its length"), |size| Term::Number(size.into()))
}

fn connection(key: &str, sight: &Sight<'_>) -> Term {
    let reply = sight.flow != Flow::New;
    match key {
        "state" => Term::Text(if reply { "established" } else { "new" }.to_owned()),
        "direction" => Term::Text(if reply { "reply" } else { "original" }.to_owned()),
        "mark" => Term::Mark(sight.connection),
        "status" if sight.destination_bound => unread("ct status"),
        // Of the states of a connection only "dnat" is asked for in practice.
        "status" if !reply => Term::Text("untranslated".to_owned()),
        other => unread(&format!("ct {other}")),
    }
}

fn fib(body: &Value, sight: &Sight<'_>) -> Term {
    let flags: Vec<&str> = match &body["flags"] {
        Value::Array(flags) => flags.iter().filter_map(Value::as_str).collect(),
        Value::String(flag) => vec![flag],
        _ => Vec::new(),
    };
    match (body["result"].as_str(), flags.as_slice()) {
        (Some("type"), ["saddr"]) => Term::Local((sight.is_local)(sight.source)),
        (Some("type"), ["daddr"]) => Term::Local((sight.is_local)(sight.destination)),
        _ => unread("fib"),
    }
}

fn combined(body: &Value, sight: &Sight<'_>, join: fn(Bits, Bits) -> Bits) -> Term {
    let Value::Array(parts) = body else { return unread("a bit operation") };
    let mut marks = Vec::with_capacity(parts.len());
    for part in parts {
        match mark(read(part, sight)) {
            Ok(bits) => marks.push(bits),
            Err(term) => return term,
        }
    }
    marks.into_iter().reduce(join).map_or_else(|| unread("a bit operation"), Term::Mark)
}

/// Returns a term as a mark; what is none is a doubt of its own.
pub fn mark(term: Term) -> Result<Bits, Term> {
    match term {
        Term::Mark(bits) => Ok(bits),
        Term::Number(number) => {
            u32::try_from(number).map(Bits::exactly).map_err(|_| unread("a number"))
        }
        Term::Elsewhere | Term::Unclear(_) => Err(term),
        _ => Err(unread("a bit operation")),
    }
}

fn word<'v>(body: &'v Value, key: &str) -> &'v str {
    body[key].as_str().unwrap_or("")
}

fn unread(what: &str) -> Term {
    Term::Unclear(Doubt::Unread(what.to_owned()))
}
