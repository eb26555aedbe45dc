//! Owns the proof that our nftables table is written, read back and guarded on a real kernel; every
//! test has a network namespace of its own. Needs root, as `unshare -rn` also gives it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sealane_kernel::nft::{Nft, NftError};
use sealane_state::filter::{Chain, FilterRule, FilterTable, Hook, HookKind, HookPoint, PrefixSet};
use sealane_state::rule::Family;
use tempfile::TempDir;

use crate::common::namespace::enter_network;

#[test]
fn what_was_written_is_read_back_as_it_was_wanted() {
    let mut host = Host::fresh();
    assert_eq!(host.nft.observe().unwrap(), None);
    host.nft.apply(Some(&rich_table())).unwrap();
    assert_eq!(host.nft.observe().unwrap(), Some(rich_table()));

    let mut smaller = rich_table();
    smaller.sets.get_mut("remote4").unwrap().elements.pop_first();
    host.nft.apply(Some(&smaller)).unwrap();
    assert_eq!(host.nft.observe().unwrap(), Some(smaller));

    host.nft.apply(Some(&FilterTable::default())).unwrap();
    assert_eq!(host.nft.observe().unwrap(), Some(FilterTable::default()));
}

/// Tables are changed while packets pass: those that neither table drops arrive, whatever else changes.
#[test]
fn no_packet_is_lost_while_the_table_changes() {
    const CHANGES: usize = 150;
    let mut host = Host::fresh();
    run("ip", &["link", "set", "lo", "up"]);
    let [mut one, mut other] = [FilterTable::default(), FilterTable::default()];
    for (table, more, rules) in [
        (&mut one, "10.2.0.0/16", &["ip daddr @local4 accept", "drop"][..]),
        (&mut other, "10.3.0.0/16", &["ip saddr @more4 drop", "ip daddr @local4 accept", "drop"]),
    ] {
        let hook = Hook { kind: HookKind::Filter, point: HookPoint::Prerouting, priority: -190 };
        table.sets.insert("local4".into(), set(Family::V4, &["127.0.0.0/8"]));
        table.sets.insert("more4".into(), set(Family::V4, &[more]));
        table.chains.insert("from_lane".into(), chain(None, rules));
        table.chains.insert("prerouting".into(), chain(Some(hook), &["jump from_lane"]));
    }
    host.nft.apply(Some(&one)).unwrap();
    let over = AtomicBool::new(false);
    let (sent, lost) = std::thread::scope(|scope| {
        let pings = scope.spawn(|| pings_to_self(&over));
        for table in [&other, &one].into_iter().cycle().take(CHANGES) {
            host.nft.apply(Some(table)).unwrap();
        }
        over.store(true, Ordering::Relaxed);
        pings.join().unwrap()
    });
    eprintln!("{lost} of {sent} packets lost in {CHANGES} changes");
    assert!(sent > 10_000, "{sent}: too few to notice a loss");
    assert_eq!(lost, 0);
}

/// Sends datagrams to itself, one after the other; returns how many, and how many did not arrive.
fn pings_to_self(over: &AtomicBool) -> (u32, u32) {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let (mut sent, mut lost, mut buffer) = (0u32, 0, [0; 8]);
    while !over.load(Ordering::Relaxed) {
        sent += 1;
        socket.send_to(&sent.to_be_bytes(), socket.local_addr().unwrap()).unwrap();
        while match socket.recv(&mut buffer) {
            Ok(4) => buffer[..4] != sent.to_be_bytes(),
            _ => {
                lost += 1;
                false
            }
        } {}
    }
    (sent, lost)
}

#[test]
fn what_stays_of_a_table_keeps_its_counters() {
    let mut host = Host::fresh();
    let mut wanted = rich_table();
    wanted.chains.insert("counted".into(), chain(None, &["counter drop"]));
    host.nft.apply(Some(&wanted)).unwrap();
    let handle = |of: &str| {
        let listing = nft_says("-a list table inet sealane");
        let line = listing.lines().find(|line| line.contains(of)).unwrap();
        line.rsplit(' ').next().unwrap().to_owned()
    };
    let before = handle("counter packets");
    wanted.sets.get_mut("remote4").unwrap().elements.pop_first();
    wanted.chains.get_mut("guard").unwrap().rules.pop();
    wanted.chains.remove("gw2");
    for name in ["steer", "steer_local", "enter"] {
        wanted.chains.get_mut(name).unwrap().rules.clear();
    }
    wanted.sets.remove("nothing6");
    host.nft.apply(Some(&wanted)).unwrap();
    assert_eq!(handle("counter packets"), before, "the rule was written anew");
    assert_eq!(host.nft.observe().unwrap(), Some(wanted));
}

