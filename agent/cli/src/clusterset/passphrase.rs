//! Owns where the passphrase of a root key comes from (a file, the environment or a terminal, never an
//! argument), and whether a new root key gets one. Does not own how it protects the key.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use clap::Args;
use sealane_api::keys::SigningSeed;
use zeroize::Zeroizing;

use super::root_key::{Cost, Protection, RootKeyFile};
use crate::failure::{Exit, Failure};

const VARIABLE: &str = "SEALANE_PASSPHRASE";
const SHORTEST: usize = 8;

/// The passphrase of a root key; wiped when dropped, never printed.
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// Takes over a text.
    pub fn new(text: Zeroizing<String>) -> Self {
        Self(text)
    }

    /// Shows the bytes to the function that stretches them.
    pub fn expose(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// Where the passphrase comes from.
#[derive(Debug, Clone, Args)]
pub struct PassphraseArgs {
    /// File whose first line is the passphrase of the root key; else the variable
    /// SEALANE_PASSPHRASE, else a terminal is asked.
    #[arg(long, value_name = "FILE", env = "SEALANE_PASSPHRASE_FILE")]
    pub passphrase_file: Option<PathBuf>,
}

/// How a new root key is kept.
#[derive(Debug, Clone, Args)]
pub struct ProtectionArgs {
    #[command(flatten)]
    passphrase: PassphraseArgs,
    /// Keep the new root key without a passphrase; its file mode is then all that protects it.
    #[arg(long, conflicts_with = "passphrase_file")]
    no_passphrase: bool,
}

impl ProtectionArgs {
    /// Returns the file of a new root key.
    pub fn file_of(&self, root: &SigningSeed) -> Result<RootKeyFile, Failure> {
        if self.no_passphrase {
            return RootKeyFile::of(root, &Protection::ModeOnly);
        }
        let passphrase = self.passphrase.chosen()?;
        RootKeyFile::of(root, &Protection::Sealed(&passphrase, Cost::RECOMMENDED))
    }
}

impl PassphraseArgs {
    /// Returns the passphrase of an existing key.
    pub fn known(&self) -> Result<Passphrase, Failure> {
        match self.unattended()? {
            Some(passphrase) => Ok(passphrase),
            None => prompt("Passphrase of the root key: "),
        }
    }

    /// Returns the passphrase of a new key; on a terminal it is typed twice.
    fn chosen(&self) -> Result<Passphrase, Failure> {
        let passphrase = match self.unattended()? {
            Some(passphrase) => passphrase,
            None => {
                let first = prompt("New passphrase for the root key: ")?;
                if first.expose() != prompt("The same again: ")?.expose() {
                    return Err(bad("the two differ", "start again"));
                }
                first
            }
        };
        if passphrase.expose().len() < SHORTEST {
            return Err(bad("it has fewer than 8 characters", "choose a longer one"));
        }
        Ok(passphrase)
    }

    fn unattended(&self) -> Result<Option<Passphrase>, Failure> {
        if let Some(path) = &self.passphrase_file {
            let text = std::fs::read_to_string(path).map(Zeroizing::new).map_err(|cause| {
                bad(format!("{}: {cause}", path.display()), "name a readable file")
            })?;
            let line = text.lines().next().unwrap_or_default();
            return Ok(Some(Passphrase::new(Zeroizing::new(line.to_owned()))));
        }
        Ok(std::env::var(VARIABLE).ok().map(|text| Passphrase::new(Zeroizing::new(text))))
    }
}

fn prompt(question: &str) -> Result<Passphrase, Failure> {
    let next = "give --passphrase-file or set SEALANE_PASSPHRASE";
    if !std::io::stderr().is_terminal() {
        return Err(bad("there is no terminal to ask on", next));
    }
    rpassword::prompt_password(question)
        .map(|text| Passphrase::new(Zeroizing::new(text)))
        .map_err(|cause| bad(cause, next))
}

fn bad(cause: impl ToString, next: &str) -> Failure {
    Failure::new(Exit::BadInput, "passphrase of the root key", cause.to_string()).next(next)
}
