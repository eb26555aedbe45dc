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

#[test]
fn every_test_that_the_list_of_hostile_inputs_names_is_there() {
    let trust = room().join("tests/trust");
    let (sources, list) =
        (sources(&trust), fs::read_to_string(room().join("tests/README.md")).unwrap());
    let (mut file, mut named) = (PathBuf::new(), 0);
    for row in list.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| what")) {
        let last = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        for name in last.split(", ").map(|name| name.trim_matches('`')) {
            if name.ends_with(".rs") {
                file = trust.join(name);
                continue;
            }
            let test = format!("#[test]\nfn {name}() {{");
            assert!(sources[&file].contains(&test), "{} has no test {name}", file.display());
            named += 1;
        }
    }
    assert!(named > 50, "only {named} tests were read from the list");
}
