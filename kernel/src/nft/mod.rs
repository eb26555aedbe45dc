//! Owns our nftables table on this host: reads it, changes it, proves it unchanged. Does not own
//! any other table, nor what the rules mean.

mod draft;
mod generation;
mod lasting;
mod listing;
mod program;
mod record;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use sealane_state::filter::FilterTable;
use sealane_state::nft_text::{self, NftTextError};

use crate::nft::draft::{Draft, Sight};
use crate::nft::generation::Generation;
use crate::nft::lasting::Lasting;
use crate::nft::program::Program;
use crate::nft::record::Record;
use crate::statefile;

/// File name of the record, inside the folder that [`Nft::open`] is given.
const RECORD_FILE: &str = "nft.json";
/// How often a table is written or looked at anew when other transactions, such as those of
/// kube-proxy, come between; each takes some ten milliseconds.
const ATTEMPTS: u32 = 8;

/// Our table on this host, by way of the `nft` program (1.0.6 or newer).
///
/// A listing never looks like the text that was written, so what was written is remembered together
/// with a hash of how the kernel shows it. As long as the kernel shows the same, the table is ours,
/// unchanged; where it does not, what was read back differs from everything that can be wanted.
#[derive(Debug)]
pub struct Nft {
    program: Program,
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
    /// The program did not end in time and was ended; what it was writing stands whole or not at all.
    /// Retrying helps once the host is less busy.
    #[error(
        "nft {asked}: no answer within {} s, so it was ended; see with ps and \"nft monitor\" what keeps \
         it: a program that rewrites rules without pause, or a host without memory or disk",
        program::PATIENCE.as_secs()
    )]
    Slow {
        /// What was asked.
        asked: String,
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
        Self { program: Program::at(program), path, record, lasting: Lasting::default() }
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
        let Some(shown) = self.program.listing(&["-s", "-n"])? else {
            return Ok(None);
        };
        if let Some(table) = self.record.as_ref().and_then(|record| record.table_if_shown(&shown)) {
            return Ok(Some(table));
        }
        let Some(json) = self.program.listing(&["-j"])? else {
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
        self.program.ruleset()
    }

    /// Makes our table `wanted` in one transaction, or removes it. What stands as it should is not
    /// written again, so that no packet meets a table that is half there.
    ///
    /// # Errors
    /// [`NftError`]; after `Text` and `Refused` the old table still stands.
    pub fn apply(&mut self, wanted: Option<&FilterTable>) -> Result<(), NftError> {
        self.lasting = Lasting::default();
        let Some(table) = wanted else {
            self.program.write("delete", nft_text::REMOVAL)?;
            return self.forget();
        };
        let whole = nft_text::replacement(table, record::tag)?;
        let mut next = Some(Draft::of(table, self.record.as_ref(), &self.program)?);
        let (mut before, mut known) = (None, BTreeMap::new());
        for _ in 0..ATTEMPTS {
            if let Some(draft) = next.take() {
                match self.write(draft, &whole)? {
                    Written::Nothing => return Ok(()),
                    Written::Refused(draft) => {
                        next = Some(draft);
                        continue;
                    }
                    Written::After(generation) => before = Some(generation),
                }
                if let Some(record) = self.record.take() {
                    known = record.chains;
                }
            }
            let look = match Sight::of(&self.program)? {
                Sight::Clear(look) => look,
                Sight::Gone => {
                    next = Some(Draft::Whole { reason: "another hand deleted it".to_owned() });
                    continue;
                }
                // What was written stands as it is; only the proof is to be had again.
                Sight::Blurred => continue,
            };
            match look.record(table, before, &known) {
                Some(record) => return self.keep(record),
                None => next = Some(look.mend(table, &known)),
            }
        }
        Err(NftError::NotAsWritten)
    }

    /// Carries out a draft, in one transaction.
    fn write(&self, draft: Draft, whole: &str) -> Result<Written, NftError> {
        match draft {
            Draft::Edit { text, .. } if text.is_empty() => Ok(Written::Nothing),
            Draft::Edit { text, made_for } => match self.program.write("edit", &text) {
                // What the edit was made for is no longer there, or this kernel cannot do it.
                Err(error @ NftError::Refused { .. }) => {
                    Ok(Written::Refused(Draft::Whole { reason: error.to_string() }))
                }
                written => written.map(|()| Written::After(made_for)),
            },
            Draft::Whole { reason } => {
                let before = Generation::of_rules()?;
                self.program.write("write", whole)?;
                tracing::info!(reason, "nftables table written whole");
                Ok(Written::After(before))
            }
        }
    }

    fn keep(&mut self, record: Record) -> Result<(), NftError> {
        let saved = statefile::write(&self.path, &record);
        self.record = Some(record);
        saved.map_err(|fault| NftError::Record { path: self.path.clone(), fault })
    }

    fn forget(&mut self) -> Result<(), NftError> {
        self.record = None;
        statefile::remove(&self.path)
            .map_err(|fault| NftError::Record { path: self.path.clone(), fault })
    }
}

/// What became of a draft.
enum Written {
    /// There was nothing to write.
    Nothing,
    /// It was refused; this is what to write instead.
    Refused(Draft),
    /// It stands; this was the generation before it.
    After(Generation),
}
