//! Owns policy routing as the kernel does it: rules in order, longest match, metric. Reads all
//! tables; does not own what routes mean for a packet's fate.

use std::net::IpAddr;

use sealane_state::facts::{RoutingSnapshot, SeenAction, SeenHop, SeenRoute, SeenRule};
use sealane_state::name::LinkName;

use crate::bits::Bits;
use crate::packet::family_of;

/// What policy routing looks at.
#[derive(Debug, Clone, Copy)]
pub struct Lookup<'p> {
    /// Where the packet goes.
    pub destination: IpAddr,
    /// Where it comes from, as far as chosen.
    pub source: Option<IpAddr>,
    /// The link it came in by; `None` for packets made here.
    pub input: Option<&'p LinkName>,
    /// Its mark.
    pub mark: Bits,
    /// Which of several equal ways to follow.
    pub choice: u8,
}

/// What policy routing says.
#[derive(Debug, Clone)]
pub struct Answer<'s> {
    /// The rule that decides; `None` when none does.
    pub rule: Option<&'s SeenRule>,
    /// What it decides.
    pub found: Found<'s>,
    /// Rules before it of which nobody can tell whether they hold, and why.
    pub doubtful: Vec<(&'s SeenRule, String)>,
}

/// What a rule decides.
#[derive(Debug, Clone)]
pub enum Found<'s> {
    /// The table and route, and the way out; `None` with kinds that do not forward.
    Route(u32, &'s SeenRoute, Option<Way<'s>>),
    /// The rule itself refuses; the word that `ip rule` shows.
    Refused(&'s str),
    /// No table that a rule looks up has a route.
    Nothing,
}

/// A way out of a route.
#[derive(Debug, Clone, Copy)]
pub struct Way<'s> {
    /// The hop that is followed.
    pub hop: &'s SeenHop,
    /// How many equal ways there are.
    pub of: usize,
}

/// Finds the route of a packet.
pub fn route<'s>(routing: &'s RoutingSnapshot, packet: &Lookup<'_>) -> Answer<'s> {
    let family = family_of(packet.destination);
    let mut answer = Answer { rule: None, found: Found::Nothing, doubtful: Vec::new() };
    let mut from = 0;
    for rule in routing.rules.iter().filter(|rule| rule.family == family) {
        if rule.priority < from {
            continue;
        }
        let found = match &rule.action {
            SeenAction::Lookup(table) => in_table(routing, *table, packet, rule.suppressed_length),
            SeenAction::Refuse(word) => Some(Found::Refused(word)),
            SeenAction::Goto(_) | SeenAction::Vrf | SeenAction::Nop => None,
        };
        let target = match rule.action {
            SeenAction::Goto(priority) => Some(priority),
            _ => None,
        };
        if found.is_none() && target.is_none() {
            continue;
        }
        match holds(rule, packet) {
            Some(false) => {}
            None => answer.doubtful.push((rule, doubt(rule))),
            Some(true) => {
                if let Some(found) = found {
                    return Answer { rule: Some(rule), found, ..answer };
                }
                from = target.unwrap_or(from);
            }
        }
    }
    answer
}

/// Says whether a rule's conditions hold; `None` when that cannot be told.
fn holds(rule: &SeenRule, packet: &Lookup<'_>) -> Option<bool> {
    let any = IpAddr::is_unspecified;
    let source = packet.source.filter(|source| !any(source));
    let input = packet.input.map_or("lo", LinkName::as_str);
    let conditions = [
        rule.from.map(|net| Some(source.is_some_and(|source| net.contains(source)))),
        rule.to.map(|net| Some(net.contains(packet.destination))),
        rule.input.as_ref().map(|link| Some(link.as_str() == input)),
        // No socket is bound to a link here.
        rule.output.as_ref().map(|_| Some(false)),
        rule.mark.map(|(value, mask)| packet.mark.equals(value, mask)),
        (!rule.other_conditions.is_empty()).then_some(None),
    ];
    let mut all = Some(true);
    for condition in conditions.into_iter().flatten() {
        match condition {
            Some(true) => {}
            Some(false) => return Some(rule.inverted),
            None => all = None,
        }
    }
    all.map(|_| !rule.inverted)
}

