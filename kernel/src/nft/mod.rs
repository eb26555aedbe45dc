//! Owns our nftables table on this host: reads it, changes it, proves it unchanged. Does not own
//! any other table, nor what the rules mean.

mod generation;
mod lasting;
mod listing;
mod record;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use sealane_state::filter::FilterTable;
use sealane_state::nft_edit;
use sealane_state::nft_text::{self, NftTextError};
use sealane_state::owner::FILTER_TABLE;

use crate::nft::generation::Generation;
use crate::nft::lasting::Lasting;
use crate::nft::record::Record;
use crate::statefile;

/// File name of the record, inside the folder that [`Nft::open`] is given.
const RECORD_FILE: &str = "nft.json";
/// How often a table is written anew when other transactions, such as those of kube-proxy, come
/// between; each takes some ten milliseconds.
const ATTEMPTS: u32 = 8;

/// Our table on this host, by way of the `nft` program (1.0.6 or newer).
///
/// A listing never looks like the text that was written, so what was written is remembered together
/// with a hash of how the kernel shows it. As long as the kernel shows the same, the table is ours,
/// unchanged; where it does not, what was read back differs from everything that can be wanted.
#[derive(Debug)]
pub struct Nft {
    program: PathBuf,
    path: PathBuf,
    record: Option<Record>,
    lasting: Lasting,
}

/// Why our table was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// There is no `nft` on this host; retrying helps once it is installed.
    #[error("nft: {program} not found; install the package nftables (1.0.6 or newer)")]
    Missing {
        /// The program as it was called.
        program: String,
    },
    /// The program did not run.
    #[error("nft: {program} could not be run: {fault}")]
    Run {
        /// The program as it was called.
        program: String,
        /// What the system says.
        fault: io::Error,
    },
    /// The kernel or the program refused; nothing was changed. Retrying helps if someone else was
    /// writing at the same time.
    #[error("nft {action} table inet sealane: {said}")]
    Refused {
        /// What was asked.
        action: &'static str,
        /// The program's own words.
        said: String,
    },
    /// The table cannot be written as nft text; nothing was changed, and retrying does not help.
    #[error(transparent)]
    Text(#[from] NftTextError),
    /// The program's listing is not one that we know.
    #[error("nft list table inet sealane: {fault}; nft 1.0.6 or newer is needed")]
    Listing {
        /// What is not understood.
        fault: String,
    },
    /// The kernel does not tell the generation of its rules, so nothing that is written can be
    /// proved to stand unchanged.
    #[error("nft generation: {fault}")]
    Generation {
        /// What the system says.
        fault: io::Error,
    },
    /// The table was written, and reads back otherwise; the next pass writes it again.
    #[error("nft table inet sealane: changed by another hand while it was written; retrying helps")]
    NotAsWritten,
    /// The table stands, but was not remembered; the next start writes it once more.
    #[error("nft record {path}: {fault}")]
    Record {
        /// The file.
        path: PathBuf,
        /// What the system says.
        fault: io::Error,
    },
}

impl Nft {
    /// Opens the table by the `nft` of `PATH`; `state_dir` keeps the record of what was written.
    ///
    /// The record counts only while the kernel lists the table as the record says, so it may outlive
    /// a boot. One that cannot be read is as none: the table is then written once more.
    pub fn open(state_dir: &Path) -> Self {
        Self::with_program(state_dir, Path::new("nft"))
    }

    /// As [`Nft::open`], with a given `nft` program.
    pub fn with_program(state_dir: &Path, program: &Path) -> Self {
        let path = state_dir.join(RECORD_FILE);
        let record = statefile::read(&path).unwrap_or_else(|fault| {
            tracing::warn!(path = %path.display(), %fault, "nft record unreadable, table will be rewritten");
            None
        });
        Self { program: program.to_owned(), path, record, lasting: Lasting::default() }
    }

    /// Reads our table; `None` when there is none.
    ///
    /// While the kernel says that nobody changed any rule, the last reading is given again.
    ///
    /// # Errors
    /// [`NftError`] when the program is missing, refuses or shows something unknown.
    pub fn observe(&mut self) -> Result<Option<FilterTable>, NftError> {
        let Ok(generation) = Generation::now() else {
            return self.read();
        };
        let now = Instant::now();
        if let Some(table) = self.lasting.if_still(generation, now) {
            return Ok(table);
        }
        let table = self.read()?;
        self.lasting.keep(generation, now, table.clone());
        Ok(table)
    }

    fn read(&self) -> Result<Option<FilterTable>, NftError> {
        let Some(shown) = self.listing(&["-s", "-n"])? else {
            return Ok(None);
        };
        if let Some(table) = self.record.as_ref().and_then(|record| record.table_if_shown(&shown)) {
            return Ok(Some(table));
        }
        let Some(json) = self.listing(&["-j"])? else {
            return Ok(None);
        };
        let chains = self.record.as_ref().map(|record| &record.chains);
        let mut table = listing::parse(&json)?.table(chains);
        listing::mark_changed(&mut table, "the listing differs from what was last written");
        Ok(Some(table))
    }

