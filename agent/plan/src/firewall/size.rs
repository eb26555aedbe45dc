//! Owns the largest TCP segment of forwarded flows: what the route carries, told in the handshake.

use sealane_state::filter::{FilterTable, HookKind, HookPoint};

use crate::firewall::{Facts, base, hook, links};

/// nft's `mangle`.
const MANGLE: i32 = -150;

/// Adds the clamp for both directions; the route's MTU alone does not reach forwarded handshakes.
pub fn add(facts: &Facts<'_>, table: &mut FilterTable) {
    let ours = links(&facts.our_links());
    let clamp = "tcp flags syn tcp option maxseg size set rt mtu";
    let rules = ["oifname", "iifname"].map(|side| format!("{side} {ours} {clamp}"));
    let at = hook(HookKind::Filter, HookPoint::Forward, MANGLE);
    base(table, "segment_forward", at, rules.to_vec());
}
