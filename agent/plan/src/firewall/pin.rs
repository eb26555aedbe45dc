//! Owns how flows are pinned to exits: marked where they come in, or where they are spread, and the
//! mark put back on each packet before it is routed.

use sealane_state::filter::{FilterTable, HookKind, HookPoint};
use sealane_state::owner;

use crate::firewall::{Facts, base, digit, hook, ip, target};
use crate::ground::FAMILIES;
use crate::steering::{Entry, Exit};

/// After kube-proxy's DNAT at -100, so that the destination is the real one in both directions.
const AFTER_DNAT: i32 = -90;

/// Before everything else that looks at marks.
const FIRST: i32 = -310;

/// Bits of a mark that are not ours.
const FOREIGN_BITS: u32 = !owner::MARK_MASK;

/// Adds the chains that pin and unpin, where the host has exits.
pub fn add(facts: &Facts<'_>, table: &mut FilterTable) {
    let steering = facts.steering;
    if steering.exits.is_empty() {
        return;
    }
    let mut incoming = entries(&steering.exits, table);
    let steer = FAMILIES.map(|f| format!("{} daddr @remote{} jump steer", ip(f), digit(f)));
    incoming.extend_from_slice(&steer);
    let at = |kind, point| hook(kind, point, AFTER_DNAT);
    base(table, "pin_prerouting", at(HookKind::Filter, HookPoint::Prerouting), incoming);
    base(table, "pin_output", at(HookKind::Route, HookPoint::Output), steer.to_vec());
    add_steer(facts, table);
    add_unpin(table);
}

/// Remembers by which exit a flow came in, so that answers leave by it.
fn entries(exits: &[Exit], table: &mut FilterTable) -> Vec<String> {
    let mut by_mac = Vec::new();
    let mut rules = Vec::new();
    for exit in exits {
        let name = format!("entered_{}", exit.number);
        match &exit.entry {
            Entry::Leg(mac) => by_mac.push(format!("{mac} : jump {name}")),
            Entry::Lane(link) => {
                rules.push(format!("iifname \"{link}\" ct direction original jump {name}"));
            }
        }
        target(table, name, vec![set_mark("ct", exit)]);
    }
    if !by_mac.is_empty() {
        let (leg, by_mac) = (owner::VXLAN_LINK, by_mac.join(", "));
        rules.push(format!(
            "iifname \"{leg}\" ct direction original ether saddr vmap {{ {by_mac} }}"
        ));
    }
    rules
}

fn add_steer(facts: &Facts<'_>, table: &mut FilterTable) {
    let steering = facts.steering;
    let leave = |exit: &Exit| format!("{:#010x} : goto leave_{}", exit.mark(), exit.number);
    let marks: Vec<String> = steering.exits.iter().map(leave).collect();
    let mut rules =
        vec![format!("ct mark & {:#010x} vmap {{ {} }}", owner::MARK_MASK, marks.join(", "))];
    let new = "ct state new ct direction original";
    match &steering.fresh[..] {
        [] => {}
        [one] => rules.push(format!("{new} goto choose_{one}")),
        several => {
            let shares: Vec<String> = several
                .iter()
                .enumerate()
                .map(|(place, number)| format!("{place} : goto choose_{number}"))
                .collect();
            let (count, shares) = (several.len(), shares.join(", "));
            rules.push(format!("{new} numgen random mod {count} vmap {{ {shares} }}"));
        }
    }
    target(table, "steer".to_owned(), rules);
    for exit in &steering.exits {
        let number = exit.number;
        target(table, format!("leave_{number}"), vec![set_mark("meta", exit)]);
        if steering.fresh.contains(&number) {
            let pin = vec![set_mark("ct", exit), format!("goto leave_{number}")];
            target(table, format!("choose_{number}"), pin);
        }
    }
}

/// Marks do their work in routing. Left on a packet, one would send its VXLAN packet the same way.
fn add_unpin(table: &mut FilterTable) {
    let (selector, mark) = (owner::MARK_ENCRYPTED_MASK, owner::MARK_GATEWAY_BASE);
    let rule = format!(
        "meta mark & {selector:#010x} == {mark:#010x} meta mark set meta mark & {FOREIGN_BITS:#010x}"
    );
    for (name, point) in
        [("unpin_forward", HookPoint::Forward), ("unpin_postrouting", HookPoint::Postrouting)]
    {
        base(table, name, hook(HookKind::Filter, point, FIRST), vec![rule.clone()]);
    }
}

fn set_mark(of: &str, exit: &Exit) -> String {
    format!("{of} mark set {of} mark & {FOREIGN_BITS:#010x} | {:#010x}", exit.mark())
}
