//! Owns what a failed test prints of each host, in the order an operator would look. Decides nothing.

use std::fmt::Write;
use std::fs;
use std::time::Duration;

use crate::lab::host::Host;

/// Commands whose output is shown where it is not empty.
const LOOK: [&str; 8] = [
    "ip -br address",
    "ip -4 route show table all",
    "ip -6 route show table all",
    "ip -4 rule",
    "ip -6 rule",
    "nft list ruleset",
    "wg show all",
    "bridge fdb show",
];

/// Lines shown of the end of each log.
const LOG_LINES: usize = 60;

/// Routes the kernel makes for every address: noise here.
const NOISE: [&str; 4] = ["local ", "broadcast ", "anycast ", "multicast "];

/// All hosts of a lab as text.
pub fn lab(name: &str, hosts: &[Host]) -> String {
    let mut text = format!("\n######## lab {name}: state of its {} hosts ########\n", hosts.len());
    for host in hosts {
        describe(&mut text, host);
    }
    text.push_str("######## end of lab ########\n");
    text
}

fn describe(text: &mut String, host: &Host) {
    let _ = writeln!(text, "\n======== {} ========", host.name());
    for line in LOOK {
        let mut words = line.split(' ');
        let command = host.command(words.next().unwrap_or_default()).args(words);
        let said = match command.timeout(Duration::from_secs(5)).output() {
            Ok(outcome) if outcome.stdout.is_empty() => outcome.stderr,
            Ok(outcome) => outcome.stdout,
            Err(error) => error.to_string(),
        };
        let telling = |l: &&str| !NOISE.iter().any(|noise| l.starts_with(noise));
        let told = said.lines().filter(telling).collect::<Vec<_>>().join("\n");
        if !told.trim().is_empty() {
            let _ = writeln!(text, "--- {line}\n{told}");
        }
    }
    logs(text, host);
}

fn logs(text: &mut String, host: &Host) {
    let Ok(entries) = fs::read_dir(host.logs()) else { return };
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    for file in files {
        let log = fs::read(&file).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().collect();
        let tail = lines.iter().skip(lines.len().saturating_sub(LOG_LINES));
        let name = file.file_name().unwrap_or_default().display();
        let _ = writeln!(text, "--- log {name} ({} lines)", lines.len());
        for line in tail {
            let _ = writeln!(text, "{line}");
        }
    }
}
