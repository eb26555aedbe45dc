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
    #[error("sysctl ledger {path}: {fault}")]
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
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_setting_is_given_back_as_it_was_before_the_first_write() {
        let host = Host::with("net/ipv4/ip_forward", "0\n");
        let key = SysctlKey::new(["net", "ipv4", "ip_forward"]);
        let mut ledger = host.ledger();
        ledger.set(&key, "1").unwrap();
        ledger.set(&key, "2").unwrap();
        assert_eq!(host.value("net/ipv4/ip_forward"), "2");
        let mut restarted = host.ledger();
        assert_eq!(restarted.restore(&key).unwrap(), Restored::Written);
        assert_eq!(host.value("net/ipv4/ip_forward"), "0");
        assert_eq!(restarted.restore(&key).unwrap(), Restored::NotHeld);
        assert!(!host.state.path().join(LEDGER_FILE).exists());
    }

    #[test]
    fn the_former_value_is_on_the_disk_before_the_setting_changes() {
        let host = Host::with("net/a", "0");
        let key = SysctlKey::new(["net", "a"]);
        let mut ledger = host.ledger();
        // A state folder that cannot be made: a file stands where it should be.
        ledger.path = host.root.path().join("net/a/sysctl.json");
        assert!(matches!(ledger.set(&key, "1"), Err(SysctlError::Ledger { .. })));
        assert_eq!(host.value("net/a"), "0");
        let mut ledger = host.ledger();
        ledger.set(&key, "1").unwrap();
        let file = host.state.path().join(LEDGER_FILE).metadata().unwrap();
        assert_eq!(file.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_forwarding_rewrites_is_as_it_was_when_forwarding_is_given_back() {
        let host = Host::with("net/ipv4/ip_forward", "0");
        host.put_all(&[("all/accept_redirects", "0"), ("default/forwarding", "1")]);
        host.put_all(&[("d0/forwarding", "1"), ("d1/forwarding", "0"), ("gone/forwarding", "1")]);
        host.put_all(&[("chosen/forwarding", "1")]);
        let key = SysctlKey::new(["net", "ipv4", "ip_forward"]);
        host.ledger().set(&key, "1").unwrap();
        // As the kernel does at "1", then at "0", which the plain files of this test do not.
        host.put_all(&[("d1/forwarding", "1")]);
        fs::remove_dir_all(host.root.path().join("net/ipv4/conf/gone")).unwrap();
        host.put_all(&[("all/accept_redirects", "1"), ("default/forwarding", "0")]);
        host.put_all(&[("d0/forwarding", "0"), ("d1/forwarding", "0"), ("new/forwarding", "0")]);
        // By a hand that chose a value that the kernel did not give.
        host.put_all(&[("chosen/forwarding", "7")]);
        assert_eq!(host.ledger().restore(&key).unwrap(), Restored::Written);
        let all = ["all/accept_redirects", "default/forwarding", "d0/forwarding", "d1/forwarding"];
        let values = all.map(|name| host.value(&format!("net/ipv4/conf/{name}")));
        assert_eq!(values, ["0", "1", "1", "0"]);
        assert_eq!(host.value("net/ipv4/conf/new/forwarding"), "0");
        assert_eq!(host.value("net/ipv4/conf/chosen/forwarding"), "7");
        assert!(!host.state.path().join(LEDGER_FILE).exists());
    }

    #[test]
    fn links_with_an_advertised_router_heed_it_while_we_forward() {
        let host = Host::with("net/ipv6/conf/all/forwarding", "0");
        for (link, accept_ra, forwarding) in
            [("up0", "1", "0"), ("off0", "0", "0"), ("routes0", "1", "1"), ("other0", "1", "0")]
        {
            host.put(&format!("net/ipv6/conf/{link}/accept_ra"), accept_ra);
            host.put(&format!("net/ipv6/conf/{link}/forwarding"), forwarding);
        }
        let accept_ra = || {
            ["up0", "off0", "routes0", "other0"]
                .map(|link| host.value(&format!("net/ipv6/conf/{link}/accept_ra")))
        };
        let key = SysctlKey::new(["net", "ipv6", "conf", "all", "forwarding"]);
        let links = ["up0", "off0", "routes0", "gone0"].map(|link| link.parse().unwrap());
        host.ledger().set_keeping_routers(&key, "1", &links.into()).unwrap();
        assert_eq!(accept_ra(), ["2", "0", "1", "1"]);
        host.ledger().restore(&key).unwrap();
        assert_eq!(accept_ra(), ["1", "0", "1", "1"]);
    }

    #[test]
    fn a_host_that_forwards_already_is_not_touched() {
        let host = Host::with("net/ipv6/conf/all/forwarding", "1");
        host.put("net/ipv6/conf/up0/accept_ra", "1");
        host.put("net/ipv6/conf/up0/forwarding", "0");
        let key = SysctlKey::new(["net", "ipv6", "conf", "all", "forwarding"]);
        let links = BTreeSet::from(["up0".parse().unwrap()]);
        host.ledger().set_keeping_routers(&key, "1", &links).unwrap();
        assert_eq!(host.value("net/ipv6/conf/up0/accept_ra"), "1");
        let written = || host.root.path().join(key.to_string()).metadata().unwrap().modified();
        let before = written().unwrap();
        assert_eq!(host.ledger().restore(&key).unwrap(), Restored::Written);
        assert_eq!(written().unwrap(), before, "written once more it would reach every link");
    }

    #[test]
    fn what_someone_else_set_since_stays() {
        let host = Host::with("net/a", "0");
        let key = SysctlKey::new(["net", "a"]);
        let mut ledger = host.ledger();
        ledger.set(&key, "1").unwrap();
        host.put("net/a", "7");
        let outcome = Restored::ChangedSince { present: "7".to_owned() };
        assert_eq!(ledger.restore(&key).unwrap(), outcome);
        assert_eq!(host.value("net/a"), "7");
        assert_eq!(ledger.observe(&BTreeSet::new()).unwrap(), BTreeMap::new());
    }

    #[test]
    fn a_value_that_someone_else_set_and_we_overrode_is_the_one_given_back() {
        let host = Host::with("net/a", "0");
        let key = SysctlKey::new(["net", "a"]);
        let mut ledger = host.ledger();
        ledger.set(&key, "1").unwrap();
        host.put("net/a", "7");
        ledger.set(&key, "1").unwrap();
        ledger.restore(&key).unwrap();
        assert_eq!(host.value("net/a"), "7");
    }

    #[test]
    fn a_crash_between_ledger_and_write_loses_no_former_value() {
        let host = Host::with("net/a", "0");
        let key = SysctlKey::new(["net", "a"]);
        let mut ledger = host.ledger();
        ledger.set(&key, "1").unwrap();
        ledger.set(&key, "2").unwrap();
        // As if the second write had not reached the kernel.
        host.put("net/a", "1");
        let mut restarted = host.ledger();
        restarted.set(&key, "2").unwrap();
        restarted.restore(&key).unwrap();
        assert_eq!(host.value("net/a"), "0");
    }

    #[test]
    fn settings_of_vanished_links_are_forgotten() {
        let host = Host::with("net/ipv4/conf/sealane0/rp_filter", "0");
        let key = SysctlKey::new(["net", "ipv4", "conf", "sealane0", "rp_filter"]);
        let mut ledger = host.ledger();
        ledger.set(&key, "2").unwrap();
        fs::remove_dir_all(host.root.path().join("net/ipv4/conf/sealane0")).unwrap();
        assert_eq!(ledger.observe(&BTreeSet::new()).unwrap(), BTreeMap::new());
        assert_eq!(ledger.restore(&key).unwrap(), Restored::Vanished);
        assert!(matches!(ledger.set(&key, "2"), Err(SysctlError::Missing { .. })));
    }

    #[test]
    fn a_reboot_ends_what_we_hold() {
        let host = Host::with("net/a", "0");
        host.put("kernel/random/boot_id", "one\n");
        let key = SysctlKey::new(["net", "a"]);
        host.ledger().set(&key, "1").unwrap();
        host.put("kernel/random/boot_id", "two\n");
        assert_eq!(host.ledger().restore(&key).unwrap(), Restored::NotHeld);
    }

    #[test]
    fn observed_are_the_held_and_the_asked_for_with_single_blanks() {
        let host = Host::with("net/ipv4/ports", "32768\t60999\n");
        host.put("net/a", "0");
        let held = SysctlKey::new(["net", "a"]);
        let asked = SysctlKey::new(["net", "ipv4", "ports"]);
        let absent = SysctlKey::new(["net", "ipv6", "off"]);
        let mut ledger = host.ledger();
        ledger.set(&held, "1").unwrap();
        let seen = ledger.observe(&BTreeSet::from([asked.clone(), absent])).unwrap();
        let expected = [(held, "1".to_owned()), (asked, "32768 60999".to_owned())];
        assert_eq!(seen, BTreeMap::from(expected));
    }

    #[test]
    fn no_key_leads_out_of_the_settings() {
        let host = Host::with("net/a", "0");
        let mut ledger = host.ledger();
        for part in ["..", ".", "", "a/b", "../../etc"] {
            let key = SysctlKey::new(["net", part]);
            assert!(matches!(ledger.read(&key), Err(SysctlError::Key { .. })), "{part}");
            assert!(matches!(ledger.set(&key, "1"), Err(SysctlError::Key { .. })), "{part}");
        }
    }

    #[test]
    fn a_damaged_ledger_is_an_error_that_names_the_file() {
        let host = Host::with("net/a", "0");
        fs::write(host.state.path().join(LEDGER_FILE), "{\"boot_id\":").unwrap();
        let fault = Ledger::below(host.root.path(), host.state.path()).unwrap_err().to_string();
        assert!(fault.contains(LEDGER_FILE), "{fault}");
    }

    /// A folder that looks like `/proc/sys`.
    struct Host {
        root: TempDir,
        state: TempDir,
    }

    impl Host {
        fn with(name: &str, value: &str) -> Self {
            let host = Self { root: TempDir::new().unwrap(), state: TempDir::new().unwrap() };
            host.put(name, value);
            host
        }

        fn put(&self, name: &str, value: &str) {
            let file = self.root.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, value).unwrap();
        }

        fn put_all(&self, ipv4_conf: &[(&str, &str)]) {
            for (name, value) in ipv4_conf {
                self.put(&format!("net/ipv4/conf/{name}"), value);
            }
        }

        fn value(&self, name: &str) -> String {
            fs::read_to_string(self.root.path().join(name)).unwrap()
        }

        fn ledger(&self) -> Ledger {
            Ledger::below(self.root.path(), self.state.path()).unwrap()
        }
    }
}