    /// Reads all tables of this host, foreign ones too, in libnftables' JSON.
    ///
    /// # Errors
    /// [`NftError`] when the program is missing or refuses.
    pub fn ruleset(&self) -> Result<String, NftError> {
        let output = self.run(&["-j", "list", "ruleset"], "")?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(refused("list", &output))
    }

    /// Makes our table `wanted` in one transaction, or removes it.
    ///
    /// # Errors
    /// [`NftError`]; after `Text` and `Refused` the old table still stands.
    pub fn apply(&mut self, wanted: Option<&FilterTable>) -> Result<(), NftError> {
        self.lasting = Lasting::default();
        let Some(table) = wanted else {
            self.run_text("delete", nft_text::REMOVAL)?;
            return self.forget();
        };
        let whole = nft_text::replacement(table, record::tag)?;
        let mut edited = self.edited(table)?;
        for _ in 0..ATTEMPTS {
            let edit = edited.take();
            let written = match self.write(table, edit.as_deref().unwrap_or(&whole)) {
                // What the edit was made for is no longer there.
                Err(NftError::Refused { .. }) if edit.is_some() => continue,
                written => written?,
            };
            if let Some(record) = written {
                let saved = statefile::write(&self.path, &record);
                self.record = Some(record);
                return saved.map_err(|fault| NftError::Record { path: self.path.clone(), fault });
            }
        }
        Err(NftError::NotAsWritten)
    }

    /// The text that only changes what differs, where our table stands as we wrote it.
    fn edited(&self, wanted: &FilterTable) -> Result<Option<String>, NftError> {
        let Some(record) = &self.record else { return Ok(None) };
        let shown = self.listing(&["-s", "-n"])?;
        let Some(stands) = shown.and_then(|shown| record.table_if_shown(&shown)) else {
            return Ok(None);
        };
        Ok(nft_edit::edit(&stands, wanted, record::tag)?.filter(|text| !text.is_empty()))
    }

    /// Writes the table and lists it; `None` unless the generations prove that no other transaction
    /// lies between, so that what is listed is what was written.
    fn write(&mut self, table: &FilterTable, text: &str) -> Result<Option<Record>, NftError> {
        let before = generation()?;
        self.run_text("write", text)?;
        self.record = None;
        let written = generation()?;
        let shown = self.listing(&["-s", "-n"])?;
        let json = self.listing(&["-j"])?;
        let undisturbed = written.follows(before) && generation()? == written;
        let (Some(shown), Some(json)) = (shown, json) else { return Ok(None) };
        let record = Record::of(table, &shown, &listing::parse(&json)?);
        Ok(record.filter(|_| undisturbed))
    }

    fn forget(&mut self) -> Result<(), NftError> {
        self.record = None;
        statefile::remove(&self.path)
            .map_err(|fault| NftError::Record { path: self.path.clone(), fault })
    }

    fn run_text(&self, action: &'static str, text: &str) -> Result<(), NftError> {
        let output = self.run(&["-f", "-"], text)?;
        if output.status.success() { Ok(()) } else { Err(refused(action, &output)) }
    }

    fn listing(&self, options: &[&str]) -> Result<Option<String>, NftError> {
        let mut arguments = options.to_vec();
        arguments.extend(["list", "table", "inet", FILTER_TABLE]);
        let output = self.run(&arguments, "")?;
        if output.status.success() {
            return Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned()));
        }
        // The C locale is set, so the words for ENOENT are known.
        let said = String::from_utf8_lossy(&output.stderr);
        if said.contains("No such file or directory") {
            Ok(None)
        } else {
            Err(refused("list", &output))
        }
    }

    fn run(&self, arguments: &[&str], input: &str) -> Result<Output, NftError> {
        let child = Command::new(&self.program)
            .args(arguments)
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.map_err(|fault| self.not_run(fault))?;
        let stdin = child.stdin.take();
        // Written from a thread of its own: a program that answers before it has read everything
        // would otherwise wait for us while we wait for it.
        std::thread::scope(|scope| {
            scope.spawn(move || stdin.map(|mut pipe| pipe.write_all(input.as_bytes())));
            child.wait_with_output()
        })
        .map_err(|fault| self.not_run(fault))
    }

    fn not_run(&self, fault: io::Error) -> NftError {
        let program = self.program.display().to_string();
        match fault.kind() {
            io::ErrorKind::NotFound => NftError::Missing { program },
            _ => NftError::Run { program, fault },
        }
    }
}

fn generation() -> Result<Generation, NftError> {
    Generation::now().map_err(|fault| NftError::Generation { fault })
}

/// Keeps the lines that name the fault; the echo of a big table that follows helps nobody.
fn refused(action: &'static str, output: &Output) -> NftError {
    const LONGEST_LINE: usize = 300;
    let shortened = |line: &str| line.chars().take(LONGEST_LINE).collect::<String>();
    let said = String::from_utf8_lossy(&output.stderr);
    let faults: Vec<String> =
        said.lines().filter(|line| line.contains("Error:")).take(5).map(shortened).collect();
    let said = if faults.is_empty() {
        said.lines().next().map(shortened).unwrap_or_else(|| output.status.to_string())
    } else {
        faults.join("; ")
    };
    NftError::Refused { action, said }
}
