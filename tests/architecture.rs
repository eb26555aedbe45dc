//! Owns the shape of the tree: who may import whom, what pure crates must not touch, how large a
//! file and a function may grow. Does not test behaviour.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// Crate, where it lives, and which crates of ours it may import.
const EDGES: &[(&str, &str, &[&str])] = &[
    ("sealane-api", "broker/api", &[]),
    ("sealane-state", "kernel/state", &[]),
    ("sealane-tunnel", "kernel/tunnel", &[]),
    ("sealane-probe", "agent/probe", &[]),
    ("sealane-view", "agent/view", &[]),
    ("sealane-trace", "agent/trace", &["sealane-state", "sealane-view"]),
    ("sealane-plan", "agent/plan", &["sealane-api", "sealane-state", "sealane-view"]),
    ("sealane-broker", "broker", &["sealane-api"]),
    ("sealane-kernel", "kernel", &["sealane-state", "sealane-tunnel"]),
    (
        "sealane-agent",
        "agent",
        &[
            "sealane-api",
            "sealane-broker",
            "sealane-kernel",
            "sealane-plan",
            "sealane-probe",
            "sealane-state",
            "sealane-trace",
            "sealane-view",
        ],
    ),
    ("sealane-cli", "agent/cli", &["sealane-api", "sealane-broker", "sealane-view"]),
    (
        "sealane-tests",
        "tests",
        &[
            "sealane-agent",
            "sealane-api",
            "sealane-broker",
            "sealane-kernel",
            "sealane-plan",
            "sealane-probe",
            "sealane-state",
            "sealane-trace",
            "sealane-tunnel",
            "sealane-view",
        ],
    ),
];

/// Pure crates: they see the world only through arguments.
const PURE: &[&str] = &[
    "broker/api",
    "kernel/state",
    "kernel/tunnel",
    "agent/probe",
    "agent/view",
    "agent/trace",
    "agent/plan",
];

/// What a pure crate must not name, and the one file that may, with the reason.
const IMPURE_WORDS: &[&str] = &[
    "std::time::Instant",
    "Instant::now",
    "SystemTime",
    "std::net::UdpSocket",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "tokio::",
    "tracing::",
    "rand::",
    "getrandom",
];

/// Third-party crates that a pure crate must not depend on.
const IMPURE_CRATES: &[&str] = &[
    "tokio",
    "tracing",
    "rand",
    "getrandom",
    "nix",
    "libc",
    "socket2",
    "rtnetlink",
    "axum",
    "hyper",
];

const LARGEST_FILE: usize = 600;
const LARGEST_FUNCTION: usize = 70;

#[test]
fn crates_import_only_what_the_architecture_allows() {
    let metadata = MetadataCommand::new().no_deps().exec().unwrap();
    let allowed: BTreeMap<&str, BTreeSet<&str>> =
        EDGES.iter().map(|(name, _, imports)| (*name, imports.iter().copied().collect())).collect();
    let mut seen = BTreeSet::new();
    for package in &metadata.packages {
        let name = package.name.as_str();
        let may = allowed.get(name).unwrap_or_else(|| panic!("{name} is not in the architecture"));
        seen.insert(name.to_owned());
        for dependency in &package.dependencies {
            if dependency.kind == DependencyKind::Normal && dependency.name.starts_with("sealane-")
            {
                assert!(
                    may.contains(dependency.name.as_str()),
                    "{name} imports {}, which the architecture does not allow",
                    dependency.name
                );
            }
        }
    }
    let expected: BTreeSet<String> = EDGES.iter().map(|(name, ..)| (*name).to_owned()).collect();
    assert_eq!(seen, expected, "the workspace and the architecture list different crates");
}

