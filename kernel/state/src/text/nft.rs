//! Owns the nftables layout of our table: sets and chains as `nft -f` reads them. Does not own what
//! may stand in it, the transaction around it, nor reading a listing back.

use std::fmt::Write;

use crate::filter::{Chain, FilterRule, FilterTable, PrefixSet};
use crate::nft_text::{element_type, hook_kind, hook_point};
use crate::owner;

/// Elements on one line of a set; keeps lines of generated files short enough to compare.
const ELEMENTS_A_LINE: usize = 4;

/// Returns the table as a `table inet sealane { ... }` block, without comments.
pub fn table_text(table: &FilterTable) -> String {
    table_text_with(table, |_| None)
}

/// Returns the table as a `table inet sealane { ... }` block; `comment` gives each rule's comment,
/// free of quotes.
///
/// Shape: ends with a newline; sets before chains, both by name.
pub fn table_text_with(
    table: &FilterTable,
    comment: impl Fn(&FilterRule) -> Option<String>,
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
    let kind = element_type(set.family);
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
    comment: &impl Fn(&FilterRule) -> Option<String>,
) -> String {
    let mut text = format!("\tchain {name} {{\n");
    if let Some(hook) = &chain.hook {
        let (kind, point) = (hook_kind(hook.kind), hook_point(hook.point));
        let priority = hook.priority;
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(text, "\t\ttype {kind} hook {point} priority {priority}; policy accept;");
    }
    for rule in &chain.rules {
        text.push_str("\t\t");
        text.push_str(rule.0.trim());
        if let Some(comment) = comment(rule) {
            let _ = write!(text, " comment \"{comment}\"");
        }
        text.push('\n');
    }
    text.push_str("\t}\n");
    text
}