#[test]
fn leaving_removes_our_table_and_its_record_and_may_be_repeated() {
    let mut host = Host::fresh();
    host.nft.apply(Some(&rich_table())).unwrap();
    for _ in 0..2 {
        host.nft.apply(None).unwrap();
        assert_eq!(host.nft.observe().unwrap(), None);
    }
    assert_eq!(nft_says("list ruleset"), "");
    assert_eq!(std::fs::read_dir(host.folder.path()).unwrap().count(), 0);
}

#[test]
fn whatever_another_hand_changes_is_seen_and_then_repaired() {
    let edits = [
        "add rule inet sealane gw1 accept",
        "add rule inet sealane gw1 accept comment \"sealane:0000000000000000\"",
        "insert rule inet sealane guard accept",
        "flush chain inet sealane guard",
        "add chain inet sealane extra",
        "add chain inet sealane extra { type filter hook input priority 0; policy drop; }",
        "add chain inet sealane guard { policy drop; }",
        "add element inet sealane remote4 { 10.77.0.0/16 }",
        "delete element inet sealane remote4 { 10.2.0.0/16 }",
        "delete element inet sealane remote6 { fd00:3::1 }",
        "add set inet sealane more { type ipv4_addr; }",
        "add map inet sealane more { type ipv4_addr : mark; }",
        "add counter inet sealane more",
        "add table inet sealane { flags dormant; }",
    ];
    let mut host = Host::fresh();
    let wanted = rich_table();
    for edit in edits {
        host.nft.apply(Some(&wanted)).unwrap();
        nft_says(edit);
        assert_ne!(host.nft.observe().unwrap().as_ref(), Some(&wanted), "not seen: {edit}");
    }
    host.nft.apply(Some(&wanted)).unwrap();
    assert_eq!(host.nft.observe().unwrap(), Some(wanted));
}

#[test]
fn a_rule_edited_in_place_is_shown_as_foreign_and_the_others_as_ours() {
    let mut host = Host::fresh();
    let wanted = rich_table();
    host.nft.apply(Some(&wanted)).unwrap();
    let listing = nft_says("-a list chain inet sealane guard");
    let line = listing.lines().find(|line| line.contains("ct state invalid")).unwrap();
    let (comment, handle) = (line.split('"').nth(1).unwrap(), line.rsplit(' ').next().unwrap());
    nft_says(&format!(
        "replace rule inet sealane guard handle {handle} ct state new notrack comment \"{comment}\""
    ));

    let seen = host.nft.observe().unwrap().unwrap().chains["guard"].rules.clone();
    let ours = &wanted.chains["guard"].rules;
    let edited = ours.iter().position(|rule| rule.0 == "ct state invalid notrack").unwrap();
    for (position, (seen, ours)) in seen.iter().zip(ours).enumerate() {
        assert_eq!(seen == ours, position != edited, "{seen:?} against {ours:?}");
    }
    assert!(seen[edited].0.contains("another hand"), "{:?}", seen[edited]);
}

#[test]
fn a_table_deleted_by_another_hand_is_gone() {
    let mut host = Host::fresh();
    host.nft.apply(Some(&rich_table())).unwrap();
    nft_says("delete table inet sealane");
    assert_eq!(host.nft.observe().unwrap(), None);
}

#[test]
fn no_other_table_is_touched_even_of_the_same_name_in_another_family() {
    let mut host = Host::fresh();
    nft_says("table ip sealane { chain a { ip saddr 10.0.0.1 drop; }; }");
    nft_says("table inet kube-proxy { set s { type ipv4_addr; }; chain b { accept; }; }");
    let before = nft_says("-a list ruleset");
    host.nft.apply(Some(&rich_table())).unwrap();
    host.nft.apply(None).unwrap();
    assert_eq!(nft_says("-a list ruleset"), before);
}

