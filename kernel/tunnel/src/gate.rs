//! Owns the admission of handshake messages before any costly arithmetic: MAC1, load, cookies
//! bound to address and port. Knows no peer (WireGuard paper, 5.3, 5.4.7), and does not count sources.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use blake2::digest::consts::U16;
use blake2::digest::{Digest, KeyInit, Mac};
use blake2::{Blake2s256, Blake2sMac};
use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::{Aead, Payload};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::key::PublicKey;
use crate::refusal::Refusal;
use crate::seed::Seed;
use crate::sources::Sources;
use crate::uptime::Uptime;
use crate::wire::{COOKIE_REPLY_LEN, SCRATCH_LEN};

/// Handshake messages per second from which on senders must prove their address. One core answers
/// about 4,000 initiations a second; half of it keeps data and known peers alive.
pub const LOAD_LIMIT: u32 = 2_000;
/// Handshake messages waiting from which on the same is so: this processor is slower, or busy.
pub const QUEUE_LIMIT: usize = 1_500;
/// How long a queue that was as long counts, so that not every emptied queue ends it.
const PRESSURE: Duration = Duration::from_secs(1);
/// How long one cookie secret makes cookies; they are good for the next as long.
const COOKIE_EPOCH: Duration = Duration::from_secs(120);
const MAC_LEN: usize = 16;

/// What to do with a handshake message.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission {
    /// Go on.
    Admit,
    /// Drop it.
    Refuse(Refusal),
    /// Send this cookie reply instead.
    Reply([u8; COOKIE_REPLY_LEN]),
}

/// The gate before one identity.
pub struct Gate {
    mac1_key: [u8; 32],
    cookie_key: [u8; 32],
    seed: Seed,
    secrets: Secrets,
    second: Uptime,
    seen: u32,
    pressed: Option<Uptime>,
    sources: Sources,
}

struct Secrets {
    current: Zeroizing<[u8; 32]>,
    previous: Zeroizing<[u8; 32]>,
    since: Uptime,
}

impl Gate {
    /// A gate for messages to `public`.
    #[must_use]
    pub fn new(public: PublicKey, mut seed: Seed, now: Uptime) -> Self {
        let secrets = Secrets { current: seed.draw(), previous: seed.draw(), since: now };
        Self {
            mac1_key: hash(b"mac1----", public.as_bytes()),
            cookie_key: hash(b"cookie--", public.as_bytes()),
            seed,
            secrets,
            second: now,
            seen: 0,
            pressed: None,
            sources: Sources::default(),
        }
    }

    /// Tells how many messages wait to be judged.
    pub fn note_queue(&mut self, waiting: usize, now: Uptime) {
        if waiting >= QUEUE_LIMIT {
            self.pressed = Some(now);
        }
    }

    /// Judges an initiation or a response (148 or 92 bytes) from a source.
    pub fn admit(&mut self, message: &[u8], from: SocketAddr, now: Uptime) -> Admission {
        let Some((body, macs)) = message.split_last_chunk::<{ 2 * MAC_LEN }>() else {
            return Admission::Refuse(Refusal::Malformed);
        };
        if message.len() > SCRATCH_LEN || body.len() < 8 {
            return Admission::Refuse(Refusal::Malformed);
        }
        let (mac1, mac2) = macs.split_at(MAC_LEN);
        if !same(&mac(&self.mac1_key, &[body]), mac1) {
            return Admission::Refuse(Refusal::Forged);
        }
        if !self.under_load(now) {
            return Admission::Admit;
        }
        self.rotate(now);
        let proved = [&self.secrets.current, &self.secrets.previous]
            .into_iter()
            .any(|secret| same(&mac(&cookie(secret, from), &[body, mac1]), mac2));
        if !proved {
            return self.reply(body, mac1, from);
        }
        if self.sources.spend(from.ip(), now) {
            Admission::Admit
        } else {
            Admission::Refuse(Refusal::TooFast)
        }
    }

    fn under_load(&mut self, now: Uptime) -> bool {
        if now.since(self.second) >= Duration::from_secs(1) {
            self.second = now;
            self.seen = 0;
        }
        self.seen = self.seen.saturating_add(1);
        let pressed = self.pressed.is_some_and(|at| now.since(at) < PRESSURE);
        pressed || self.seen > LOAD_LIMIT
    }

    fn rotate(&mut self, now: Uptime) {
        if now.since(self.secrets.since) >= COOKIE_EPOCH {
            let fresh = self.seed.draw();
            self.secrets.previous = std::mem::replace(&mut self.secrets.current, fresh);
            self.secrets.since = now;
        }
    }

    fn reply(&mut self, body: &[u8], mac1: &[u8], from: SocketAddr) -> Admission {
        let mut nonce = [0; 24];
        nonce.copy_from_slice(&self.seed.draw()[..24]);
        let cookie = cookie(&self.secrets.current, from);
        let cipher = <XChaCha20Poly1305 as KeyInit>::new(&self.cookie_key.into());
        let sealed = cipher.encrypt(&nonce.into(), Payload { msg: &cookie, aad: mac1 });
        let Ok(sealed) = sealed else { return Admission::Refuse(Refusal::Malformed) };
        let mut message = [0; COOKIE_REPLY_LEN];
        message[0] = 3;
        message[4..8].copy_from_slice(&body[4..8]);
        message[8..32].copy_from_slice(&nonce);
        message[32..].copy_from_slice(&sealed);
        Admission::Reply(message)
    }
}

fn cookie(secret: &[u8; 32], from: SocketAddr) -> [u8; MAC_LEN] {
    let port = from.port().to_be_bytes();
    match from.ip() {
        IpAddr::V4(address) => mac(secret, &[&address.octets(), &port]),
        IpAddr::V6(address) => mac(secret, &[&address.octets(), &port]),
    }
}

fn hash(label: &[u8; 8], key: &[u8; 32]) -> [u8; 32] {
    Blake2s256::new().chain_update(label).chain_update(key).finalize().into()
}

fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; MAC_LEN] {
    // BLAKE2s takes keys of up to 32 bytes; ours have 16 or 32.
    let Ok(mut mac) = <Blake2sMac<U16> as KeyInit>::new_from_slice(key) else {
        return [0; MAC_LEN];
    };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn same(ours: &[u8; MAC_LEN], theirs: &[u8]) -> bool {
    ours[..].ct_eq(theirs).into()
}
