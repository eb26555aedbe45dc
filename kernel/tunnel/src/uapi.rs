//! Owns the reading of the WireGuard cross-platform control protocol: text in, typed request out.
//! Applies nothing. `sealane_keep_sessions`, `sealane_accept_ip`, `sealane_replace_accept_ips` and the
//! request `sealane_get=version` are our extension.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnetwork::IpNetwork;
use thiserror::Error;

use crate::key::{self, PresharedKey, PrivateKey, PublicKey};

/// A request that could be read.
pub enum Request {
    /// `get=1`.
    Get,
    /// `sealane_get=version`: a request of its own, since no reader of `get=1` expects it there.
    Version,
    /// `set=1` and what follows.
    Set(Box<SetDevice>),
}

/// What a `set` changes; `None` leaves alone.
#[derive(Default)]
pub struct SetDevice {
    /// Our private key; the inner `None` unsets it.
    pub private_key: Option<Option<PrivateKey>>,
    /// What becomes of the sessions under the private key before.
    pub succession: Succession,
    /// UDP port; 0 picks one.
    pub listen_port: Option<u16>,
    /// Mark on what is sent; 0 unsets it.
    pub fwmark: Option<u32>,
    /// Whether peers not named are removed.
    pub replace_peers: bool,
    /// Peers, in the order given.
    pub peers: Vec<SetPeer>,
}

/// What becomes of sessions when the private key changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Succession {
    /// They end, as with any WireGuard.
    #[default]
    Abrupt,
    /// Each goes on until there is one under the new key with the same peer.
    Smooth,
}

/// What a `set` changes in one peer; `None` leaves alone.
pub struct SetPeer {
    /// Which peer.
    pub public_key: PublicKey,
    /// Whether it is removed.
    pub remove: bool,
    /// Whether it must exist already.
    pub update_only: bool,
    /// Its pre-shared key; the inner `None` unsets it.
    pub preshared_key: Option<Option<PresharedKey>>,
    /// Where it is.
    pub endpoint: Option<SocketAddr>,
    /// Persistent keepalive in seconds; 0 is off.
    pub keepalive: Option<u16>,
    /// Whether its allowed prefixes are dropped before the changes.
    pub replace_allowed_ips: bool,
    /// Changes to the prefixes it owns.
    pub allowed_ips: Vec<PrefixChange>,
    /// Whether its accept set is dropped before the changes.
    pub replace_accept_ips: bool,
    /// Changes to the prefixes it may send from though others may own them.
    pub accept_ips: Vec<PrefixChange>,
}

/// One change to a set of prefixes; host bits are cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrefixChange {
    /// `10.0.0.0/8`
    Add(IpNetwork),
    /// `-10.0.0.0/8`
    Remove(IpNetwork),
}

/// Why a request cannot be read. Nothing of it is applied.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum UapiError {
    /// Neither `get=1` nor `set=1` comes first.
    #[error("the first line is neither get=1 nor set=1")]
    Operation,
    /// A line without `=`.
    #[error("line {line} is not of the form key=value")]
    Syntax {
        /// Counted from 1.
        line: usize,
    },
    /// A key that is unknown, or at the wrong place.
    #[error("line {line}: the key {key} is unknown, or not allowed here")]
    Key {
        /// Counted from 1.
        line: usize,
        /// As given, shortened.
        key: String,
    },
    /// A value that is none for its key. The value is not repeated: it may be secret.
    #[error("line {line}: not a valid {key}")]
    Value {
        /// Counted from 1.
        line: usize,
        /// As given.
        key: String,
    },
}

impl UapiError {
    /// The error number to answer with: EPROTO or EINVAL.
    #[must_use]
    pub const fn errno(&self) -> i32 {
        match self {
            Self::Operation | Self::Syntax { .. } => 71,
            Self::Key { .. } | Self::Value { .. } => 22,
        }
    }
}

/// The length of the first whole request in a buffer, its empty last line included.
#[must_use]
pub fn request_len(buffer: &[u8]) -> Option<usize> {
    if buffer.first() == Some(&b'\n') {
        return Some(1);
    }
    buffer.windows(2).position(|pair| pair == b"\n\n").map(|at| at + 2)
}

/// Reads one request: lines up to an empty one.
///
/// # Errors
/// [`UapiError`] names the first line that cannot be read.
pub fn parse(text: &str) -> Result<Request, UapiError> {
    let mut lines = text.lines().take_while(|line| !line.is_empty()).zip(1..);
    match lines.next() {
        Some(("get=1", _)) => match lines.next() {
            None => Ok(Request::Get),
            Some((line, number)) => Err(unknown(number, line)),
        },
        Some(("sealane_get=version", _)) => match lines.next() {
            None => Ok(Request::Version),
            Some((line, number)) => Err(unknown(number, line)),
        },
        Some(("set=1", _)) => {
            let mut device = SetDevice::default();
            for (line, number) in lines {
                let (key, value) =
                    line.split_once('=').ok_or(UapiError::Syntax { line: number })?;
                device.take(key, value, number)?;
            }
            Ok(Request::Set(Box::new(device)))
        }
        _ => Err(UapiError::Operation),
    }
}

