//! Owns the text that replaces our nftables table whole, in one transaction, and what may stand in
//! it. Does not own its layout, how it reaches the kernel, nor what rules mean.

use std::collections::BTreeSet;

use ipnetwork::IpNetwork;

use crate::filter::{FilterRule, FilterTable, HookKind, HookPoint, PrefixSet};
use crate::rule::Family;
use crate::text::nft;

/// Text that removes our table, whether it is there or not.
pub const REMOVAL: &str = "add table inet sealane\ndelete table inet sealane\n";

/// Start of the comment that every rule of ours carries; the rule's tag follows in hexadecimal.
pub const COMMENT_PREFIX: &str = "sealane:";

/// Names of sets and chains stay below the kernel's limit and inside what nft reads unquoted.
const LONGEST_NAME: usize = 64;

/// Words that nft reads inside a chain as something else than a rule.
const NOT_RULES: [&str; 9] =
    ["include", "define", "redefine", "undefine", "type", "policy", "comment", "devices", "flags"];

/// Why a table cannot be written as nft text; nothing was rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NftTextError {
    /// The name of a set or chain would need quoting, or is too long.
    #[error("nft name {name:?}: must be a letter, then up to 63 letters, digits, '-' or '_'")]
    Name {
        /// The name as it was given.
        name: String,
    },
    /// The rule could end early and start something else.
    #[error("nft rule {rule:?} in chain {chain}: {fault}")]
    Rule {
        /// The chain.
        chain: String,
        /// The rule as it was given.
        rule: String,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// The element is of the other family or has host bits set.
    #[error("nft set {set}: element {element} {fault}")]
    Element {
        /// The set.
        set: String,
        /// The element.
        element: IpNetwork,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// Two elements share addresses, which an interval set refuses.
    #[error("nft set {set}: element {inner} lies inside element {outer}")]
    Overlap {
        /// The set.
        set: String,
        /// The wider element.
        outer: IpNetwork,
        /// The element inside it.
        inner: IpNetwork,
    },
}

/// Renders the text that replaces our table by `table`; nft applies one file as one transaction.
///
/// `tag` numbers a rule; it stands in the rule's comment, so that a listing says which rule of ours
/// it shows.
///
/// # Errors
/// [`NftTextError`] names the first name, rule or element that cannot be written safely.
pub fn replacement(
    table: &FilterTable,
    tag: impl Fn(&FilterRule) -> u64,
) -> Result<String, NftTextError> {
    check(table)?;
    let comment = |rule: &FilterRule| Some(format!("{COMMENT_PREFIX}{:016x}", tag(rule)));
    Ok(format!("{REMOVAL}{}", nft::table_text_with(table, comment)))
}

/// Says whether the table can be written as text in which nothing stands for something else.
///
/// # Errors
/// [`NftTextError`] names the first name, rule or element that cannot.
pub fn check(table: &FilterTable) -> Result<(), NftTextError> {
    check_but_rules(table)?;
    for (name, chain) in &table.chains {
        chain.rules.iter().try_for_each(|rule| check_rule(name, &rule.0))?;
    }
    Ok(())
}

/// As [`check`], for a table that stands and whose rules are not written again.
///
/// # Errors
/// [`NftTextError`] names the first name or element that cannot.
pub fn check_but_rules(table: &FilterTable) -> Result<(), NftTextError> {
    for (name, set) in &table.sets {
        check_elements(checked_name(name)?, set)?;
    }
    table.chains.keys().try_for_each(|name| checked_name(name).map(drop))
}

/// Returns nft's name of the element type of a set.
pub fn element_type(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4_addr",
        Family::V6 => "ipv6_addr",
    }
}

/// Returns nft's name of a chain type.
pub fn hook_kind(kind: HookKind) -> &'static str {
    match kind {
        HookKind::Filter => "filter",
        HookKind::Nat => "nat",
        HookKind::Route => "route",
    }
}

/// Returns nft's name of a hook.
pub fn hook_point(point: HookPoint) -> &'static str {
    match point {
        HookPoint::Prerouting => "prerouting",
        HookPoint::Input => "input",
        HookPoint::Forward => "forward",
        HookPoint::Output => "output",
        HookPoint::Postrouting => "postrouting",
    }
}

fn checked_name(name: &str) -> Result<&str, NftTextError> {
    let tail = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let sound = name.len() <= LONGEST_NAME
        && name.as_bytes().first().is_some_and(u8::is_ascii_alphabetic)
        && name.bytes().all(tail);
    if sound { Ok(name) } else { Err(NftTextError::Name { name: name.to_owned() }) }
}

fn check_elements(name: &str, set: &PrefixSet) -> Result<(), NftTextError> {
    let refused = |element: &IpNetwork, fault| {
        Err(NftTextError::Element { set: name.to_owned(), element: *element, fault })
    };
    for element in &set.elements {
        if element.is_ipv4() != (set.family == Family::V4) {
            return refused(element, "is of the other IP version");
        }
        if element.ip() != element.network() {
            return refused(element, "has bits set beyond its prefix length");
        }
    }
    match overlap(&set.elements) {
        Some((outer, inner)) => Err(NftTextError::Overlap { set: name.to_owned(), outer, inner }),
        None => Ok(()),
    }
}

/// Finds two prefixes of which one contains the other. Sorted by address, then length, a prefix
/// stands before all that it contains, and only the last such one can reach the next.
fn overlap(elements: &BTreeSet<IpNetwork>) -> Option<(IpNetwork, IpNetwork)> {
    let mut sorted: Vec<IpNetwork> = elements.iter().copied().collect();
    sorted.sort_by_key(|element| (element.ip(), element.prefix()));
    sorted.windows(2).find(|pair| pair[0].contains(pair[1].ip())).map(|pair| (pair[0], pair[1]))
}

