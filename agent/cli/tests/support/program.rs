//! Owns running `sealane` as a person does, in a folder of its own and without a terminal.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How a run ended.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Run {
    /// Says that it ended with this code, and returns it.
    #[track_caller]
    pub fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, code, "out:\n{}\nerr:\n{}", self.out, self.err);
        self
    }

    /// Says that the error is one line which holds all of these.
    #[track_caller]
    pub fn complains(&self, parts: &[&str]) {
        assert_eq!(self.err.lines().count(), 1, "not one line:\n{}", self.err);
        for part in parts {
            assert!(self.err.contains(part), "{part:?} is not in:\n{}", self.err);
        }
    }

    /// Says that a text appears nowhere in what was printed.
    #[track_caller]
    pub fn hides(&self, secret: &str) {
        assert!(!secret.is_empty());
        assert!(!self.out.contains(secret) && !self.err.contains(secret), "a secret was printed");
    }
}

/// A folder to run in.
pub struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A desk with a clusterset whose root key has no passphrase.
    pub fn with_clusterset() -> Self {
        let desk = Self::new();
        let line = "clusterset init --no-passphrase --recovery-file recovery --broker https://192.0.2.1:6464";
        desk.run(line).ends(0);
        desk
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Runs the program with arguments separated by spaces.
    pub fn run(&self, arguments: &str) -> Run {
        self.run_with(arguments, "")
    }

    /// Runs the program with a text on standard input.
    pub fn run_with(&self, arguments: &str, input: &str) -> Run {
        run_in(self.folder.path(), arguments, input)
    }
}

fn run_in(folder: &Path, arguments: &str, input: &str) -> Run {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sealane"))
        .args(arguments.split_whitespace())
        .current_dir(folder)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that does not read its input may be gone already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Run {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}
