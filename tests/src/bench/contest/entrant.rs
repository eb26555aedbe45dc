//! Owns who takes part and how each is started. Does not own versions: those are with the assets.

use clap::ValueEnum;

use crate::assets::program::{AssetError, BORINGTUN, GOTATUN, Program, TAILSCALE, WIREGUARD_GO};
use crate::lab::host::Host;
use crate::lab::process::Command;

/// Whom all others are compared with.
pub const BASELINE: &str = "wireguard-go";
/// Whose ratios to others are told by name.
pub const OWN: &str = "sealane-tunnel";

/// A program that makes a WireGuard device in userspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Entrant {
    /// Ours.
    Sealane,
    /// The reference in Go.
    WireguardGo,
    /// Tailscale's fork of that.
    Tailscale,
    /// Cloudflare's.
    Boringtun,
    /// Mullvad's.
    Gotatun,
}

/// One that is there to be started.
#[derive(Debug, Clone)]
pub struct Ready {
    /// As reports call it.
    pub name: &'static str,
    program: String,
    flags: &'static [&'static str],
}

impl Entrant {
    /// Builds it where it is not there yet; `None`, said aloud, where that fails and
    /// `SEALANE_OFFLINE=1`.
    ///
    /// # Errors
    /// It cannot be had.
    pub fn obtain(self) -> Result<Option<Ready>, AssetError> {
        const DETACHED: &[&str] =
            &["--foreground", "--disable-drop-privileges", "--verbosity", "error"];
        let (name, program, flags): (_, &Program, &'static [&'static str]) = match self {
            Self::Sealane => {
                let (program, flags) = ("sealane-tunnel".to_owned(), &["--foreground"]);
                return Ok(Some(Ready { name: OWN, program, flags }));
            }
            Self::WireguardGo => (BASELINE, &WIREGUARD_GO, &["-f"]),
            Self::Tailscale => ("tailscale", &TAILSCALE, &["-f"]),
            Self::Boringtun => ("boringtun-cli", &BORINGTUN, DETACHED),
            Self::Gotatun => ("gotatun", &GOTATUN, DETACHED),
        };
        let path = program.obtain()?;
        Ok(path.map(|path| Ready { name, program: path.display().to_string(), flags }))
    }
}

impl Ready {
    /// The command that makes the device `link` on a host.
    pub fn command(&self, host: &Host, link: &str) -> Command {
        host.command(&self.program).args(self.flags).arg(link)
    }
}
