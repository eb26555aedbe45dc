//! Owns the reading of the table of faults in tests/README.md. Does not say whether its figures are true.

use std::fs;

use crate::map::root;

/// A test that the table names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// Its file, without `.rs`.
    pub(crate) file: String,
    /// Its function.
    pub(crate) function: String,
}

/// The tests that each row names, in its last column; a row without any is an empty list.
pub(crate) fn rows() -> Vec<Vec<Named>> {
    let text = fs::read_to_string(root().join("tests/README.md")).unwrap();
    let section = text.split("\n## ").find(|section| section.starts_with("Faults\n")).unwrap();
    let rows =
        section.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| fault"));
    rows.map(|row| named(row.trim_end_matches([' ', '|']).rsplit('|').next().unwrap())).collect()
}

fn named(cell: &str) -> Vec<Named> {
    let quoted = cell.split('`').skip(1).step_by(2);
    let parts = quoted.filter_map(|name| name.split_once("::"));
    parts.map(|(file, function)| Named { file: file.into(), function: function.into() }).collect()
}
