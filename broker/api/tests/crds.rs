//! The definitions that we ship are the ones of the code: `crdgen`, and the files below `charts/crds`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sealane_api::kinds;
use serde_json::Value;

fn crdgen(arguments: &[&Path]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_crdgen")).args(arguments).output().unwrap()
}

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../charts/crds")
}

fn empty_directory(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    drop(fs::remove_dir_all(&directory));
    fs::create_dir_all(&directory).unwrap();
    directory
}

fn files_of(directory: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            let text = fs::read_to_string(entry.path()).unwrap();
            (entry.file_name().into_string().unwrap(), text)
        })
        .collect()
}

#[test]
fn the_shipped_definitions_are_those_of_the_code() {
    let fresh = empty_directory("shipped");
    assert!(crdgen(&[&fresh]).status.success());
    let (fresh, shipped) = (files_of(&fresh), files_of(&shipped()));
    let names = |files: &BTreeMap<String, String>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&shipped), names(&fresh), "charts/crds holds other files than `make crds`");
    for (name, text) in &fresh {
        assert!(shipped[name] == *text, "charts/crds/{name} is not what `make crds` writes");
    }
}

#[test]
fn each_file_holds_its_kind_whole() {
    let mut shipped = files_of(&shipped());
    for definition in kinds::definitions() {
        let name = format!("sealane.dev_{}.yaml", definition.spec.names.plural);
        let text = shipped.remove(&name).unwrap_or_else(|| panic!("no {name}"));
        let read: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(read, serde_json::to_value(&definition).unwrap(), "{name}");
    }
    assert!(shipped.is_empty(), "{:?} define no kind of ours", shipped.keys());
}

#[test]
fn without_a_directory_all_definitions_are_printed() {
    let printed = crdgen(&[]);
    assert!(printed.status.success());
    let text = String::from_utf8(printed.stdout).unwrap();
    let documents: BTreeSet<String> = text.split_terminator("---\n").map(str::to_owned).collect();
    let mut expected: BTreeSet<String> = files_of(&shipped()).into_values().collect();
    expected.insert(String::new());
    assert_eq!(documents, expected);
}

#[test]
fn anything_but_one_directory_is_answered_with_the_usage() {
    let two = [empty_directory("first"), empty_directory("second")];
    for arguments in [&[Path::new("--help")][..], &[&two[0], &two[1]]] {
        let refused = crdgen(arguments);
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}");
        assert!(refused.stdout.is_empty());
        let text = String::from_utf8(refused.stderr).unwrap();
        assert!(text.starts_with("usage: crdgen [DIRECTORY]"), "{text}");
    }
    assert!(two.iter().all(|directory| files_of(directory).is_empty()));
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let missing = empty_directory("missing").join("none");
    let refused = crdgen(&[&missing]);
    assert_eq!(refused.status.code(), Some(1));
    let text = String::from_utf8(refused.stderr).unwrap();
    assert!(text.contains("none/sealane.dev_clustersets.yaml"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}
