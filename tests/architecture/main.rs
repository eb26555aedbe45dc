//! Owns the shape of the tree: that ARCHITECTURE.md's map is true, what pure crates must not touch,
//! how large a file and a function may grow. Does not test behaviour.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod faults;
mod map;
mod reading;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, MetadataCommand};
use map::{Imports, rooms, root};
use reading::Reading;

/// What a pure crate must not reach, itself or anything below it.
const IMPURE_PATHS: &[&str] = &[
    "std::env",
    "std::fs",
    "std::io::stderr",
    "std::io::stdin",
    "std::io::stdout",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::ToSocketAddrs",
    "std::net::UdpSocket",
    "std::os",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::time::UNIX_EPOCH",
    "getrandom",
    "libc",
    "nix",
    "rand",
    "socket2",
    "tokio",
    "tracing",
];

/// Imports that would hide which of these are meant.
const VEILS: &[&str] = &["std", "std::*", "std::io::*", "std::net::*", "std::time::*"];

/// Macros that print, or read the environment of the build.
const IMPURE_MACROS: &[&str] =
    &["dbg", "env", "eprint", "eprintln", "option_env", "print", "println"];

/// Third-party crates that a pure crate must not depend on.
const IMPURE_CRATES: &[&str] = &[
    "axum",
    "getrandom",
    "hyper",
    "libc",
    "nix",
    "rand",
    "rtnetlink",
    "socket2",
    "tokio",
    "tracing",
];

/// The only files of tests that sleep, and why.
const SLEEPERS: &[&str] = &[
    // Waiting for a condition, with a deadline.
    "tests/src/lab/wait.rs",
    "tests/src/lab/holder/jobs.rs",
    "kernel/tests/lab/mod.rs",
    "kernel/tests/common/wait.rs",
    "broker/tests/server/support.rs",
    "agent/tests/agent/host.rs",
    // A timer that is the subject.
    "agent/tests/agent/pings.rs",
    // A pace that is the subject.
    "tests/src/traffic/flow.rs",
    "tests/src/interop/flood.rs",
    // A moment chosen by chance.
    "broker/tests/server/durability.rs",
];

const LARGEST_FILE: usize = 600;
const LARGEST_FUNCTION: usize = 70;
/// Fewer mean that this looks in the wrong place.
const FEWEST_FILES: usize = 300;

#[test]
fn crates_are_where_the_map_says_and_import_what_it_says() {
    let metadata = MetadataCommand::new().no_deps().exec().unwrap();
    let rooms = rooms();
    let libraries: BTreeSet<String> = rooms.iter().map(|room| room.name.clone()).collect();
    let names: BTreeSet<String> = metadata.packages.iter().map(|it| it.name.to_string()).collect();
    assert_eq!(names, libraries, "the workspace and ARCHITECTURE.md list different crates");
    for room in &rooms {
        let package = metadata.packages.iter().find(|it| it.name == room.name.as_str()).unwrap();
        let home = root().join(&room.home);
        assert_eq!(package.manifest_path, home.join("Cargo.toml"), "{}", room.name);
        assert!(home.join("README.md").exists(), "{} has no README.md", room.home);
        let ours = package
            .dependencies
            .iter()
            .filter(|it| it.kind == DependencyKind::Normal && it.name.starts_with("sealane-"));
        let ours: BTreeSet<String> = ours.map(|it| it.name.clone()).collect();
        match &room.imports {
            Imports::Just(said) => assert_eq!(ours, *said, "{} imports", room.name),
            Imports::RoomsBelow => {
                let above = ["sealane-tests", "sealane-cli"].map(str::to_owned);
                assert!(ours.is_disjoint(&above.into()), "{} imports {ours:?}", room.name);
            }
            Imports::Anything => {}
        }
        let foreign = package.dependencies.iter().filter(|it| it.name.contains("netlink"));
        assert!(
            ["sealane-kernel", "sealane-tests"].contains(&room.name.as_str())
                || foreign.count() == 0,
            "{} knows netlink",
            room.name
        );
    }
}

