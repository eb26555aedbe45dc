//! What the documents beside the code promise is there: sections, reasons and tests.

use sealane_api::reason::Reason;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn room() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Texts of the Rust files below `folder`, by path.
fn sources(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.insert(path.clone(), fs::read_to_string(&path).unwrap());
        }
    }
    found
}

/// Section numbers of the protocol, as `3` or `3.2`.
fn sections(protocol: &str) -> BTreeSet<String> {
    let headings = protocol.lines().filter_map(|line| line.split_once("# "));
    let numbers = headings.filter_map(|(marks, heading)| {
        let number = heading.split(' ').next()?.trim_end_matches('.');
        marks.chars().all(|mark| mark == '#').then(|| number.to_owned())
    });
    numbers.collect()
}

#[test]
fn comments_refer_to_sections_that_the_protocol_has() {
    let sections = sections(&fs::read_to_string(room().join("PROTOCOL.md")).unwrap());
    let mut references = 0;
    for (path, text) in sources(&room().join("src")) {
        for (at, document) in text.match_indices("PROTOCOL.md ") {
            let number: String = text[at + document.len()..]
                .chars()
                .take_while(|c| c.is_ascii_digit() || *c == '.')
                .collect();
            let number = number.trim_end_matches('.');
            assert!(sections.contains(number), "{}: no section {number:?}", path.display());
            references += 1;
        }
    }
    assert!(references > 20, "only {references} references were read");
}

#[test]
fn the_protocol_says_when_each_reason_is_given() {
    let protocol = fs::read_to_string(room().join("PROTOCOL.md")).unwrap();
    for reason in Reason::ALL {
        let name = format!("`{}`", reason.as_str());
        assert!(protocol.contains(&name), "PROTOCOL.md never says {name}");
    }
}

/// Tests that the list of hostile inputs names, by file.
fn listed() -> BTreeMap<PathBuf, BTreeSet<String>> {
    let list = fs::read_to_string(room().join("tests/README.md")).unwrap();
    let mut listed: BTreeMap<PathBuf, BTreeSet<String>> = BTreeMap::new();
    let mut file = PathBuf::new();
    for row in list.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| what")) {
        let last = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        for name in last.split(", ").map(|name| name.trim_matches('`')) {
            if name.ends_with(".rs") {
                file = room().join("tests/trust").join(name);
            } else {
                listed.entry(file.clone()).or_default().insert(name.to_owned());
            }
        }
    }
    listed
}

#[test]
fn the_list_of_hostile_inputs_names_every_test_of_its_files_and_no_other() {
    let sources = sources(&room().join("tests/trust"));
    let listed = listed();
    for (file, named) in &listed {
        let tests = sources[file].split("#[test]\nfn ").skip(1);
        let tests: BTreeSet<String> =
            tests.filter_map(|test| Some(test.split_once('(')?.0.to_owned())).collect();
        assert_eq!(&tests, named, "{}", file.display());
    }
    let named: usize = listed.values().map(BTreeSet::len).sum();
    assert!(named > 100, "only {named} tests were read from the list");
}

#[test]
fn every_reason_is_what_some_test_expects() {
    let tests: String = listed().keys().map(|file| fs::read_to_string(file).unwrap()).collect();
    for reason in Reason::ALL {
        let expected = format!("Reason::{}", reason.as_str());
        let is_expected = tests.match_indices(&expected).any(|(at, _)| {
            !tests[at + expected.len()..].starts_with(|next: char| next.is_alphanumeric())
        });
        assert!(is_expected, "no test expects {expected}");
    }
}
