//! Owns what became of changes: how many stand, which failed, why, and whether trying again helps.
//! Does not own when to try again.

use nix::errno::Errno;
use sealane_state::change::Change;

use crate::netlink::refusal::Refusal;
use crate::nft::NftError;
use crate::sysctl::SysctlError;
use crate::wireguard::WireguardError;
use crate::wireguard::process::TunnelError;

/// What became of a list of changes.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How many were applied.
    pub applied: usize,
    /// Those that failed, in order; the others were applied all the same.
    pub errors: Vec<ApplyError>,
}

/// A change that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{change}: {cause}")]
pub struct ApplyError {
    /// The change as text, such as `+ route 10.48.0.0/16 dev sealane0 table 5182`.
    pub change: String,
    /// Why it failed, with the name of the error number where there is one.
    pub cause: String,
    /// Whether trying again helps.
    pub retry: Retry,
}

/// When trying a failed change again may succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Retry {
    /// In a moment, with nothing else changed.
    Soon,
    /// Once something on the host or in the plan has changed.
    OnChange,
    /// Not on this host as it is configured and installed.
    Never,
}

/// A failure before it is tied to its change.
#[derive(Debug, Clone)]
pub struct Fault {
    cause: String,
    retry: Retry,
}

impl Outcome {
    /// Counts one change.
    pub fn record(&mut self, change: &Change, result: Result<(), Fault>) {
        match result {
            Ok(()) => self.applied += 1,
            Err(Fault { cause, retry }) => {
                self.errors.push(ApplyError { change: change.to_string(), cause, retry });
            }
        }
    }
}

/// Says when an error number is worth another try.
fn retry(errno: Errno) -> Retry {
    match errno {
        Errno::EAGAIN
        | Errno::EBUSY
        | Errno::EINTR
        | Errno::EIO
        | Errno::ENOBUFS
        | Errno::ENOMEM
        | Errno::ETIMEDOUT => Retry::Soon,
        Errno::EACCES
        | Errno::EAFNOSUPPORT
        | Errno::ENOSYS
        | Errno::EOPNOTSUPP
        | Errno::EPERM
        | Errno::EPROTONOSUPPORT
        | Errno::EROFS => Retry::Never,
        _ => Retry::OnChange,
    }
}

fn io_fault(cause: String, fault: &std::io::Error) -> Fault {
    let errno = fault.raw_os_error().map(Errno::from_raw);
    Fault { cause, retry: errno.map_or(Retry::Soon, retry) }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        let cause = refusal.to_string();
        Self { cause, retry: retry(refusal.errno) }
    }
}

impl From<WireguardError> for Fault {
    fn from(error: WireguardError) -> Self {
        let cause = error.to_string();
        let retry = match &error {
            WireguardError::Unreachable { fault, .. } | WireguardError::Refused { fault, .. } => {
                return io_fault(cause, fault);
            }
            WireguardError::Unsteady { .. } => Retry::Soon,
            WireguardError::NoDevice { .. }
            | WireguardError::NoPrivateKey { .. }
            | WireguardError::NoPsk { .. } => Retry::OnChange,
            WireguardError::Answer { .. }
            | WireguardError::AcceptedSources { .. }
            | WireguardError::HostBits { .. } => Retry::Never,
        };
        Self { cause, retry }
    }
}

impl From<TunnelError> for Fault {
    fn from(error: TunnelError) -> Self {
        let cause = error.to_string();
        let retry = match error {
            TunnelError::Socket(error) => return error.into(),
            TunnelError::NoProgram { .. } => Retry::Never,
            TunnelError::External { .. } => Retry::OnChange,
            TunnelError::Start { .. }
            | TunnelError::Ended { .. }
            | TunnelError::Silent { .. }
            | TunnelError::NoUnit { .. }
            | TunnelError::Wish { .. }
            | TunnelError::Stop { .. } => Retry::Soon,
        };
        Self { cause, retry }
    }
}

impl From<NftError> for Fault {
    fn from(error: NftError) -> Self {
        let cause = error.to_string();
        let retry = match &error {
            NftError::Generation { fault } => return io_fault(cause, fault),
            NftError::Missing { .. } | NftError::Text(_) | NftError::Listing { .. } => Retry::Never,
            NftError::Run { .. }
            | NftError::Slow { .. }
            | NftError::Refused { .. }
            | NftError::NotAsWritten
            | NftError::Record { .. } => Retry::Soon,
        };
        Self { cause, retry }
    }
}

impl From<SysctlError> for Fault {
    fn from(error: SysctlError) -> Self {
        let cause = error.to_string();
        let retry = match &error {
            SysctlError::Refused { fault, .. } => return io_fault(cause, fault),
            SysctlError::Key { .. } => Retry::Never,
            SysctlError::Missing { .. } | SysctlError::NotAsWritten { .. } => Retry::OnChange,
            SysctlError::Ledger { .. } => Retry::Soon,
        };
        Self { cause, retry }
    }
}