#[test]
fn pure_crates_touch_no_clock_socket_file_or_environment() {
    let metadata = MetadataCommand::new().no_deps().exec().unwrap();
    let pure: Vec<_> = rooms().into_iter().filter(map::Room::is_pure).collect();
    assert!(pure.len() >= 7, "{pure:?}");
    for room in pure {
        let package = metadata.packages.iter().find(|it| it.name == room.name.as_str()).unwrap();
        let normal = package.dependencies.iter().filter(|it| it.kind == DependencyKind::Normal);
        for dependency in normal {
            let name = dependency.name.as_str();
            assert!(!IMPURE_CRATES.contains(&name), "pure crate {} depends on {name}", room.name);
        }
        let mut problems = Vec::new();
        for file in rust_files(&root().join(&room.home).join("src")) {
            if file.components().any(|part| part.as_os_str() == "bin") {
                continue;
            }
            let text = fs::read_to_string(&file).unwrap();
            let impure = impurities(&Reading::without_tests(&text).unwrap());
            problems.extend(impure.iter().map(|it| format!("{} names {it}", file.display())));
        }
        assert!(problems.is_empty(), "{}", problems.join("\n"));
    }
}

#[test]
fn types_stay_in_the_one_file_that_is_theirs() {
    let secrets = ["SigningSeed", "TunnelSeed", "PairSecret", "Psk"];
    let secrets = secrets.map(|name| format!("sealane_api::keys::{name}"));
    for file in all_rust_files() {
        let below = file.strip_prefix(root()).unwrap();
        let reading = Reading::without_tests(&fs::read_to_string(&file).unwrap()).unwrap();
        if below.starts_with("agent/plan/src") && !below.ends_with("intake.rs") {
            let crd = reading.paths.iter().find(|path| is_at_or_below(path, "sealane_api"));
            assert_eq!(crd, None, "{}", below.display());
        }
        if below.starts_with("agent/src") && !below.ends_with("keys.rs") {
            let secret = reading.paths.iter().find(|path| {
                secrets.iter().any(|secret| is_at_or_below(path, secret))
                    || *path == "sealane_api::keys::*"
            });
            assert_eq!(secret, None, "{}", below.display());
        }
    }
}

