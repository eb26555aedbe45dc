//! Owns the text of the cross-platform WireGuard configuration protocol (UAPI), with the keys for
//! accepted sources that `sealane-tunnel` adds. Does not own the socket.
//!
//! Source: <https://www.wireguard.com/xplatform/>.

use std::fmt::Write as _;
use std::io;

use ipnetwork::IpNetwork;
use sealane_state::facts::PeerFacts;
use sealane_state::wireguard::{Device, Peer, PublicKey};
use x25519_dalek::StaticSecret;
use zeroize::{Zeroize, Zeroizing};

use crate::keyring::psk_fingerprint;
use crate::wireguard::Reading;
use crate::wireguard::edit::{DeviceEdit, PeerEdit, PrefixEdit, Presence, PskEdit};

/// A request that reads the whole device.
pub(super) const GET: &str = "get=1\n\n";
/// A request that asks `sealane-tunnel` for its version.
pub(super) const GET_VERSION: &str = "sealane_get=version\n\n";
/// No version is longer.
const LONGEST_VERSION_BYTES: usize = 64;

/// Prefixes in one piece of a peer; the longest line of one is 62 bytes.
const LONGEST_PIECE: usize = 512;
/// A request is closed when it has grown to this many bytes.
const FULL_BYTES: usize = 32 * 1024;
/// Room for a request and one more piece, so that text with secrets never moves in memory.
const CAPACITY_BYTES: usize = 80 * 1024;

/// Reads the first line of an answer to [`GET_VERSION`].
pub(super) fn version(line: &str) -> Option<String> {
    let version = line.strip_prefix("sealane_version=")?.strip_suffix('\n')?;
    let is_version = |byte: u8| byte.is_ascii_alphanumeric() || b".+-".contains(&byte);
    let is_sound = (1..=LONGEST_VERSION_BYTES).contains(&version.len());
    (is_sound && version.bytes().all(is_version)).then(|| version.to_owned())
}

/// Renders an edit as `set` requests, to be sent in order.
pub(super) fn requests(edit: DeviceEdit) -> Vec<Zeroizing<String>> {
    let mut requests = Vec::new();
    let mut text = opened();
    if edit.keeps_sessions {
        text.push_str("sealane_keep_sessions=true\n");
    }
    if let Some(key) = &edit.private_key {
        push_hex(&mut text, "private_key", key.expose());
    }
    if let Some(port) = edit.listen_port {
        push(&mut text, format_args!("listen_port={port}\n"));
    }
    if let Some(mark) = edit.mark {
        push(&mut text, format_args!("fwmark={mark}\n"));
    }
    for piece in edit.peers.into_iter().flat_map(|peer| peer.pieces(LONGEST_PIECE)) {
        if text.len() > FULL_BYTES {
            requests.push(closed(std::mem::replace(&mut text, opened())));
        }
        push_peer(&mut text, &piece);
    }
    requests.push(closed(text));
    requests
}

fn opened() -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(CAPACITY_BYTES));
    text.push_str("set=1\n");
    text
}

fn closed(mut text: Zeroizing<String>) -> Zeroizing<String> {
    text.push('\n');
    text
}

fn push_peer(text: &mut String, peer: &PeerEdit) {
    push_hex(text, "public_key", &peer.key.0);
    match peer.presence {
        Presence::Create => {}
        Presence::Update => text.push_str("update_only=true\n"),
        Presence::Remove => return text.push_str("remove=true\n"),
    }
    match &peer.psk {
        None => {}
        Some(PskEdit::Clear) => push_hex(text, "preshared_key", &[0; 32]),
        Some(PskEdit::Set(secret)) => push_hex(text, "preshared_key", secret.expose()),
    }
    if let Some(endpoint) = peer.endpoint {
        push(text, format_args!("endpoint={endpoint}\n"));
    }
    if let Some(seconds) = peer.keepalive {
        push(text, format_args!("persistent_keepalive_interval={seconds}\n"));
    }
    push_prefixes(text, &peer.allowed_ips, "replace_allowed_ips", "allowed_ip");
    push_prefixes(text, &peer.accepted_sources, "sealane_replace_accept_ips", "sealane_accept_ip");
}

fn push_prefixes(text: &mut String, edit: &PrefixEdit, replace: &str, add: &str) {
    if matches!(edit, PrefixEdit::Replace(_)) {
        push(text, format_args!("{replace}=true\n"));
    }
    for prefix in edit.prefixes() {
        push(text, format_args!("{add}={prefix}\n"));
    }
}

fn push(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = text.write_fmt(line);
}