#[test]
fn pure_crates_touch_no_clock_socket_file_or_environment() {
    let metadata = MetadataCommand::new().no_deps().exec().unwrap();
    for package in &metadata.packages {
        let home = package.manifest_path.parent().unwrap();
        if !PURE.iter().any(|pure| home.ends_with(pure)) {
            continue;
        }
        for dependency in &package.dependencies {
            assert!(
                dependency.kind != DependencyKind::Normal
                    || !IMPURE_CRATES.contains(&dependency.name.as_str()),
                "pure crate {} depends on {}",
                package.name,
                dependency.name
            );
        }
    }
    for pure in PURE {
        for file in rust_files(&root().join(pure).join("src")) {
            if file.components().any(|part| part.as_os_str() == "bin") {
                continue;
            }
            let text = without_tests(&fs::read_to_string(&file).unwrap());
            for word in IMPURE_WORDS {
                assert!(!code_of(&text).contains(word), "{} names {word}", file.display());
            }
        }
    }
}

#[test]
fn every_file_says_what_it_owns_and_stays_readable() {
    let mut problems = Vec::new();
    for file in all_rust_files() {
        let text = fs::read_to_string(&file).unwrap();
        let lines = text.lines().count();
        if !text.starts_with("//!") {
            problems.push(format!("{}: does not open with `//!`", file.display()));
        }
        if lines > LARGEST_FILE {
            problems.push(format!("{}: {lines} lines, at most {LARGEST_FILE}", file.display()));
        }
        for (name, length) in functions_of(&text) {
            if length > LARGEST_FUNCTION {
                problems.push(format!(
                    "{}: fn {name} has {length} lines, at most {LARGEST_FUNCTION}",
                    file.display()
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
        if below.starts_with("kernel/src")
            || below.starts_with("kernel/tests")
            || below.starts_with("tests")
        {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        assert!(!code_of(&text).contains("unsafe "), "{} holds unsafe code", below.display());
    }
}

#[test]
fn the_map_of_the_code_names_every_crate() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    for (name, home, _) in EDGES {
        assert!(map.contains(&format!("`{home}`")), "ARCHITECTURE.md does not place {name}");
        assert!(root().join(home).join("README.md").exists(), "{home} has no README.md");
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn all_rust_files() -> Vec<PathBuf> {
    ["agent", "broker", "cni", "kernel", "tests"]
        .iter()
        .flat_map(|room| rust_files(&root().join(room)))
        .collect()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
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

/// Cuts the text at its unit tests, which may use what they like.
fn without_tests(text: &str) -> String {
    text.split("#[cfg(test)]").next().unwrap_or_default().to_owned()
}

fn code_of(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Returns name and line count of each function; relies on rustfmt: a body ends at a brace in the
/// column where its `fn` line began.
fn functions_of(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let body = line.trim_start();
        let Some(rest) = body.split("fn ").nth(1).filter(|_| is_function_line(body)) else {
            continue;
        };
        let indent = line.len() - body.len();
        let end = format!("{}}}", " ".repeat(indent));
        let length = lines[start..].iter().position(|line| *line == end).unwrap_or(0) + 1;
        let name = rest.split(['(', '<']).next().unwrap_or_default();
        found.push((name.to_owned(), length));
    }
    found
}

fn is_function_line(body: &str) -> bool {
    let head = body.split("fn ").next().unwrap_or_default();
    let words = ["pub", "pub(crate)", "pub(super)", "async", "const", "unsafe", "extern", "\"C\""];
    head.split_whitespace().all(|word| words.contains(&word))
        && !body.ends_with(';')
        && !body.ends_with('}')
}

#[test]
fn the_checks_of_size_see_what_they_are_to_see() {
    let long = format!("    pub async fn long(a: u8) {{\n{}    }}\n", "        a;\n".repeat(80));
    assert_eq!(functions_of(&long), [("long".to_owned(), 82)]);
    assert_eq!(functions_of("fn declared();\n"), []);
    assert!(!code_of("// SystemTime\nlet a = 1;").contains("SystemTime"));
    assert!(!without_tests("a\n#[cfg(test)]\nmod tests {}").contains("mod tests"));
}
