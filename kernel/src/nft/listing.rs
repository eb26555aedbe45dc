//! Owns what `nft -j list table` says of our table. Does not own what was written: a rule in a
//! listing is only a fingerprint until a record says which text it came from.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use sealane_state::filter::{Chain, FilterRule, FilterTable, Hook, HookKind, HookPoint, PrefixSet};
use sealane_state::nft_text::{COMMENT_PREFIX, element_type, hook_kind, hook_point};
use sealane_state::rule::Family;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::nft::NftError;
use crate::nft::record::{RecordedChain, tag};

/// Name of the chain that holds what fits nowhere else; no table that can be wanted has it.
const CHANGED: &str = "# changed by another hand";

/// Our table as it was listed, rules as fingerprints.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Sets of the kind that we make.
    pub(super) sets: BTreeMap<String, PrefixSet>,
    /// Chains.
    pub(super) chains: BTreeMap<String, ListedChain>,
    /// Everything that we never make, as it is shown.
    pub(super) strange: Vec<String>,
}

/// A chain as it was listed.
#[derive(Debug, Default)]
pub(super) struct ListedChain {
    /// Where it is attached, if that can be said in our words.
    pub(super) hook: Option<Hook>,
    /// Rules in order.
    pub(super) rules: Vec<ListedRule>,
}

/// A rule as it was listed.
#[derive(Debug)]
pub(super) struct ListedRule {
    /// The tag in its comment, if it has one of ours.
    pub(super) tag: Option<u64>,
    /// SHA-256 of its expressions as shown, handles and counters left out; lower-case hexadecimal.
    pub(super) shown: String,
    /// The expressions themselves, for people.
    pub(super) text: String,
}

/// Reads a listing of one table.
///
/// # Errors
/// [`NftError::Listing`] when it is not JSON of the shape that `libnftables-json(5)` gives.
pub(super) fn parse(json: &str) -> Result<Listing, NftError> {
    let not_known = |fault: &str| NftError::Listing { fault: fault.to_owned() };
    let whole: Value = serde_json::from_str(json).map_err(|fault| not_known(&fault.to_string()))?;
    let objects = whole["nftables"].as_array().ok_or_else(|| not_known("no list of objects"))?;
    let mut listing = Listing::default();
    for object in objects {
        let (kind, content) = object
            .as_object()
            .and_then(|fields| fields.iter().next())
            .ok_or_else(|| not_known("an object without a kind"))?;
        listing.take(kind, content);
    }
    Ok(listing)
}

/// Makes `table` differ from every table that can be wanted.
pub(super) fn mark_changed(table: &mut FilterTable, shown: &str) {
    let chain = table.chains.entry(CHANGED.to_owned());
    chain.or_insert(Chain { hook: None, rules: Vec::new() }).rules.push(FilterRule::foreign(shown));
}

impl Listing {
    /// Says what is there, with the texts of `recorded` for the rules that stand as written.
    pub(super) fn table(self, recorded: Option<&BTreeMap<String, RecordedChain>>) -> FilterTable {
        let mut table = FilterTable { sets: self.sets, chains: BTreeMap::new() };
        for (name, listed) in self.chains {
            let known = recorded.and_then(|chains| chains.get(&name));
            let rules = listed.rules.iter().map(|rule| written_or_foreign(rule, known)).collect();
            table.chains.insert(name, Chain { hook: listed.hook, rules });
        }
        for shown in self.strange {
            mark_changed(&mut table, &shown);
        }
        table
    }

    /// Says whether each rule looks as one of `known` that has its tag.
    pub(super) fn shows_only(&self, known: &BTreeMap<String, RecordedChain>) -> bool {
        let known: BTreeSet<(u64, &str)> = known
            .values()
            .flat_map(|chain| &chain.rules)
            .map(|rule| (tag(&FilterRule(rule.text.clone())), rule.shown.as_str()))
            .collect();
        let mut rules = self.chains.values().flat_map(|chain| &chain.rules);
        rules.all(|rule| rule.tag.is_some_and(|tag| known.contains(&(tag, rule.shown.as_str()))))
    }

    fn take(&mut self, kind: &str, content: &Value) {
        match kind {
            "metainfo" => {}
            // Flags of a table are shown wrongly by nft 1.0.6; the text listing has them.
            "table" if content.get("flags").is_none() => {}
            "set" => self.take_set(content),
            "chain" => self.take_chain(content),
            "rule" => {
                let chain = self.chains.entry(name_of(content, "chain")).or_default();
                chain.rules.push(listed_rule(content));
            }
            _ => self.strange.push(format!("{kind} {content}")),
        }
    }

    fn take_set(&mut self, content: &Value) {
        match plain_set(content) {
            Some(set) => {
                self.sets.insert(name_of(content, "name"), set);
            }
            None => self.strange.push(format!("set {}", shortened(content))),
        }
    }