impl SetDevice {
    fn take(&mut self, key: &str, value: &str, line: usize) -> Result<(), UapiError> {
        let bad = || UapiError::Value { line, key: key.to_owned() };
        if key == "public_key" {
            let key = PublicKey::from_hex(value).ok_or_else(bad)?;
            self.peers.push(SetPeer::new(key));
            return Ok(());
        }
        if let Some(peer) = self.peers.last_mut() {
            return peer.take(key, value, line);
        }
        match key {
            "private_key" => {
                let bytes = key::bytes_from_hex(value).ok_or_else(bad)?;
                self.private_key = Some(PrivateKey::new(bytes));
            }
            "sealane_keep_sessions" => {
                yes(value).ok_or_else(bad)?;
                self.succession = Succession::Smooth;
            }
            "listen_port" => self.listen_port = Some(number(value).ok_or_else(bad)?),
            "fwmark" => self.fwmark = Some(number(value).ok_or_else(bad)?),
            "replace_peers" => self.replace_peers = yes(value).ok_or_else(bad)?,
            _ => return Err(unknown(line, key)),
        }
        Ok(())
    }
}

impl SetPeer {
    /// No change to the peer of this key, besides adding it if it is new.
    #[must_use]
    pub const fn new(public_key: PublicKey) -> Self {
        Self {
            public_key,
            remove: false,
            update_only: false,
            preshared_key: None,
            endpoint: None,
            keepalive: None,
            replace_allowed_ips: false,
            allowed_ips: Vec::new(),
            replace_accept_ips: false,
            accept_ips: Vec::new(),
        }
    }

    fn take(&mut self, key: &str, value: &str, line: usize) -> Result<(), UapiError> {
        let bad = || UapiError::Value { line, key: key.to_owned() };
        match key {
            "remove" => self.remove = yes(value).ok_or_else(bad)?,
            "update_only" => self.update_only = yes(value).ok_or_else(bad)?,
            "preshared_key" => {
                let bytes = key::bytes_from_hex(value).ok_or_else(bad)?;
                self.preshared_key = Some(PresharedKey::new(bytes));
            }
            "endpoint" => self.endpoint = Some(endpoint(value).ok_or_else(bad)?),
            "persistent_keepalive_interval" => {
                self.keepalive = Some(number(value).ok_or_else(bad)?);
            }
            "replace_allowed_ips" => self.replace_allowed_ips = yes(value).ok_or_else(bad)?,
            "allowed_ip" => self.allowed_ips.push(prefix(value).ok_or_else(bad)?),
            "sealane_replace_accept_ips" => {
                self.replace_accept_ips = yes(value).ok_or_else(bad)?;
            }
            "sealane_accept_ip" => self.accept_ips.push(prefix(value).ok_or_else(bad)?),
            "protocol_version" if value == "1" => {}
            "protocol_version" => return Err(bad()),
            _ => return Err(unknown(line, key)),
        }
        Ok(())
    }
}

fn unknown(line: usize, key: &str) -> UapiError {
    // No key word is longer; what is, may be a value that lost its key.
    UapiError::Key { line, key: key.chars().take(32).collect() }
}

fn yes(value: &str) -> Option<bool> {
    (value == "true").then_some(true)
}

fn number<T: FromStr>(value: &str) -> Option<T> {
    value.bytes().all(|byte| byte.is_ascii_digit()).then(|| value.parse().ok()).flatten()
}

/// An address and a port that a datagram can be sent to; `[fe80::1%3]:51820` has a scope.
fn endpoint(value: &str) -> Option<SocketAddr> {
    let endpoint: SocketAddr = value.parse().ok()?;
    let usable = endpoint.port() != 0 && !endpoint.ip().is_unspecified();
    usable.then(|| unmapped(endpoint))
}

/// IPv4-mapped IPv6 addresses are IPv4: the IPv6 socket sends no such packets.
fn unmapped(endpoint: SocketAddr) -> SocketAddr {
    match endpoint.ip().to_canonical() {
        IpAddr::V4(v4) => SocketAddr::new(v4.into(), endpoint.port()),
        IpAddr::V6(_) => endpoint,
    }
}

fn prefix(value: &str) -> Option<PrefixChange> {
    let (removal, text) = match value.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let (address, length) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let given = IpNetwork::new(address, number(length)?).ok()?;
    let masked = IpNetwork::new(given.network(), given.prefix()).ok()?;
    Some(if removal { PrefixChange::Remove(masked) } else { PrefixChange::Add(masked) })
}