#[test]
fn a_new_agent_adopts_the_table_without_rewriting_it() {
    let mut host = Host::fresh();
    host.nft.apply(Some(&rich_table())).unwrap();
    let before = nft_says("-a list table inet sealane");
    let mut restarted = Nft::open(host.folder.path());
    assert_eq!(restarted.observe().unwrap(), Some(rich_table()));
    assert_eq!(nft_says("-a list table inet sealane"), before);
    let record = host.folder.path().join("nft.json");
    assert_eq!(record.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn without_a_record_or_with_a_spoilt_one_the_table_counts_as_changed() {
    let mut host = Host::fresh();
    host.nft.apply(Some(&rich_table())).unwrap();
    let elsewhere = TempDir::new().unwrap();
    let mut stranger = Nft::open(elsewhere.path());
    assert_ne!(stranger.observe().unwrap(), Some(rich_table()));

    std::fs::write(host.folder.path().join("nft.json"), "{\"listing\":").unwrap();
    let mut restarted = Nft::open(host.folder.path());
    assert_ne!(restarted.observe().unwrap(), Some(rich_table()));
    restarted.apply(Some(&rich_table())).unwrap();
    assert_eq!(restarted.observe().unwrap(), Some(rich_table()));
}

#[test]
fn packets_that_pass_do_not_look_like_a_change() {
    let mut host = Host::fresh();
    let mut table = FilterTable::default();
    let hook = Hook { kind: HookKind::Filter, point: HookPoint::Output, priority: 0 };
    table.chains.insert("seen".into(), chain(Some(hook), &["counter accept"]));
    host.nft.apply(Some(&table)).unwrap();
    run("ip", &["link", "set", "lo", "up"]);
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(b"x", socket.local_addr().unwrap()).unwrap();
    assert!(!nft_says("list table inet sealane").contains("packets 0"), "nothing was counted");
    assert_eq!(host.nft.observe().unwrap(), Some(table));
}

#[test]
fn ten_thousand_prefixes_are_written_and_read_back_at_once() {
    let mut host = Host::fresh();
    let mut table = FilterTable::default();
    let (mut four, mut six) = (Vec::new(), Vec::new());
    for number in 0..5_000 {
        four.push(format!("10.{}.{}.0/24", number / 250, number % 250));
        six.push(format!("fd00:{number:x}::/64"));
    }
    table.sets.insert("remote4".into(), set(Family::V4, &four));
    table.sets.insert("remote6".into(), set(Family::V6, &six));
    let start = Instant::now();
    host.nft.apply(Some(&table)).unwrap();
    assert_eq!(host.nft.observe().unwrap(), Some(table));
    // Far above what it takes, far below what one command for each element would.
    assert!(start.elapsed() < Duration::from_secs(5), "took {:?}", start.elapsed());
    eprintln!("10,000 elements: written, verified and read back in {:?}", start.elapsed());
}

#[test]
fn a_refused_table_leaves_the_old_one_and_says_why() {
    let mut host = Host::fresh();
    host.nft.apply(Some(&rich_table())).unwrap();
    let mut broken = rich_table();
    broken.chains.get_mut("gw1").unwrap().rules.push(FilterRule("jump nowhere".into()));
    let fault = host.nft.apply(Some(&broken)).unwrap_err();
    assert!(matches!(&fault, NftError::Refused { said, .. } if said.contains("Error:")), "{fault}");
    assert_eq!(host.nft.observe().unwrap(), Some(rich_table()));
}

#[test]
fn a_rule_edited_while_we_write_is_not_taken_for_ours() {
    let mut host = Host::fresh();
    let mut wanted = FilterTable::default();
    wanted.chains.insert("only".into(), chain(None, &["ip daddr 192.0.2.1 drop"]));
    host.nft = host.nft_by(
        "[ \"$1\" = -f ] && [ ! -e $0.done ] && touch $0.done && \
         nft -a list chain inet sealane only | sed -n \
         's/.*comment \\(.*\\) # handle \\(.*\\)/replace rule inet sealane only handle \\2 accept comment \\1/p' \
         | nft -f -",
    );
    host.nft.apply(Some(&wanted)).unwrap();
    assert!(host.folder.path().join("nft.done").exists(), "no other hand came between");
    assert_eq!(host.nft.observe().unwrap(), Some(wanted));
    assert!(nft_says("list table inet sealane").contains("drop"));
}

/// Prefixes that join and part, up to the end of each family's addresses.
#[test]
fn a_set_is_aggregated_and_split_in_place() {
    let wide = ["10.2.0.0/15", "254.0.0.0/7", "fd00:2::/31", "fe00::/7"];
    let narrow = [
        "10.2.0.0/16",
        "10.3.0.0/16",
        "254.0.0.0/8",
        "255.0.0.0/8",
        "fd00:2::/32",
        "fd00:3::/32",
        "fe00::/8",
        "ff00::/8",
    ];
    let table = |prefixes: &[&str]| {
        let of = |six| {
            prefixes.iter().filter(|text| text.contains(':') == six).copied().collect::<Vec<_>>()
        };
        let mut table = FilterTable::default();
        table.sets.insert("remote4".into(), set(Family::V4, &of(false)));
        table.sets.insert("remote6".into(), set(Family::V6, &of(true)));
        let rules = ["ip daddr @remote4 drop", "ip6 daddr @remote6 drop"];
        table.chains.insert("only".into(), chain(None, &rules));
        table
    };
    let mut host = Host::fresh();
    host.nft.apply(Some(&table(&wide))).unwrap();
    let before = handles();
    for prefixes in [&narrow[..], &wide, &narrow] {
        host.nft.apply(Some(&table(prefixes))).unwrap();
        assert_eq!(host.nft.observe().unwrap(), Some(table(prefixes)));
        assert_eq!(handles(), before, "written whole for {prefixes:?}");
    }
}

#[test]
fn a_foreign_transaction_behind_an_edit_has_nothing_written_whole() {
    let mut host = Host::fresh();
    host.nft.apply(Some(&rich_table())).unwrap();
    let table = table_handle();
    let mut fewer = rich_table();
    fewer.sets.get_mut("remote4").unwrap().elements.pop_first();
    fewer.chains.get_mut("guard").unwrap().rules.pop();
    let mut more = fewer.clone();
    more.chains.get_mut("guard").unwrap().rules.push(FilterRule("ip protocol 253 drop".into()));
    for wanted in [fewer, more] {
        host.nft = host.nft_by(&format!("{} && nft add table inet theirs", once("-f")));
        let before = handles();
        host.nft.apply(Some(&wanted)).unwrap();
        assert!(host.folder.path().join("nft.done").exists(), "no other hand came between");
        assert_eq!(host.nft.observe().unwrap(), Some(wanted));
        assert_eq!(table_handle(), table, "written whole");
        let rewritten = before.difference(&handles()).count();
        assert!(rewritten <= GUARD.len(), "{rewritten} rules beside those of the edited chain");
        std::fs::remove_file(host.folder.path().join("nft.done")).unwrap();
    }
}

#[test]
fn what_another_hand_does_behind_an_edit_is_not_taken_for_ours() {
    let replaced = "nft -a list chain inet sealane guard | sed -n \
         's/.*notrack comment \\(.*\\) # handle \\(.*\\)/replace rule inet sealane guard handle \\2 accept comment \\1/p' \
         | nft -f -";
    let dormant = "nft 'add table inet sealane { flags dormant; }'";
    let removed = "nft delete table inet sealane";
    for (after, deed) in
        [("-f", replaced), ("-s", replaced), ("-f", dormant), ("-s", dormant), ("-f", removed)]
    {
        let mut host = Host::fresh();
        host.nft.apply(Some(&rich_table())).unwrap();
        host.nft = host.nft_by(&format!("{} && {deed}", once(after)));
        let mut wanted = rich_table();
        wanted.sets.get_mut("remote4").unwrap().elements.pop_first();
        host.nft.apply(Some(&wanted)).unwrap();
        assert!(host.folder.path().join("nft.done").exists(), "no other hand came between");
        assert_eq!(host.nft.observe().unwrap(), Some(wanted.clone()), "{deed}");
        let listing = nft_says("list table inet sealane");
        assert_eq!(listing.matches("notrack").count(), 3, "{after} {deed}: {listing}");
        assert!(!listing.contains("dormant"), "{after} {deed}");
    }
}

#[test]
fn a_record_that_no_longer_can_be_written_keeps_nothing_from_being_written() {
    let mut host = Host::fresh();
    host.nft.apply(Some(&rich_table())).unwrap();
    let path = host.folder.path().join("nft.json");
    let record = std::fs::read_to_string(&path).unwrap();
    let old = record.replace("ct state invalid notrack", "ct state invalid notrack; accept");
    assert_ne!(old, record);
    std::fs::write(&path, old).unwrap();
    let mut restarted = Nft::open(host.folder.path());
    assert_ne!(restarted.observe().unwrap(), Some(rich_table()));
    restarted.apply(Some(&rich_table())).unwrap();
    assert_eq!(restarted.observe().unwrap(), Some(rich_table()));
}

#[test]
fn an_nft_that_does_not_answer_is_ended_and_said_to_be_slow() {
    let mut host = Host::fresh();
    host.nft = host.nft_by("echo $$ > $0.pid; sleep 1000");
    let began = Instant::now();
    let fault = host.nft.apply(Some(&rich_table())).unwrap_err();
    assert!(matches!(fault, NftError::Slow { .. }), "{fault}");
    assert!(began.elapsed() < Duration::from_secs(8), "took {:?}", began.elapsed());
    let pid = std::fs::read_to_string(host.folder.path().join("nft.pid")).unwrap();
    let process = Path::new("/proc").join(pid.trim());
    let deadline = Instant::now() + Duration::from_secs(5);
    while process.exists() {
        assert!(Instant::now() < deadline, "it still runs");
        std::thread::yield_now();
    }
    // It was ended behind a transaction that stands.
    host.nft = Nft::open(host.folder.path());
    host.nft.apply(Some(&rich_table())).unwrap();
    assert_eq!(host.nft.observe().unwrap(), Some(rich_table()));
}

#[test]
fn a_host_whose_rules_never_stand_still_is_reported() {
    let mut host = Host::fresh();
    host.nft = host.nft_by("nft add table inet theirs; nft delete table inet theirs");
    let fault = host.nft.apply(Some(&FilterTable::default())).unwrap_err();
    assert!(matches!(fault, NftError::NotAsWritten), "{fault}");
}

#[test]
fn while_nobody_changes_a_rule_nft_is_not_run() {
    let mut host = Host::fresh();
    let wanted = rich_table();
    host.nft.apply(Some(&wanted)).unwrap();
    host.nft = host.nft_by("echo >> $0.runs");
    let runs = host.folder.path().join("nft.runs");
    let count = || std::fs::read_to_string(&runs).unwrap_or_default().len();
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let before = count();
        assert_eq!(host.nft.observe().unwrap().as_ref(), Some(&wanted));
        if count() == before {
            break;
        }
        assert!(Instant::now() < deadline, "nft is run at every look");
    }
    nft_says("add table inet theirs");
    let before = count();
    assert_eq!(host.nft.observe().unwrap().as_ref(), Some(&wanted));
    assert!(count() > before, "another generation was taken for the same");
    nft_says("flush chain inet sealane guard");
    assert_ne!(host.nft.observe().unwrap(), Some(wanted));
}

#[test]
fn a_host_without_nft_is_told_which_package_to_install() {
    let folder = TempDir::new().unwrap();
    let mut nft = Nft::with_program(folder.path(), Path::new("/nonexistent/nft"));
    let said = nft.observe().unwrap_err().to_string();
    assert_eq!(
        said,
        "nft: /nonexistent/nft not found; install the package nftables (1.0.6 or newer)"
    );
}

/// A network namespace with nothing in it.
struct Host {
    nft: Nft,
    folder: TempDir,
}

impl Host {
    fn fresh() -> Self {
        enter_network();
        let folder = TempDir::new().unwrap();
        Self { nft: Nft::open(folder.path()), folder }
    }

    /// An `nft` that another hand follows: after each run it does `then`, where `$0` is its path.
    fn nft_by(&self, then: &str) -> Nft {
        let program = self.folder.path().join("nft");
        let script = format!("#!/bin/sh\nnft \"$@\"; status=$?\n{then}\nexit $status\n");
        // Written by another process: a test beside this one that forks while the file is open
        // for writing would make it busy.
        let write = "printf %s \"$1\" > \"$2\" && chmod 755 \"$2\"";
        run("sh", &["-c", write, "sh", &script, program.to_str().unwrap()]);
        Nft::with_program(self.folder.path(), &program)
    }
}

/// A condition of the shell that holds once, for an `nft` whose first argument is this one.
fn once(first: &str) -> String {
    format!("[ \"$1\" = {first} ] && [ ! -e $0.done ] && touch $0.done")
}

/// Handles of all rules of our table: those of rules that are not written again stay.
fn handles() -> BTreeSet<String> {
    let listing = nft_says("-a list table inet sealane");
    let rules = listing.lines().filter(|line| line.contains("comment \"sealane:"));
    rules.filter_map(|line| Some(line.rsplit_once("# handle ")?.1.to_owned())).collect()
}

/// Handle of our table: another one is another table.
fn table_handle() -> String {
    nft_says("-a list table inet sealane").lines().next().unwrap().to_owned()
}

/// Runs one nft command as another hand would; options stand first.
fn nft_says(command: &str) -> String {
    match command.strip_prefix("-a ") {
        Some(command) => run("nft", &["-a", command]),
        None => run("nft", &[command]),
    }
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// A table with every kind of rule that a gateway and a node need.
fn rich_table() -> FilterTable {
    let hook = |kind, point, priority| Some(Hook { kind, point, priority });
    let (raw, mangle) = (-300, -150);
    let mut table = FilterTable::default();
    for (name, family, elements) in [
        ("local4", Family::V4, vec!["10.1.0.0/16", "192.168.50.21/32"]),
        ("remote4", Family::V4, vec!["10.2.0.0/16", "10.3.0.0/25", "10.3.0.128/25", "10.4.0.1/32"]),
        ("everything4", Family::V4, vec!["0.0.0.0/0"]),
        ("local6", Family::V6, vec!["fd00:1::/64"]),
        ("remote6", Family::V6, vec!["fd00:2::/48", "fd00:3::1/128", "::ffff:10.0.0.0/104"]),
        ("nothing6", Family::V6, vec![]),
    ] {
        table.sets.insert(name.into(), set(family, &elements));
    }
    for (name, hook, rules) in [
        ("guard", hook(HookKind::Filter, HookPoint::Prerouting, raw), GUARD),
        ("untrack", hook(HookKind::Filter, HookPoint::Output, raw), &["udp dport 4801 notrack"]),
        ("enter", hook(HookKind::Filter, HookPoint::Prerouting, mangle), ENTER),
        ("steer", hook(HookKind::Filter, HookPoint::Prerouting, -90), STEER),
        ("steer_local", hook(HookKind::Route, HookPoint::Output, -90), STEER),
        ("clamp", hook(HookKind::Filter, HookPoint::Forward, mangle), CLAMP),
        ("keep_source", hook(HookKind::Nat, HookPoint::Postrouting, 80), KEEP_SOURCE),
        ("gw1", None, &["ct mark set ct mark and 0xffffcf80 or 0x1001"]),
        ("gw2", None, &["ct mark set ct mark and 0xffffcf80 or 0x1002"]),
        ("out1", None, &["meta mark set meta mark and 0xffffcf80 or 0x1001", "return"]),
    ] {
        table.chains.insert(name.into(), chain(hook, rules));
    }
    table
}

const GUARD: &[&str] = &[
    "udp dport 4801 fib daddr type local ip saddr != @local4 drop",
    "udp dport 4801 fib daddr type local ip6 saddr != @local6 drop",
    "udp dport 4801 notrack",
    "iifname { \"sealane0\", \"sealane-vx\" } ct state established,related accept",
    "ct state invalid notrack",
];
const ENTER: &[&str] = &[
    "iifname \"sealane-vx\" ct direction original ether saddr vmap { 02:5e:a1:00:00:01 : jump gw1, 02:5e:a1:00:00:02 : jump gw2 }",
];
const STEER: &[&str] = &[
    "ct state new ct mark and 0x307f == 0 ip daddr @remote4 numgen random mod 2 vmap { 0 : jump gw1, 1 : jump gw2 }",
    "ct state new ct mark and 0x307f == 0 ip6 daddr @remote6 numgen random mod 2 vmap { 0 : jump gw1, 1 : jump gw2 }",
    "ct mark and 0x307f vmap { 0x1001 : jump out1 }",
];
const CLAMP: &[&str] = &[
    "oifname \"sealane-vx\" tcp flags syn tcp option maxseg size set rt mtu",
    "iifname \"sealane-vx\" tcp flags syn tcp option maxseg size set rt mtu",
];
const KEEP_SOURCE: &[&str] = &[
    "ip saddr @local4 ip daddr @remote4 snat ip to ip saddr",
    "ip saddr @remote4 ip daddr @local4 snat ip to ip saddr",
    "ip6 saddr @local6 ip6 daddr @remote6 snat ip6 to ip6 saddr",
    "ip6 saddr @remote6 ip6 daddr @local6 snat ip6 to ip6 saddr",
    "oifname \"sealane-vx\" ip daddr @remote4 ip saddr != @local4 snat ip to 10.1.0.0",
];

fn set<T: AsRef<str>>(family: Family, elements: &[T]) -> PrefixSet {
    let elements = elements.iter().map(|text| text.as_ref().parse().unwrap()).collect();
    PrefixSet { family, elements }
}

fn chain(hook: Option<Hook>, rules: &[&str]) -> Chain {
    Chain { hook, rules: rules.iter().map(|rule| FilterRule((*rule).to_owned())).collect() }
}