fn push_hex(text: &mut String, name: &str, bytes: &[u8; 32]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    text.push_str(name);
    text.push('=');
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text.push('\n');
}

/// A device's answer, taken in line by line.
pub(super) struct Answer {
    device: Device,
    facts: std::collections::BTreeMap<PublicKey, PeerFacts>,
    peer: Option<(PublicKey, Peer, PeerFacts)>,
    errno: Option<i32>,
}

/// Why an answer is not one; holds no value of a line, which could be a secret.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadLine(pub(super) String);

impl Answer {
    pub(super) fn new() -> Self {
        let device = Device {
            key: PublicKey([0; 32]),
            listen_port: 0,
            mark: 0,
            peers: std::collections::BTreeMap::new(),
        };
        Self { device, facts: Default::default(), peer: None, errno: None }
    }

    /// Takes one line in, without its end. Returns whether the answer is whole: the empty line that
    /// ends it.
    pub(super) fn take(&mut self, line: &str) -> Result<bool, BadLine> {
        if line.is_empty() {
            return match self.errno {
                Some(_) => Ok(true),
                None => Err(BadLine("it ends without errno".to_owned())),
            };
        }
        let (name, value) =
            line.split_once('=').ok_or_else(|| BadLine("a line without '='".to_owned()))?;
        match self.take_value(name, value) {
            Some(()) => Ok(false),
            None => Err(BadLine(format!("{name} has a value of another shape"))),
        }
    }

    /// Returns what the device said, or its errno.
    pub(super) fn outcome(mut self) -> Result<Reading, io::Error> {
        match self.errno {
            Some(0) => {
                self.close_peer();
                Ok((self.device, self.facts))
            }
            // Some implementations write errno as the kernel returns it: negative.
            Some(errno) => Err(io::Error::from_raw_os_error(errno.saturating_abs())),
            None => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
        }
    }

    fn take_value(&mut self, name: &str, value: &str) -> Option<()> {
        match name {
            "errno" => self.errno = Some(value.parse().ok()?),
            "private_key" => self.device.key = public_half(key_bytes(value)?),
            "listen_port" => self.device.listen_port = value.parse().ok()?,
            "fwmark" => self.device.mark = value.parse().ok()?,
            "public_key" => {
                self.close_peer();
                let key = PublicKey(*key_bytes(value)?);
                self.peer = Some((key, Peer::default(), PeerFacts::default()));
            }
            _ => return self.take_peer_value(name, value),
        }
        Some(())
    }

    fn take_peer_value(&mut self, name: &str, value: &str) -> Option<()> {
        let Some((_, peer, facts)) = &mut self.peer else {
            return Some(());
        };
        match name {
            "preshared_key" => peer.psk = psk_fingerprint(&*key_bytes(value)?),
            "sealane_lags" => facts.lags = value == "true",
            "endpoint" => {
                peer.endpoint = Some(value.parse().ok()?);
                facts.endpoint = peer.endpoint;
            }
            "last_handshake_time_sec" => {
                let seconds: u64 = value.parse().ok()?;
                facts.counters.last_handshake = (seconds != 0).then_some(seconds);
            }
            "rx_bytes" => facts.counters.received_bytes = value.parse().ok()?,
            "tx_bytes" => facts.counters.sent_bytes = value.parse().ok()?,
            "persistent_keepalive_interval" => {
                let seconds: u16 = value.parse().ok()?;
                peer.keepalive = (seconds != 0).then_some(seconds);
            }
            "allowed_ip" => {
                peer.allowed_ips.insert(prefix(value)?);
            }
            "sealane_accept_ip" => {
                peer.accepted_sources.insert(prefix(value)?);
            }
            // protocol_version, last_handshake_time_nsec and what newer devices add.
            _ => {}
        }
        Some(())
    }

    fn close_peer(&mut self) {
        if let Some((key, peer, facts)) = self.peer.take() {
            self.device.peers.insert(key, peer);
            self.facts.insert(key, facts);
        }
    }
}

fn prefix(value: &str) -> Option<IpNetwork> {
    let prefix: IpNetwork = value.parse().ok()?;
    IpNetwork::new(prefix.network(), prefix.prefix()).ok()
}

/// Reads 64 hexadecimal digits.
fn key_bytes(value: &str) -> Option<Zeroizing<[u8; 32]>> {
    let digits = value.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut bytes = Zeroizing::new([0; 32]);
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    Some(bytes)
}

fn public_half(private: Zeroizing<[u8; 32]>) -> PublicKey {
    let mut bytes = *private;
    let secret = StaticSecret::from(bytes);
    bytes.zeroize();
    PublicKey(x25519_dalek::PublicKey::from(&secret).to_bytes())
}