fn doubt(rule: &SeenRule) -> String {
    if rule.other_conditions.is_empty() {
        "the packet's mark is not known".to_owned()
    } else {
        format!("it asks for {}", rule.other_conditions.join(" "))
    }
}

/// Finds the longest match in a table, then the lowest metric; `None` sends on to the next rule.
fn in_table<'s>(
    routing: &'s RoutingSnapshot,
    table: u32,
    packet: &Lookup<'_>,
    suppressed: Option<u32>,
) -> Option<Found<'s>> {
    let routes = routing.routes.get(&table)?;
    let mut matching: Vec<&SeenRoute> =
        routes.iter().filter(|route| route.destination.contains(packet.destination)).collect();
    // Stable, so equals stay in the order of the kernel's dump.
    matching.sort_by_key(|route| (u8::MAX - route.destination.prefix(), route.metric));
    for (place, route) in matching.iter().enumerate() {
        if suppressed.is_some_and(|length| u32::from(route.destination.prefix()) <= length) {
            return None;
        }
        if route.kind == "throw" {
            return None;
        }
        if route.kind != "unicast" {
            return Some(Found::Route(table, route, None));
        }
        let twins = matching[place..].iter().take_while(|twin| {
            twin.kind == "unicast"
                && (twin.destination, twin.metric) == (route.destination, route.metric)
        });
        let twins = twins.take(if route.destination.is_ipv6() { usize::MAX } else { 1 });
        let usable: Vec<(&SeenRoute, &SeenHop)> = twins
            .flat_map(|twin| twin.hops.iter().map(move |hop| (*twin, hop)))
            .filter(|(_, hop)| !hop.unusable)
            .collect();
        if !usable.is_empty() {
            let (route, hop) = usable[usize::from(packet.choice) % usable.len()];
            return Some(Found::Route(table, route, Some(Way { hop, of: usable.len() })));
        }
    }
    None
}

/// Returns a rule as `ip rule` would show it, without its priority.
pub fn rule_text(rule: &SeenRule) -> String {
    let mut text = String::new();
    if rule.inverted {
        text.push_str("not ");
    }
    text.push_str("from ");
    text.push_str(&rule.from.map_or_else(|| "all".to_owned(), |net| net.to_string()));
    for (word, value) in [
        ("to", rule.to.map(|net| net.to_string())),
        ("iif", rule.input.as_ref().map(ToString::to_string)),
        ("oif", rule.output.as_ref().map(ToString::to_string)),
        ("fwmark", rule.mark.map(|(value, mask)| format!("{value:#x}/{mask:#x}"))),
    ] {
        if let Some(value) = value {
            text.push_str(&format!(" {word} {value}"));
        }
    }
    let action = match &rule.action {
        SeenAction::Lookup(table) => format!("lookup {}", table_name(*table)),
        SeenAction::Goto(priority) => format!("goto {priority}"),
        SeenAction::Vrf => "lookup [l3mdev-table]".to_owned(),
        SeenAction::Refuse(word) => word.clone(),
        SeenAction::Nop => "nop".to_owned(),
    };
    let others: String = rule.other_conditions.iter().map(|other| format!(" {other}")).collect();
    format!("{text}{others} {action}")
}

/// Returns the name that every host has for a table, else its number.
pub fn table_name(table: u32) -> String {
    match table {
        253 => "default".to_owned(),
        254 => "main".to_owned(),
        255 => "local".to_owned(),
        number => number.to_string(),
    }
}

/// Returns a route as `ip route` would show it, by the one way out that is followed.
pub fn route_text(route: &SeenRoute, way: Option<Way<'_>>) -> String {
    let mut text = match route.kind.as_str() {
        "unicast" => route.destination.to_string(),
        kind => format!("{kind} {}", route.destination),
    };
    let Some(Way { hop, of }) = way else { return text };
    if let Some(gateway) = hop.gateway {
        text.push_str(&format!(" via {gateway}"));
    }
    if let Some(link) = &hop.link {
        text.push_str(&format!(" dev {link}"));
    }
    if let Some(source) = route.source {
        text.push_str(&format!(" src {source}"));
    }
    if let Some(mtu) = route.mtu {
        text.push_str(&format!(" mtu {mtu}"));
    }
    if of > 1 {
        text.push_str(&format!(" (one of {of} equal ways)"));
    }
    text
}
