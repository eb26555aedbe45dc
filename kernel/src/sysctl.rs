//! Owns reading and writing kernel settings, and the ledger of what they were before us. Does not
//! own which settings are wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sealane_state::name::LinkName;
use sealane_state::sysctl::SysctlKey;
use serde::{Deserialize, Serialize};

use crate::side_effects::{self, HEED_RA_AS_HOST, HEED_RA_AS_ROUTER};
use crate::statefile;

/// File name of the ledger, inside the folder that [`Ledger::open`] is given.
const LEDGER_FILE: &str = "sysctl.json";

/// Settings that we hold, with the values they had before.
///
/// An entry is on the disk before the setting is written, so no crash can lose a former value.
/// Entries of an earlier boot, and of links that are gone, need no restoring and are forgotten.
///
/// Host-wide forwarding rewrites settings of every link; its entry remembers those too. What another
/// hand set them to while we held it cannot be told from the kernel's doing when it is the same
/// value: a program that came later and found forwarding on has to turn it on anew when we leave.
#[derive(Debug)]
pub struct Ledger {
    root: PathBuf,
    path: PathBuf,
    boot_id: String,
    held: BTreeMap<SysctlKey, Held>,
}

/// What is known of a setting that we hold.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    /// Value before us; what `restore` writes.
    before: String,
    /// Values that we wrote, or were about to: a crash leaves open which of them stands.
    written: BTreeSet<String>,
    /// Values before us of what changes with it, where `before` does not bring them back.
    beside: BTreeMap<SysctlKey, String>,
}

/// What became of a setting when it was given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Restored {
    /// The former value stands again.
    Written,
    /// The setting went with its link.
    Vanished,
    /// Someone else has changed it since we did; their value stays.
    ChangedSince {
        /// The value that stays.
        present: String,
    },
    /// We do not hold it; nothing was done.
    NotHeld,
}

