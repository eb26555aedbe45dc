//! Owns which source flows between members have: their own, whatever the cluster would masquerade.

use sealane_state::filter::{FilterTable, HookKind, HookPoint};

use crate::firewall::guard::probe_addresses;
use crate::firewall::{Facts, base, digit, hook, ip, links};
use crate::prefix;

/// Ahead of every masquerade rule at `srcnat` (100). The first chain that binds a flow wins; an
/// `accept` here would not keep a later chain from masquerading, a translation to itself does.
const BEFORE_MASQUERADE: i32 = 80;

/// Adds the chain that binds flows between members to their own source, both ways.
pub fn add(facts: &Facts<'_>, table: &mut FilterTable) {
    let ours = links(&facts.our_links());
    let mut rules = Vec::new();
    for probe in probe_addresses(facts) {
        let ip = ip(prefix::family_of(probe));
        rules.push(format!("oifname {ours} {ip} saddr {probe} snat {ip} to {ip} saddr"));
    }
    for family in &facts.ground.usable {
        let (ip, digit) = (ip(*family), digit(*family));
        let (local, remote) = (format!("@local{digit}"), format!("@remote{digit}"));
        let own = format!("snat {ip} to {ip} saddr");
        rules.push(format!("{ip} saddr {local} {ip} daddr {remote} {own}"));
        rules.push(format!("{ip} saddr {remote} {ip} daddr {local} {own}"));
        // A Service may lead to a process on a node, outside our networks. Masqueraded, its packets
        // would come out of the leg with a source whose route back is another link.
        if let Some(leg) = facts.leg.filter(|_| facts.ground.gateway().is_some()) {
            rules.push(format!("oifname \"{}\" {ip} saddr {remote} {own}", leg.link));
        }
        // A local process that talks to a Service gets its source before DNAT shows that the
        // endpoint is remote: an address of the node, which other members do not accept.
        if let Some(source) = facts.sources.of(*family) {
            rules.push(format!(
                "oifname {ours} {ip} daddr {remote} {ip} saddr != {local} fib saddr type local \
                 snat {ip} to {source}"
            ));
        }
    }
    let at = hook(HookKind::Nat, HookPoint::Postrouting, BEFORE_MASQUERADE);
    base(table, "source_postrouting", at, rules);
}
