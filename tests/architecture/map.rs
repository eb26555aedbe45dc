//! Owns the reading of ARCHITECTURE.md's table of rooms. Does not say whether it is true.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A row of the table.
#[derive(Debug)]
pub(crate) struct Room {
    /// Its folder.
    pub(crate) home: String,
    /// Its crate.
    pub(crate) name: String,
    /// What it may import of ours.
    pub(crate) imports: Imports,
}

/// What a crate may import of ours.
#[derive(Debug)]
pub(crate) enum Imports {
    /// These and no others.
    Just(BTreeSet<String>),
    /// Every library of a room that is not the tests'.
    RoomsBelow,
    /// What it likes.
    Anything,
}

impl Room {
    /// A crate inside another's folder is pure; the one program there is not.
    pub(crate) fn is_pure(&self) -> bool {
        self.home.contains('/') && self.home != "agent/cli"
    }
}

/// The project's folder.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The rows, as the file has them.
pub(crate) fn rooms() -> Vec<Room> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let rows = text.lines().filter_map(row);
    rows.collect()
}

fn row(line: &str) -> Option<Room> {
    let cells: Vec<&str> = line.strip_prefix('|')?.split('|').map(str::trim).collect();
    let [home, name, _, imports, ""] = cells.as_slice() else { return None };
    let code = |cell: &str| Some(cell.strip_prefix('`')?.strip_suffix('`')?.to_owned());
    let imports = match *imports {
        "anything" => Imports::Anything,
        "all rooms below it" => Imports::RoomsBelow,
        "–" => Imports::Just(BTreeSet::new()),
        some => Imports::Just(some.split(", ").map(|it| format!("sealane-{it}")).collect()),
    };
    Some(Room { home: code(home)?, name: code(name)?, imports })
}