/// Why a setting was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum SysctlError {
    /// The key would leave `/proc/sys`, or is empty; retrying does not help.
    #[error("sysctl {key:?}: a component is empty, '.', '..' or holds '/'")]
    Key {
        /// The key.
        key: SysctlKey,
    },
    /// The kernel has no such setting; retrying helps once the link or module is there.
    #[error("sysctl {key}: this kernel has no such setting, or its link is gone")]
    Missing {
        /// The key.
        key: SysctlKey,
    },
    /// The kernel refused.
    #[error("sysctl {action} {key}: {fault}")]
    Refused {
        /// What was asked.
        action: &'static str,
        /// The key.
        key: SysctlKey,
        /// What the kernel says.
        fault: io::Error,
    },
    /// The value was taken, and reads back otherwise.
    #[error("sysctl {key}: wrote {wanted:?} and reads back {present:?}")]
    NotAsWritten {
        /// The key.
        key: SysctlKey,
        /// What was written.
        wanted: String,
        /// What is there.
        present: String,
    },
    /// The ledger is damaged or cannot be written; the setting was not changed.
    #[error(
        "sysctl ledger {path}: {fault}; make its folder writable; a damaged file may be removed, and \
         settings then stay as they are when this host leaves"
    )]
    Ledger {
        /// The file.
        path: PathBuf,
        /// What the system says.
        fault: io::Error,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LedgerFile {
    boot_id: String,
    held: Vec<HeldEntry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeldEntry {
    key: Vec<String>,
    before: String,
    written: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    beside: Vec<BesideEntry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BesideEntry {
    key: Vec<String>,
    before: String,
}

impl Ledger {
    /// Opens the ledger of the settings below `/proc/sys`; the file is in `state_dir`.
    ///
    /// # Errors
    /// [`SysctlError::Ledger`] when the file is damaged: former values must not be guessed. Delete
    /// it to go on without them.
    pub fn open(state_dir: &Path) -> Result<Self, SysctlError> {
        Self::below(Path::new("/proc/sys"), state_dir)
    }

    /// As [`Ledger::open`], for settings below another folder.
    ///
    /// # Errors
    /// As [`Ledger::open`].
    pub fn below(root: &Path, state_dir: &Path) -> Result<Self, SysctlError> {
        let path = state_dir.join(LEDGER_FILE);
        let boot_id = fs::read_to_string(root.join("kernel/random/boot_id")).unwrap_or_default();
        let boot_id = boot_id.trim().to_owned();
        let file: Option<LedgerFile> = statefile::read(&path)
            .map_err(|fault| SysctlError::Ledger { path: path.clone(), fault })?;
        let held = match file {
            Some(file) if file.boot_id == boot_id => {
                file.held.into_iter().map(HeldEntry::into_held).collect()
            }
            _ => BTreeMap::new(),
        };
        Ok(Self { root: root.to_owned(), path, boot_id, held })
    }

    /// Reads a setting, inner white space made single.
    ///
    /// # Errors
    /// [`SysctlError`]; `Missing` when the kernel has none of that name.
    pub fn read(&self, key: &SysctlKey) -> Result<String, SysctlError> {
        let content = fs::read_to_string(self.file(key)?);
        content.map(|text| normal(&text)).map_err(|fault| refused("read", key, fault))
    }

    /// Reads what we hold, and `extra` besides; what this kernel does not have is left out.
    ///
    /// # Errors
    /// [`SysctlError`] when a setting is there and cannot be read.
    pub fn observe(
        &self,
        extra: &BTreeSet<SysctlKey>,
    ) -> Result<BTreeMap<SysctlKey, String>, SysctlError> {
        let mut seen = BTreeMap::new();
        for key in self.held.keys().chain(extra) {
            match self.read(key) {
                Ok(value) => {
                    seen.insert(key.clone(), value);
                }
                Err(SysctlError::Missing { .. }) => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(seen)
    }

    /// Remembers the present value unless it is one of ours, then writes `value` and reads it back.
    ///
    /// # Errors
    /// [`SysctlError`]; after `Ledger` the setting was not touched.
    pub fn set(&mut self, key: &SysctlKey, value: &str) -> Result<(), SysctlError> {
        self.set_keeping_routers(key, value, &BTreeSet::new())
    }

    /// As [`Ledger::set`]; before the write those of `links` that would lose their advertised router
    /// by it are told to heed advertisements all the same (`accept_ra` 1 becomes 2). That is part of
    /// the entry, and goes back with it.
    ///
    /// # Errors
    /// As [`Ledger::set`].
    pub fn set_keeping_routers(
        &mut self,
        key: &SysctlKey,
        value: &str,
        links: &BTreeSet<LinkName>,
    ) -> Result<(), SysctlError> {
        let value = normal(value);
        let present = self.read(key)?;
        let mut held = self.held.get(key).cloned().unwrap_or_else(|| Held {
            before: present.clone(),
            written: BTreeSet::new(),
            beside: BTreeMap::new(),
        });
        if !held.written.contains(&present) {
            held.before = present.clone();
        }
        held.written.insert(value.clone());
        let mut heeding = BTreeMap::new();
        if present != value {
            heeding = self.heeding_as_hosts(links)?;
            let beside = self.not_given_back_by(key, &held.before)?.into_iter();
            for (side, before) in beside.chain(heeding.clone()) {
                held.beside.entry(side).or_insert(before);
            }
        }
        if self.held.get(key) != Some(&held) {
            let mut next = self.held.clone();
            next.insert(key.clone(), held);
            self.save(next)?;
        }
        for side in heeding.keys() {
            unless_vanished(self.write(side, HEED_RA_AS_ROUTER))?;
        }
        if present == value { Ok(()) } else { self.write(key, &value) }
    }

    /// Writes the former value back, if the present one is still ours, and forgets the entry. So it
    /// does with what changed along: what still shows what the write made of it goes back.
    ///
    /// # Errors
    /// [`SysctlError`]; the entry is then kept, so it can be tried again.
    pub fn restore(&mut self, key: &SysctlKey) -> Result<Restored, SysctlError> {
        let Some(held) = self.held.get(key).cloned() else {
            return Ok(Restored::NotHeld);
        };
        let outcome = match self.read(key) {
            // Written once more, forwarding would again spread to every link.
            Ok(present) if present == held.before => Restored::Written,
            Ok(present) if held.written.contains(&present) => {
                self.write(key, &held.before)?;
                Restored::Written
            }
            Ok(present) => Restored::ChangedSince { present },
            Err(SysctlError::Missing { .. }) => Restored::Vanished,
            Err(fault) => return Err(fault),
        };
        self.give_back_beside(&held)?;
        self.forget(key)?;
        Ok(outcome)
    }

    /// Holds a setting no longer, and leaves it as it is.
    ///
    /// # Errors
    /// [`SysctlError::Ledger`]; the entry is then kept.
    pub fn forget(&mut self, key: &SysctlKey) -> Result<(), SysctlError> {
        let mut next = self.held.clone();
        next.remove(key);
        self.save(next)
    }

    /// Returns what changes when `key` is written and would not become what it is when `key` became
    /// `before` again.
    fn not_given_back_by(
        &self,
        key: &SysctlKey,
        before: &str,
    ) -> Result<BTreeMap<SysctlKey, String>, SysctlError> {
        let sides = side_effects::rewritten_with(key, &self.root)
            .map_err(|fault| refused("list what changes with", key, fault))?;
        let mut kept = BTreeMap::new();
        for side in sides {
            if let Some(present) = unless_vanished(self.read(&side))?
                && present != side_effects::shown(&side, before)
            {
                kept.insert(side, present);
            }
        }
        Ok(kept)
    }

    /// Returns `accept_ra` of those links that heed router advertisements while they do not forward,
    /// and do not forward yet.
    fn heeding_as_hosts(
        &self,
        links: &BTreeSet<LinkName>,
    ) -> Result<BTreeMap<SysctlKey, String>, SysctlError> {
        let mut heeding = BTreeMap::new();
        for link in links {
            let accept_ra = side_effects::accept_ra(link);
            let present = unless_vanished(self.read(&accept_ra))?;
            let forwards = unless_vanished(self.read(&side_effects::forwarding(link)))?;
            if present.as_deref() == Some(HEED_RA_AS_HOST) && forwards.as_deref() == Some("0") {
                heeding.insert(accept_ra, HEED_RA_AS_HOST.to_owned());
            }
        }
        Ok(heeding)
    }

    /// One that cannot be written does not stop the others; the first reason is returned.
    fn give_back_beside(&self, held: &Held) -> Result<(), SysctlError> {
        let mut sides: Vec<_> = held.beside.iter().collect();
        sides.sort_by_key(|(side, _)| side_effects::goes_back_last(side));
        let give_back = |(side, before): (&SysctlKey, &String)| match self.read(side)? {
            present if present == *before => Ok(()),
            present if present == side_effects::shown(side, &held.before) => {
                self.write(side, before)
            }
            _ => Ok(()),
        };
        let outcomes: Vec<_> = sides.into_iter().map(give_back).collect();
        outcomes.into_iter().try_for_each(|outcome| unless_vanished(outcome).map(drop))
    }

    fn write(&self, key: &SysctlKey, value: &str) -> Result<(), SysctlError> {
        fs::write(self.file(key)?, value).map_err(|fault| refused("set", key, fault))?;
        let present = self.read(key)?;
        if present == value {
            return Ok(());
        }
        Err(SysctlError::NotAsWritten { key: key.clone(), wanted: value.to_owned(), present })
    }

    fn save(&mut self, mut next: BTreeMap<SysctlKey, Held>) -> Result<(), SysctlError> {
        next.retain(|key, _| self.file(key).is_ok_and(|file| file.exists()));
        let saved = if next.is_empty() {
            statefile::remove(&self.path)
        } else {
            let held = next.iter().map(|(key, held)| HeldEntry::of(key, held)).collect();
            statefile::write(&self.path, &LedgerFile { boot_id: self.boot_id.clone(), held })
        };
        saved.map_err(|fault| SysctlError::Ledger { path: self.path.clone(), fault })?;
        self.held = next;
        Ok(())
    }

    fn file(&self, key: &SysctlKey) -> Result<PathBuf, SysctlError> {
        let sound =
            |part: &String| !matches!(part.as_str(), "" | "." | "..") && !part.contains('/');
        if key.components().is_empty() || !key.components().iter().all(sound) {
            return Err(SysctlError::Key { key: key.clone() });
        }
        Ok(self.root.join(key.components().iter().collect::<PathBuf>()))
    }
}

impl HeldEntry {
    fn of(key: &SysctlKey, held: &Held) -> Self {
        Self {
            key: key.components().to_vec(),
            before: held.before.clone(),
            written: held.written.clone(),
            beside: held
                .beside
                .iter()
                .map(|(key, before)| BesideEntry {
                    key: key.components().to_vec(),
                    before: before.clone(),
                })
                .collect(),
        }
    }

    fn into_held(self) -> (SysctlKey, Held) {
        let beside = self.beside.into_iter();
        let beside = beside.map(|entry| (entry.key.into_iter().collect(), entry.before)).collect();
        (
            self.key.into_iter().collect(),
            Held { before: self.before, written: self.written, beside },
        )
    }
}

/// A setting that went with its link needs nothing more.
fn unless_vanished<T>(result: Result<T, SysctlError>) -> Result<Option<T>, SysctlError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(SysctlError::Missing { .. }) => Ok(None),
        Err(fault) => Err(fault),
    }
}

fn refused(action: &'static str, key: &SysctlKey, fault: io::Error) -> SysctlError {
    let key = key.clone();
    match fault.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => SysctlError::Missing { key },
        _ => SysctlError::Refused { action, key, fault },
    }
}

/// Settings of several numbers are shown with tabs and taken with blanks.
fn normal(text: &str) -> String {
    text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
