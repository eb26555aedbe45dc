//! Owns the question whether a host is as it was: everything on it that being a member changes, as
//! the operator's own tools print it.

use std::collections::BTreeMap;

use crate::lab::error::LabError;
use crate::lab::host::Host;

/// What is looked at: a name for people, and a script that prints it.
const LOOK: [(&str, &str); 8] = [
    ("links", "ip -o link"),
    ("addresses", "ip -o address"),
    ("rules", "ip rule; ip -6 rule"),
    ("IPv4 routes", "ip -4 route show table all"),
    ("IPv6 routes", "ip -6 route show table all"),
    ("nftables", "nft list ruleset"),
    ("settings", "sysctl -a 2>/dev/null | grep '^net\\.'"),
    (
        "files",
        "find /var/lib/sealane /run/wireguard /run/sealane -type f -o -type s 2>/dev/null || true",
    ),
];

/// Lines that change on an idle host.
const RESTLESS: [&str; 4] =
    ["nf_conntrack_count", "nf_conntrack_buckets", "tcp_fastopen_key", "stable_secret"];

/// Files of a running agent that is no member.
const AT_REST: [&str; 1] = ["/run/sealane/agent.sock"];

/// A host at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traces {
    seen: BTreeMap<&'static str, Vec<String>>,
}

impl Traces {
    /// Looks at a host.
    ///
    /// # Errors
    /// A tool that is not there.
    pub fn of(host: &Host) -> Result<Self, LabError> {
        let look = |(name, script): (&'static str, &str)| {
            let text = host.shell(script)?;
            let lines = text.lines().filter(|line| !RESTLESS.iter().any(|it| line.contains(it)));
            let lines = lines.map(steady).filter(|line| !AT_REST.contains(&line.as_str()));
            let mut lines: Vec<String> = lines.collect();
            if name != "nftables" {
                lines.sort();
            }
            Ok((name, lines))
        };
        Ok(Self { seen: LOOK.into_iter().map(look).collect::<Result<_, LabError>>()? })
    }

    /// Compares a host with itself later.
    ///
    /// # Errors
    /// Every line that is there and was not, or was there and is not.
    pub fn same_as(&self, later: &Self) -> Result<(), String> {
        let mut changed = Vec::new();
        for (name, before) in &self.seen {
            let after = later.seen.get(name).map(Vec::as_slice).unwrap_or_default();
            let gone = before.iter().filter(|line| !after.contains(line));
            let new = after.iter().filter(|line| !before.contains(line));
            changed.extend(gone.map(|line| format!("{name}: gone: {line}")));
            changed.extend(new.map(|line| format!("{name}: new: {line}")));
        }
        if changed.is_empty() { Ok(()) } else { Err(changed.join("\n")) }
    }
}

/// Without life times, counters and the operational state of links, which change by themselves.
fn steady(line: &str) -> String {
    let line = line.split(" expires ").next().unwrap_or_default();
    let is_link = line.contains(" qdisc ");
    let mut words = line.split_whitespace();
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        if matches!(word, "packets" | "bytes") || (is_link && word == "state") {
            words.next();
        } else {
            kept.push(word);
        }
    }
    kept.join(" ")
}
