//! Owns the tests of a lab's end: whatever ends the program that built it, nothing of it remains.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sealane_tests::lab::wait::until;
use sealane_tests::lab::world::built;

const SOON: Duration = Duration::from_secs(20);

/// A process, by its number and its start: numbers are used again.
type Member = (u32, String);

/// The example program in a mode, with a folder of its own for its labs.
struct Program {
    child: Child,
    labs: tempfile::TempDir,
    output: BufReader<std::process::ChildStdout>,
    members: BTreeSet<Member>,
}

fn example(mode: &str, labs: &Path) -> Command {
    // Examples are built beside the tests, whichever programs the lab runs.
    let tests = std::env::current_exe().unwrap();
    let example = tests.ancestors().nth(2).unwrap().join("examples/two-hosts");
    assert!(example.exists(), "{}: `cargo build --examples` makes it", example.display());
    let dir = built("lab-holder").unwrap().parent().unwrap().to_owned();
    let mut command = Command::new(example);
    command.arg(mode).env("SEALANE_LAB_DIR", labs).env("SEALANE_BIN", dir);
    command
}

/// Starts it and waits until its hosts are up.
fn start(mode: &str, variables: &[(&str, &str)]) -> Program {
    let labs = tempfile::tempdir().unwrap();
    let mut child = example(mode, labs.path())
        .envs(variables.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    let Some(pids) = line.strip_prefix("up ") else {
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        panic!("{mode} did not come up: {line}{said}");
    };
    // Only processes pin a lab's namespaces, so these are all there is to end. A panicking lab may
    // have ended already.
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let members = pids.split_whitespace().find_map(namespace).map(|own| processes_in(&own));
    Program { child, labs, output, members: members.unwrap_or_default() }
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn member(pid: u32) -> Option<Member> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Field 22 of proc(5); the name, field 2, may have spaces but ends with the last parenthesis.
    Some((pid, stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.to_owned()))
}

fn processes_in(namespace: &Path) -> BTreeSet<Member> {
    let inside =
        |pid: &u32| fs::read_link(format!("/proc/{pid}/ns/pid")).is_ok_and(|n| n == namespace);
    pids().filter(inside).filter_map(member).collect()
}

fn are_alive(members: &BTreeSet<Member>) -> bool {
    members.iter().any(|known| member(known.0).as_ref() == Some(known))
}

fn processes_of(labs: &Path) -> usize {
    let labs = labs.as_os_str().as_encoded_bytes();
    let mentions = |cmdline: &[u8]| cmdline.windows(labs.len()).any(|window| window == labs);
    pids()
        .filter(|pid| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|c| mentions(&c)))
        .count()
}

fn nothing_remains(program: &Program) {
    let labs = program.labs.path();
    until(SOON, "the lab's folder is gone", || fs::read_dir(labs).unwrap().count() == 0).unwrap();
    until(SOON, "its processes are gone", || processes_of(labs) == 0).unwrap();
    until(SOON, "all that ran in it is gone", || !are_alive(&program.members)).unwrap();
}

#[test]
fn a_lab_that_is_dropped_leaves_nothing() {
    let mut program = start("", &[]);
    assert!(program.child.wait().unwrap().success());
    // Dropping waits: all is gone once the program has ended.
    assert_eq!(fs::read_dir(program.labs.path()).unwrap().count(), 0);
    nothing_remains(&program);
}

#[test]
fn a_program_killed_leaves_nothing() {
    for variables in [&[][..], &[("SEALANE_LAB_USERNS", "1")]] {
        let mut program = start("hang", variables);
        // Process 1, three keepers and a daemon that left its parent.
        assert!(program.members.len() >= 5 && are_alive(&program.members));
        assert!(processes_of(program.labs.path()) > 0);
        program.child.kill().unwrap();
        program.child.wait().unwrap();
        nothing_remains(&program);
    }
}

#[test]
fn a_panic_shows_every_host_and_leaves_nothing() {
    let mut program = start("panic", &[]);
    let mut said = String::new();
    program.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(!program.child.wait().unwrap().success());
    for expected in [
        "the moon is full: not after 200ms; last: it is a crescent",
        "======== left ========",
        "======== right ========",
        "192.0.2.0/24 dev eth0",
        "2001:db8::/64 dev eth0",
        "--- ip -4 rule",
        "--- log sh-0.log (1 lines)\na log line",
    ] {
        assert!(said.contains(expected), "{expected:?} is not in:\n{said}");
    }
    nothing_remains(&program);
}

#[test]
fn a_kept_lab_stays_for_looking_around_until_it_is_removed() {
    for variables in [&[][..], &[("SEALANE_LAB_USERNS", "1")]] {
        let mut program = start("keep", variables);
        let mut said = String::new();
        program.output.read_to_string(&mut said).unwrap();
        assert!(program.child.wait().unwrap().success());
        let usage =
            |line: &'_ str| line.trim().strip_suffix(" HOST [COMMAND...]").map(str::to_owned);
        let enter = said.lines().find_map(usage).unwrap();
        assert!(said.lines().any(|line| line.starts_with("hosts: ") && line.contains(" left")));
        let entered = Command::new(&enter).args(["left", "ip", "address"]).output().unwrap();
        let shown = String::from_utf8_lossy(&entered.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&entered.stderr);
        assert!(shown.contains("192.0.2.1/24"), "{said}: {shown}{complaint}");
        let ping = Command::new(&enter).args(["left", "ping", "-nc1", "2001:db8::2"]).output();
        assert!(ping.unwrap().status.success());
        let removed = example("remove", program.labs.path()).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&removed.stdout), "removed 1\n");
        nothing_remains(&program);
    }
}
