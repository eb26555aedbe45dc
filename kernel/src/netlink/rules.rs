//! Owns policy routing rules: ours by priority and protocol number, foreign ones as data. Does not
//! own tables.

use std::collections::BTreeSet;

use ipnetwork::IpNetwork;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::route::RouteProtocol;
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;
use sealane_state::facts::{SeenAction, SeenRule};
use sealane_state::owner;
use sealane_state::rule::{Family, MarkMatch, Rule, Sense};

use crate::netlink::channel::{Channel, Write};
use crate::netlink::refusal::Refusal;

/// Reads all rules, IPv4 before IPv6, each family in the order in which the kernel tries them.
///
/// # Errors
/// The kernel's refusal.
pub fn read(channel: &mut Channel) -> Result<Vec<SeenRule>, Refusal> {
    let mut rules = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut request = RuleMessage::default();
        request.header.family = family;
        let dump = channel.dump(&RouteNetlinkMessage::GetRule(request))?;
        rules.extend(dump.messages.iter().filter_map(|message| match message {
            RouteNetlinkMessage::NewRule(message) => seen(message),
            _ => None,
        }));
    }
    Ok(rules)
}

/// Returns the rules of ours; one with our number but of a form that we never write is foreign.
pub fn own_state(seen: &[SeenRule]) -> BTreeSet<Rule> {
    seen.iter().filter_map(own).collect()
}

fn own(seen: &SeenRule) -> Option<Rule> {
    let SeenAction::Lookup(table) = seen.action else { return None };
    let ours = seen.protocol == owner::PROTOCOL && owner::RULES.contains(&seen.priority);
    let plain = seen.from.is_none()
        && seen.to.is_none()
        && seen.output.is_none()
        && seen.suppressed_length.is_none()
        && seen.other_conditions.is_empty()
        && (seen.mark.is_some() || !seen.inverted);
    let sense = if seen.inverted { Sense::IsNot } else { Sense::Is };
    let mark = seen.mark.map(|(value, mask)| MarkMatch { value, mask, sense });
    let (priority, family, input) = (seen.priority, seen.family, seen.input.clone());
    (ours && plain).then_some(Rule { priority, family, input, mark, table })
}

/// Adds a rule; one of ours that stands already is no error.
///
/// # Errors
/// The kernel's refusal; `EEXIST` when a foreign rule of the same content stands.
pub fn add(channel: &mut Channel, rule: &Rule) -> Result<(), Refusal> {
    let message = RouteNetlinkMessage::NewRule(message(rule));
    match channel.write_one(Write { message, flags: NLM_F_CREATE | NLM_F_EXCL }) {
        Err(refusal) if refusal.errno == Errno::EEXIST => {
            if own_state(&read(channel)?).contains(rule) {
                return Ok(());
            }
            let text = "a rule of another maker says the same: delete it";
            Err(Refusal::because(Errno::EEXIST, text))
        }
        other => other,
    }
}

/// Deletes a rule of ours; one that is gone already is no error.
///
/// The kernel compares neither the maker nor the sense of a match, so it is asked only while ours
/// is there.
///
/// # Errors
/// The kernel's refusal.
pub fn delete(channel: &mut Channel, rule: &Rule) -> Result<(), Refusal> {
    if !own_state(&read(channel)?).contains(rule) {
        return Ok(());
    }
    let message = RouteNetlinkMessage::DelRule(message(rule));
    match channel.write_one(Write { message, flags: 0 }) {
        Err(refusal) if refusal.errno == Errno::ENOENT => Ok(()),
        other => other,
    }
}

fn message(rule: &Rule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = match rule.family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    };
    message.header.action = RuleAction::ToTable;
    let attributes = &mut message.attributes;
    attributes.push(RuleAttribute::Priority(rule.priority));
    attributes.push(RuleAttribute::Protocol(RouteProtocol::from(owner::PROTOCOL)));
    attributes.push(RuleAttribute::Table(rule.table));
    attributes.extend(rule.input.iter().map(|link| RuleAttribute::Iifname(link.to_string())));
    if let Some(mark) = rule.mark {
        attributes.push(RuleAttribute::FwMark(mark.value));
        attributes.push(RuleAttribute::FwMask(mark.mask));
        if mark.sense == Sense::IsNot {
            message.header.flags = RuleFlags::Invert;
        }
    }
    message
}

