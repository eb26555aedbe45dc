//! Owns what a person is told of the disk that state is on, before and after it refuses a write. Writes
//! nothing there.

use std::path::Path;

use nix::sys::statvfs::{FsFlags, statvfs};
use sealane_view::status::{ProblemView, Severity};

use crate::report;

/// How the file system of a folder takes writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    /// As far as can be told without one.
    Writable,
    /// It has no space left for this user.
    Full,
    /// It is mounted read-only.
    ReadOnly,
}

/// Tells why nothing new is kept: `refused` is what the last write met, if it was refused. A disk that
/// would refuse the next one is told as well.
pub fn problem(refused: Option<&str>, folder: &Path) -> Option<ProblemView> {
    let thing = folder.display().to_string();
    let told = |severity, cause: &str, next: &str| {
        let next = format!("{next}; lanes go on, and what is new counts once it is saved");
        Some(report::problem(severity, "StateNotSaved", &thing, cause, &next))
    };
    let room = room(folder);
    let next = match room {
        Room::Full => "free space there",
        Room::ReadOnly => "mount it writable",
        Room::Writable => "make it writable for the agent",
    };
    match (refused, room) {
        (Some(cause), _) => told(Severity::Part, cause, next),
        (None, Room::Full) => told(Severity::Notice, "no space is left on its disk", next),
        (None, Room::ReadOnly) => told(Severity::Notice, "its disk is mounted read-only", next),
        (None, Room::Writable) => None,
    }
}

/// A folder that cannot be asked is not spoken of: the next write says why.
fn room(folder: &Path) -> Room {
    match statvfs(folder) {
        Ok(disk) if disk.flags().contains(FsFlags::ST_RDONLY) => Room::ReadOnly,
        Ok(disk) if disk.blocks() > 0 && disk.blocks_available() == 0 => Room::Full,
        _ => Room::Writable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_was_refused_is_told_with_its_cause_and_what_to_do() {
        let place = tempfile::tempdir().unwrap();
        assert_eq!(problem(None, place.path()), None);
        let told = problem(Some("held.json: No space left on device"), place.path()).unwrap();
        assert_eq!((told.severity, told.reason.as_str()), (Severity::Part, "StateNotSaved"));
        assert_eq!(told.cause, "held.json: No space left on device");
        assert!(told.next.contains("lanes go on"), "{}", told.next);
        assert_eq!(problem(None, Path::new("/nowhere")), None);
    }
}
