//! Owns the nftables syntax of our table: sets and chains as `nft -f` reads them. Does not own the
//! transaction around it, nor reading a listing back.

use std::fmt::Write;

use crate::filter::{Chain, FilterRule, FilterTable, Hook, HookKind, HookPoint, PrefixSet};
use crate::owner;
use crate::rule::Family;

/// Elements on one line of a set; keeps lines of generated files short enough to compare.
const ELEMENTS_A_LINE: usize = 4;

/// Returns the table as a `table inet sealane { ... }` block, without comments.
pub fn table_text(table: &FilterTable) -> String {
    table_text_with(table, |_, _, _| None)
}

/// Returns the table as a `table inet sealane { ... }` block; `comment` gives each rule's comment
/// from its chain, its place in it (from 0) and itself.
///
/// Shape: ends with a newline; sets before chains, both by name. A double quote or a control
/// character in a comment is left out, because nft has no way to write one.
pub fn table_text_with(
    table: &FilterTable,
    comment: impl Fn(&str, usize, &FilterRule) -> Option<String>,
) -> String {
    let mut text = format!("table inet {} {{\n", owner::FILTER_TABLE);
    for (name, set) in &table.sets {
        text.push_str(&set_text(name, set));
    }
    for (name, chain) in &table.chains {
        text.push_str(&chain_text(name, chain, &comment));
    }
    text.push_str("}\n");
    text
}

fn set_text(name: &str, set: &PrefixSet) -> String {
    let kind = match set.family {
        Family::V4 => "ipv4_addr",
        Family::V6 => "ipv6_addr",
    };
    let mut text = format!("\tset {name} {{\n\t\ttype {kind}\n\t\tflags interval\n");
    if !set.elements.is_empty() {
        let elements: Vec<_> = set.elements.iter().map(ToString::to_string).collect();
        let lines: Vec<_> = elements.chunks(ELEMENTS_A_LINE).map(|line| line.join(", ")).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "\t\telements = {{ {} }}", lines.join(",\n\t\t\t     "));
    }
    text.push_str("\t}\n");
    text
}

fn chain_text(
    name: &str,
    chain: &Chain,
    comment: &impl Fn(&str, usize, &FilterRule) -> Option<String>,
) -> String {
    let mut text = format!("\tchain {name} {{\n");
    if let Some(hook) = &chain.hook {
        text.push_str(&hook_text(hook));
    }
    for (place, rule) in chain.rules.iter().enumerate() {
        text.push_str("\t\t");
        text.push_str(&rule.0);
        if let Some(comment) = comment(name, place, rule) {
            let quotable = |c: &char| *c != '"' && !c.is_control();
            let comment: String = comment.chars().filter(quotable).collect();
            // Writing to a String cannot fail.
            let _ = write!(text, " comment \"{comment}\"");
        }
        text.push('\n');
    }
    text.push_str("\t}\n");
    text
}

fn hook_text(hook: &Hook) -> String {
    let kind = match hook.kind {
        HookKind::Filter => "filter",
        HookKind::Nat => "nat",
        HookKind::Route => "route",
    };
    let point = match hook.point {
        HookPoint::Prerouting => "prerouting",
        HookPoint::Input => "input",
        HookPoint::Forward => "forward",
        HookPoint::Output => "output",
        HookPoint::Postrouting => "postrouting",
    };
    format!("\t\ttype {kind} hook {point} priority {}; policy accept;\n", hook.priority)
}