    fn take_chain(&mut self, content: &Value) {
        let chain = self.chains.entry(name_of(content, "name")).or_default();
        match content.get("hook") {
            None => {}
            Some(_) => match known_hook(content) {
                Some(hook) => chain.hook = Some(hook),
                None => self.strange.push(format!("chain {content}")),
            },
        }
    }
}

fn name_of(content: &Value, field: &str) -> String {
    content[field].as_str().unwrap_or_default().to_owned()
}

fn written_or_foreign(rule: &ListedRule, known: Option<&RecordedChain>) -> FilterRule {
    known
        .into_iter()
        .flat_map(|chain| &chain.rules)
        .find(|written| {
            rule.tag == Some(tag(&FilterRule(written.text.clone()))) && written.shown == rule.shown
        })
        .map_or_else(|| FilterRule::foreign(&rule.text), |written| FilterRule(written.text.clone()))
}

fn listed_rule(content: &Value) -> ListedRule {
    let tag = content["comment"]
        .as_str()
        .and_then(|comment| comment.strip_prefix(COMMENT_PREFIX))
        .and_then(|digits| u64::from_str_radix(digits, 16).ok());
    let mut expressions = content["expr"].clone();
    strip_counts(&mut expressions);
    let text = expressions.to_string();
    ListedRule { tag, shown: hex(&Sha256::digest(text.as_bytes())), text }
}

/// Takes out what changes by packets passing, at any depth.
fn strip_counts(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, content) in fields.iter_mut() {
                match name.as_str() {
                    "counter" => *content = Value::Null,
                    _ => strip_counts(content),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(strip_counts),
        _ => {}
    }
}

/// Reads a hook; `None` when it is one that we never make.
fn known_hook(content: &Value) -> Option<Hook> {
    const KINDS: [HookKind; 3] = [HookKind::Filter, HookKind::Nat, HookKind::Route];
    const POINTS: [HookPoint; 5] = [
        HookPoint::Prerouting,
        HookPoint::Input,
        HookPoint::Forward,
        HookPoint::Output,
        HookPoint::Postrouting,
    ];
    if content["policy"] != "accept" || content.get("dev").is_some() {
        return None;
    }
    let kind = KINDS.into_iter().find(|kind| content["type"] == hook_kind(*kind))?;
    let point = POINTS.into_iter().find(|point| content["hook"] == hook_point(*point))?;
    let priority = i32::try_from(content["prio"].as_i64()?).ok()?;
    Some(Hook { kind, point, priority })
}

/// Reads a set; `None` when it, or an element of it, is of a kind that we never make.
///
/// Fields that a newer nft adds are passed over: the text listing proves what they could change.
fn plain_set(content: &Value) -> Option<PrefixSet> {
    // A single flag is a text in some versions, a list in others.
    let flags = match &content["flags"] {
        Value::Array(flags) => flags.as_slice(),
        flag => std::slice::from_ref(flag),
    };
    if flags.iter().any(|flag| flag != "interval") {
        return None;
    }
    let family = [Family::V4, Family::V6]
        .into_iter()
        .find(|family| content["type"] == element_type(*family))?;
    let elements = match content.get("elem") {
        None => Some(Default::default()),
        Some(elements) => elements.as_array()?.iter().map(prefix).collect(),
    }?;
    Some(PrefixSet { family, elements })
}

/// Reads an element: a prefix, or an address for a prefix of full length.
fn prefix(element: &Value) -> Option<IpNetwork> {
    if let Some(address) = element.as_str() {
        return address.parse::<IpAddr>().ok().map(IpNetwork::from);
    }
    let address: IpAddr = element["prefix"]["addr"].as_str()?.parse().ok()?;
    let length = u8::try_from(element["prefix"]["len"].as_u64()?).ok()?;
    IpNetwork::new(address, length).ok()
}

fn shortened(content: &Value) -> String {
    const LONGEST: usize = 500;
    content.to_string().chars().take(LONGEST).collect()
}

/// Prints bytes as lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_that_pass_do_not_change_a_rule() {
        let rule = |packets: u32| {
            let counted = format!(
                r#"{{"expr":[{{"counter":{{"packets":{packets},"bytes":9}}}},{{"drop":null}}]}}"#
            );
            listed_rule(&serde_json::from_str(&counted).unwrap()).shown
        };
        assert_eq!(rule(0), rule(7));
    }

    #[test]
    fn a_set_with_a_range_a_timeout_or_another_type_is_not_one_of_ours() {
        let cases = [
            r#"{"name":"s","type":"ipv4_addr","flags":["interval"],"elem":[{"range":["10.0.0.1","10.0.0.3"]}]}"#,
            r#"{"name":"s","type":"ipv4_addr","flags":["interval","timeout"]}"#,
            r#"{"name":"s","type":"ether_addr","flags":["interval"]}"#,
            r#"{"name":"s","type":"ipv4_addr"}"#,
        ];
        for case in cases {
            assert!(plain_set(&serde_json::from_str(case).unwrap()).is_none(), "{case}");
        }
    }
}