#[test]
fn every_file_says_what_it_owns_and_stays_readable() {
    let mut problems = Vec::new();
    for file in all_rust_files() {
        let text = fs::read_to_string(&file).unwrap();
        let lines = text.lines().count();
        let name = file.display();
        if !text.starts_with("//!") {
            problems.push(format!("{name}: does not open with `//!`"));
        }
        if lines > LARGEST_FILE {
            problems.push(format!("{name}: {lines} lines, at most {LARGEST_FILE}"));
        }
        for (function, length) in Reading::of(&text).unwrap().functions {
            if length > LARGEST_FUNCTION {
                problems.push(format!(
                    "{name}: fn {function} has {length} lines, at most {LARGEST_FUNCTION}"
                ));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn unsafe_code_lives_in_the_kernel_room_and_the_lab_only() {
    for file in all_rust_files() {
        let below = file.strip_prefix(root()).unwrap();
        if ["kernel/src", "kernel/tests", "tests"].iter().any(|room| below.starts_with(room)) {
            continue;
        }
        let reading = Reading::of(&fs::read_to_string(&file).unwrap()).unwrap();
        assert!(!reading.has_unsafe, "{} holds unsafe code", below.display());
    }
}

#[test]
fn tests_do_not_sleep() {
    for file in all_rust_files() {
        let below = file.strip_prefix(root()).unwrap();
        let is_test = below.components().any(|part| part.as_os_str() == "tests");
        if !is_test || SLEEPERS.iter().any(|sleeper| below == Path::new(sleeper)) {
            continue;
        }
        let reading = Reading::of(&fs::read_to_string(&file).unwrap()).unwrap();
        let sleeps = reading.paths.iter().find(|path| sleeps(path));
        assert_eq!(sleeps, None, "{}: wait for a condition", below.display());
    }
}

#[test]
fn every_test_that_the_table_of_faults_names_is_there() {
    let rows = faults::rows();
    assert!(rows.len() >= 15, "only {} rows", rows.len());
    let files = all_rust_files();
    for named in
        rows.iter().inspect(|row| assert!(!row.is_empty(), "a row names no test")).flatten()
    {
        let mut of_name =
            files.iter().filter(|file| file.file_stem().is_some_and(|stem| *stem == *named.file));
        let function = format!("fn {}(", named.function);
        let is_there = of_name.any(|file| fs::read_to_string(file).unwrap().contains(&function));
        assert!(is_there, "{named:?}");
    }
}

fn impurities(reading: &Reading) -> Vec<String> {
    let paths = reading.paths.iter().filter(|path| {
        VEILS.contains(&path.as_str()) || IMPURE_PATHS.iter().any(|it| is_at_or_below(path, it))
    });
    let macros = reading.macros.iter().filter(|name| IMPURE_MACROS.contains(&name.as_str()));
    paths.cloned().chain(macros.map(|name| format!("{name}!"))).collect()
}

fn is_at_or_below(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn sleeps(path: &str) -> bool {
    ["std::thread::sleep", "tokio::time::sleep", "tokio::time::sleep_until"].contains(&path)
}

fn all_rust_files() -> Vec<PathBuf> {
    let rooms = rooms().into_iter().filter(|room| !room.home.contains('/'));
    let files: Vec<PathBuf> = rooms.flat_map(|room| rust_files(&root().join(room.home))).collect();
    assert!(files.len() >= FEWEST_FILES, "only {} files", files.len());
    files
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut found = Vec::new();
    for entry in entries.map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn whatever_form_an_impurity_takes_it_is_seen() {
    for (code, named) in [
        ("use std::{fs, collections::BTreeMap};", "std::fs"),
        ("use std::net::{IpAddr, UdpSocket};", "std::net::UdpSocket"),
        ("use std::time;\nfn f() { time::Instant::now(); }", "std::time::Instant::now"),
        ("use std::time::{self as t};\nfn f(_: t::SystemTime) {}", "std::time::SystemTime"),
        ("use std as s;", "std"),
        ("use std::time::*;", "std::time::*"),
        ("use std::time::Instant as Moment;", "std::time::Instant"),
        ("fn f() { let _ = std::env::var(\"A\"); }", "std::env::var"),
        (
            "fn f() { let _ = format!(\"{:?}\", std::time::Instant::now()); }",
            "std::time::Instant::now",
        ),
        ("fn f() { m!(a => std::process::exit(1)); }", "std::process::exit"),
        ("fn f() { println!(); }", "println!"),
        ("fn f() { async { tokio::spawn(g()).await; }; }", "tokio::spawn"),
        ("fn f() { use std::thread::spawn; spawn(g); }", "std::thread::spawn"),
    ] {
        let seen = impurities(&Reading::without_tests(code).unwrap());
        assert!(seen.iter().any(|it| it == named), "{code}: {seen:?}");
    }
    for code in [
        "// std::fs and SystemTime\nuse std::time::Duration;",
        "use std::net::{IpAddr, SocketAddr};",
        "fn f() { \"std::env\"; }",
        "#[cfg(test)]\nmod tests { use std::fs; }",
        "use crate::random::rand_like;",
    ] {
        assert_eq!(
            impurities(&Reading::without_tests(code).unwrap()),
            Vec::<String>::new(),
            "{code}"
        );
    }
}

#[test]
fn lengths_sleeps_and_unsafe_code_are_seen() {
    let long = format!(
        "impl A {{\n    pub async fn long(a: u8) {{\n{}    }}\n}}",
        "        a;\n".repeat(80)
    );
    assert_eq!(Reading::of(&long).unwrap().functions, [("long".to_owned(), 82)]);
    assert_eq!(Reading::of("trait A { fn declared(); }").unwrap().functions, []);
    for code in
        ["fn f() { unsafe{ g() } }", "unsafe impl Send for A {}", "fn f() { m!(unsafe { g() }) }"]
    {
        assert!(Reading::of(code).unwrap().has_unsafe, "{code}");
    }
    assert!(!Reading::of("// unsafe\nfn f() { \"unsafe\"; }").unwrap().has_unsafe);
    for code in [
        "use std::thread;\nfn f() { thread::sleep(A); }",
        "use std::thread::sleep as nap;\nfn f() { nap(A); }",
        "async fn f() { tokio::time::sleep(A).await; }",
    ] {
        assert!(Reading::of(code).unwrap().paths.iter().any(|path| sleeps(path)), "{code}");
    }
}