/// Refuses text that nft could read as more than one rule.
fn check_rule(chain: &str, rule: &str) -> Result<(), NftTextError> {
    match rule_fault(rule) {
        None => Ok(()),
        Some(fault) => {
            Err(NftTextError::Rule { chain: chain.to_owned(), rule: rule.to_owned(), fault })
        }
    }
}

fn rule_fault(rule: &str) -> Option<&'static str> {
    let words: Vec<&str> = rule.split_ascii_whitespace().collect();
    let Some(first) = words.first() else {
        return Some("is empty");
    };
    if NOT_RULES.contains(first) {
        return Some("starts with a word that does not start a rule");
    }
    if words.contains(&"comment") {
        return Some("has a comment, which is ours to write");
    }
    if !rule.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Some("has a character that is not printable ASCII");
    }
    brackets_fault(rule)
}

fn brackets_fault(rule: &str) -> Option<&'static str> {
    let (mut depth, mut quoted) = (0u32, false);
    for byte in rule.bytes() {
        match byte {
            b'"' => quoted = !quoted,
            b';' | b'#' | b'\\' | b'$' | b'`' => {
                return Some("has one of ; # \\ $ ` which rules do not need");
            }
            b'{' if !quoted => depth += 1,
            b'}' if !quoted => match depth.checked_sub(1) {
                Some(less) => depth = less,
                None => return Some("closes a brace that it did not open"),
            },
            _ => {}
        }
    }
    if quoted {
        Some("leaves a quote open")
    } else if depth > 0 {
        Some("leaves a brace open")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::{Chain, Hook};

    #[test]
    fn the_whole_table_is_one_text_that_first_removes_the_old_one() {
        let mut table = FilterTable::default();
        table.sets.insert("remote4".into(), set(Family::V4, &["10.2.0.0/16", "10.3.0.1/32"]));
        table.sets.insert("empty6".into(), set(Family::V6, &[]));
        let hook = Hook { kind: HookKind::Nat, point: HookPoint::Postrouting, priority: 80 };
        table.chains.insert("nat".into(), chain(Some(hook), &["ip saddr @remote4 accept"]));
        table.chains.insert("out1".into(), chain(None, &[]));
        let expected = "\
add table inet sealane
delete table inet sealane
table inet sealane {
\tset empty6 {
\t\ttype ipv6_addr
\t\tflags interval
\t}
\tset remote4 {
\t\ttype ipv4_addr
\t\tflags interval
\t\telements = { 10.2.0.0/16, 10.3.0.1/32 }
\t}
\tchain nat {
\t\ttype nat hook postrouting priority 80; policy accept;
\t\tip saddr @remote4 accept comment \"sealane:0000000000000007\"
\t}
\tchain out1 {
\t}
}
";
        assert_eq!(replacement(&table, |_| 7).unwrap(), expected);
    }

    #[test]
    fn no_name_can_end_its_block() {
        for name in ["", "a b", "1st", "x{", "x\n", "a;b", "é", "#x", &"a".repeat(65)] {
            let mut table = FilterTable::default();
            table.chains.insert(name.into(), chain(None, &[]));
            let refused = NftTextError::Name { name: name.into() };
            assert_eq!(replacement(&table, |_| 0), Err(refused));
        }
    }

    #[test]
    fn no_rule_can_become_two() {
        let hostile = [
            "",
            "  ",
            "accept\n}\ntable inet other {",
            "accept; drop",
            "ip saddr { 10.0.0.0/8",
            "accept } chain x { accept",
            "iifname \"a",
            "accept # rest",
            "include \"/etc/passwd\"",
            "define x = 1",
            "type filter hook input priority 0",
            "policy drop",
            "accept comment \"sealane:0\"",
            "ip saddr $x accept",
            "accept \\",
            "accept\u{a0}",
        ];
        for rule in hostile {
            let mut table = FilterTable::default();
            table.chains.insert("c".into(), chain(None, &[rule]));
            assert!(replacement(&table, |_| 0).is_err(), "{rule:?} was accepted");
        }
    }

    #[test]
    fn braces_count_in_pairs_and_inside_quotes_not_at_all() {
        let sound = [
            "ip saddr { 10.0.0.0/8, 192.0.2.0/24 } accept",
            "ip saddr . tcp dport { { 10.0.0.1 } . 53 } accept",
            "iifname \"a{b\" accept",
            "iifname \"a}b\" accept",
        ];
        for rule in sound {
            let mut table = FilterTable::default();
            table.chains.insert("c".into(), chain(None, &[rule]));
            assert_eq!(check(&table), Ok(()), "{rule:?}");
        }
    }

    #[test]
    fn set_elements_of_the_other_family_with_host_bits_or_inside_each_other_are_refused() {
        let cases = [
            (Family::V4, vec!["fd00::/8"]),
            (Family::V6, vec!["10.0.0.0/8"]),
            (Family::V4, vec!["10.0.0.1/8"]),
            (Family::V4, vec!["10.0.0.0/8", "10.255.255.255/32"]),
            (Family::V6, vec!["::/0", "fd00::/8"]),
        ];
        for (family, elements) in cases {
            let mut table = FilterTable::default();
            table.sets.insert("s".into(), set(family, &elements));
            assert!(replacement(&table, |_| 0).is_err(), "{elements:?} was accepted");
        }
    }

    fn set(family: Family, elements: &[&str]) -> PrefixSet {
        PrefixSet { family, elements: elements.iter().map(|text| text.parse().unwrap()).collect() }
    }

    fn chain(hook: Option<Hook>, rules: &[&str]) -> Chain {
        Chain { hook, rules: rules.iter().map(|rule| FilterRule((*rule).to_owned())).collect() }
    }
}