/// Reads a rule message; `None` for families other than IP.
fn seen(message: &RuleMessage) -> Option<SeenRule> {
    let header = &message.header;
    let family = match header.family {
        AddressFamily::Inet => Family::V4,
        AddressFamily::Inet6 => Family::V6,
        _ => return None,
    };
    let mut rule = SeenRule {
        priority: 0,
        family,
        protocol: 0,
        inverted: header.flags.contains(RuleFlags::Invert),
        from: None,
        to: None,
        input: None,
        output: None,
        mark: None,
        other_conditions: Vec::new(),
        action: SeenAction::Lookup(u32::from(header.table)),
        suppressed_length: None,
    };
    if header.tos != 0 {
        rule.other_conditions.push(format!("tos {:#x}", header.tos));
    }
    for attribute in &message.attributes {
        take(&mut rule, attribute, message);
    }
    match header.action {
        RuleAction::ToTable | RuleAction::Goto => {}
        RuleAction::Nop => rule.action = SeenAction::Nop,
        other => rule.action = SeenAction::Refuse(format!("{other:?}").to_lowercase()),
    }
    Some(rule)
}

fn take(rule: &mut SeenRule, attribute: &RuleAttribute, message: &RuleMessage) {
    match attribute {
        RuleAttribute::Priority(priority) => rule.priority = *priority,
        RuleAttribute::Protocol(protocol) => rule.protocol = (*protocol).into(),
        RuleAttribute::Table(table) if message.header.action == RuleAction::ToTable => {
            rule.action = SeenAction::Lookup(*table);
        }
        RuleAttribute::Goto(priority) => rule.action = SeenAction::Goto(*priority),
        RuleAttribute::L3MDev(true) => rule.action = SeenAction::Vrf,
        RuleAttribute::Source(ip) => rule.from = IpNetwork::new(*ip, message.header.src_len).ok(),
        RuleAttribute::Destination(ip) => {
            rule.to = IpNetwork::new(*ip, message.header.dst_len).ok();
        }
        RuleAttribute::Iifname(name) => match name.parse() {
            Ok(link) => rule.input = Some(link),
            Err(_) => rule.other_conditions.push(format!("iif {name}")),
        },
        RuleAttribute::Oifname(name) => match name.parse() {
            Ok(link) => rule.output = Some(link),
            Err(_) => rule.other_conditions.push(format!("oif {name}")),
        },
        RuleAttribute::FwMark(value) => {
            rule.mark = Some((*value, rule.mark.map_or(u32::MAX, |(_, mask)| mask)));
        }
        RuleAttribute::FwMask(mask) => {
            rule.mark = Some((rule.mark.map_or(0, |(value, _)| value), *mask));
        }
        // All bits set is the kernel's "none".
        RuleAttribute::SuppressPrefixLen(length) if *length != u32::MAX => {
            rule.suppressed_length = Some(*length);
        }
        RuleAttribute::SuppressIfGroup(group) if *group != u32::MAX => {
            rule.other_conditions.push(format!("suppress_ifgroup {group}"));
        }
        RuleAttribute::IpProtocol(protocol) => {
            rule.other_conditions.push(format!("ipproto {}", u8::from(*protocol)));
        }
        RuleAttribute::SourcePortRange(range) => {
            rule.other_conditions.push(format!("sport {}-{}", range.start, range.end));
        }
        RuleAttribute::DestinationPortRange(range) => {
            rule.other_conditions.push(format!("dport {}-{}", range.start, range.end));
        }
        RuleAttribute::UidRange(range) => {
            rule.other_conditions.push(format!("uidrange {}-{}", range.start, range.end));
        }
        RuleAttribute::TunId(id) => rule.other_conditions.push(format!("tun_id {id}")),
        _ => {}
    }
}
