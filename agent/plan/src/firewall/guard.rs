//! Owns what is refused: foreign VXLAN, packets out of a lane that are not for us, transit between
//! lanes, probes from elsewhere. Counters tell how often.

use std::net::IpAddr;

use sealane_state::filter::{FilterTable, HookKind, HookPoint};
use sealane_state::owner;
use sealane_state::rule::Family;

use crate::firewall::{Facts, base, digit, hook, ip, links, links_and_loopback, target};
use crate::ground::FAMILIES;
use crate::prefix;

/// UDP port of probes and TCP port of gossip, inside lanes and legs only.
pub const PROBE_PORT: u16 = 5183;

/// Before connection tracking, where `notrack` works.
const RAW: i32 = -300;

/// After connection tracking, which tells answers to our own probes, and before any DNAT, which
/// hides what the packet was addressed to.
const BEFORE_DNAT: i32 = -190;

/// Between connection tracking and DNAT as well, where others have their mangle chains.
const MANGLE: i32 = -150;

/// Before the input chains of others.
const INPUT: i32 = -10;

/// Adds all guards.
pub fn add(facts: &Facts<'_>, table: &mut FilterTable) {
    if facts.leg.is_some() {
        add_leg(table);
    }
    if !facts.lanes.is_empty() {
        add_lanes(facts, table);
    }
    add_forward(facts, table);
    add_input(facts, table);
}

/// Any pod can send a VXLAN frame with a forged inner source to a node. The outer source tells it
/// apart, unless a CNI masquerades it; a node's own frames are never forwarded, so those that are
/// forwarded are refused as well. Here is where most of it ends; what DNAT brings to the port, or
/// no single host is the destination of, ends in [`leg_input`]. Outer packets have a source port
/// for each inner flow: tracking them would fill the table.
fn add_leg(table: &mut FilterTable) {
    let port = owner::VXLAN_PORT;
    let to_us = format!("udp dport {port} fib daddr type local");
    let mut incoming = Vec::new();
    let mut outgoing = Vec::new();
    for family in FAMILIES {
        let (ip, digit) = (ip(family), digit(family));
        incoming.push(format!("{to_us} {ip} saddr != @nodes{digit} counter drop"));
        outgoing.push(format!("udp dport {port} {ip} daddr @nodes{digit} notrack"));
    }
    incoming.push(format!("{to_us} notrack"));
    let at = |point| hook(HookKind::Filter, point, RAW);
    base(table, "raw_prerouting", at(HookPoint::Prerouting), incoming);
    base(table, "raw_output", at(HookPoint::Output), outgoing);
}

/// What leaves a lane must be for our advertised networks, as addressed by its sender, or a probe
/// or an answer for our probe address.
fn add_lanes(facts: &Facts<'_>, table: &mut FilterTable) {
    let lanes = links(&facts.lane_links());
    let inside = links_and_loopback(&facts.lane_links());
    let mut entry = Vec::new();
    let mut checks = Vec::new();
    for probe in probe_addresses(facts) {
        let ip = ip(prefix::family_of(probe));
        entry.push(format!("{ip} daddr {probe} iifname != {inside} counter drop"));
        checks.push(format!(
            "{ip} daddr {probe} meta l4proto {{ tcp, udp }} th dport {PROBE_PORT} accept"
        ));
        checks.push(format!("{ip} daddr {probe} ct state {{ established, related }} accept"));
    }
    entry.push(format!("iifname {lanes} jump from_lane"));
    checks.extend(FAMILIES.map(|f| format!("{} daddr @local{} accept", ip(f), digit(f))));
    checks.push("counter drop".to_owned());
    let at = hook(HookKind::Filter, HookPoint::Prerouting, BEFORE_DNAT);
    base(table, "lane_prerouting", at, entry);
    target(table, "from_lane".to_owned(), checks);

    if facts.leg.is_some() || facts.lanes.len() > 1 {
        // The two directions of a flow may cross different gateways. A gateway that sees one of them
        // calls it invalid, and kube-proxy drops what is invalid; untracked it passes.
        let ours = links(&facts.our_links());
        let rule = format!("iifname {ours} ct state invalid notrack");
        let at = hook(HookKind::Filter, HookPoint::Prerouting, MANGLE);
        base(table, "half_flows", at, vec![rule]);
    }
}

/// The last look before the leg's socket. A Service may lead to any port of a node: before DNAT its
/// packets had another one. A broadcast is not addressed to us, and the socket takes it all the same.
/// And a pod that may write headers itself takes a node's address for its source: what claims to
/// come from a node must come in by the link that leads there. Hosts on that link itself are told
/// apart by their addresses alone: the segment of the nodes is trusted as far as those go.
fn leg_input() -> Vec<String> {
    let port = format!("udp dport {}", owner::VXLAN_PORT);
    let foreign =
        FAMILIES.map(|f| format!("{port} {} saddr != @nodes{} counter drop", ip(f), digit(f)));
    let astray = format!("{port} fib saddr . iif oif missing counter drop");
    foreign.into_iter().chain([astray]).collect()
}

fn add_forward(facts: &Facts<'_>, table: &mut FilterTable) {
    let mut rules = Vec::new();
    if facts.leg.is_some() {
        rules.push(format!("udp dport {} counter drop", owner::VXLAN_PORT));
    }
    if !facts.lanes.is_empty() {
        let lanes = links(&facts.lane_links());
        rules.push(format!("iifname {lanes} oifname {lanes} counter drop"));
    }
    base(table, "guard_forward", hook(HookKind::Filter, HookPoint::Forward, RAW), rules);
}

fn add_input(facts: &Facts<'_>, table: &mut FilterTable) {
    let mut rules = probe_port(facts);
    if facts.leg.is_some() {
        rules.extend(leg_input());
    }
    base(table, "guard_input", hook(HookKind::Filter, HookPoint::Input, INPUT), rules);
}

/// Probes come out of lanes and legs, or from a node whose host has no IPv6 for the leg.
fn probe_port(facts: &Facts<'_>) -> Vec<String> {
    let inside = links_and_loopback(&facts.our_links());
    let port = format!("meta l4proto {{ tcp, udp }} th dport {PROBE_PORT} iifname != {inside}");
    match facts.leg {
        None => vec![format!("{port} counter drop")],
        Some(_) => FAMILIES
            .map(|f| format!("{port} {} saddr != @nodes{} counter drop", ip(f), digit(f)))
            .to_vec(),
    }
}

/// Returns our addresses inside the lanes, as far as the host has their families.
pub fn probe_addresses(facts: &Facts<'_>) -> Vec<IpAddr> {
    let Some(own) = facts.ground.gateway() else { return Vec::new() };
    let probe4 = own.probe4.filter(|_| facts.ground.offered.contains(&Family::V4));
    let probe = Some(own.probe).filter(|_| facts.ground.offered.contains(&Family::V6));
    probe4.map(IpAddr::from).into_iter().chain(probe.map(IpAddr::from)).collect()
}
