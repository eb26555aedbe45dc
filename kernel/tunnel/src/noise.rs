//! Owns the one door to boringtun: its `Tunn` behind an interface that cannot panic, leak a key or
//! answer to an unguarded datagram. boringtun reads the clock and the system's randomness itself;
//! no other file of this crate does, and no other file names a boringtun type.

use std::net::IpAddr;
use std::sync::Arc;

use boringtun::noise::errors::WireGuardError;
use boringtun::noise::handshake::parse_handshake_anon;
use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Packet, Tunn, TunnResult};
use boringtun::x25519::{PublicKey as CurvePoint, StaticSecret};

use crate::backlog::{Backlog, PEER_PACKETS, Waiting};
use crate::key::{PresharedKey, PrivateKey, PublicKey};
use crate::refusal::Refusal;
use crate::wire;

/// After this many messages a session asks for a new one (WireGuard paper, section 6.1).
pub const REKEY_AFTER_MESSAGES: u64 = 1 << 60;
/// From this counter on a session neither sends nor receives.
pub const REJECT_AFTER_MESSAGES: u64 = u64::MAX - (1 << 13);

/// Our static key pair, as handshakes need it.
pub struct Identity {
    secret: StaticSecret,
    public: PublicKey,
    unlimited: Arc<RateLimiter>,
}

impl Identity {
    /// The key pair of a private key.
    #[must_use]
    pub fn new(private: &PrivateKey) -> Self {
        let secret = StaticSecret::from(*private.expose());
        let point = CurvePoint::from(&secret);
        // Load is judged by `gate`, which also binds cookies to ports: boringtun's own limiter,
        // whose cookies cover the address alone, must never trip.
        let unlimited = Arc::new(RateLimiter::new(&point, u64::MAX));
        Self { secret, public: PublicKey::new(point.to_bytes()), unlimited }
    }

    /// Our public key.
    #[must_use]
    pub const fn public(&self) -> PublicKey {
        self.public
    }

    /// Whose static key an initiation claims; only the start of the handshake is proved by this.
    ///
    /// # Errors
    /// [`Refusal::Malformed`] or [`Refusal::Forged`].
    pub fn initiator(&self, initiation: &[u8]) -> Result<PublicKey, Refusal> {
        let Ok(Packet::HandshakeInit(init)) = Tunn::parse_incoming_packet(initiation) else {
            return Err(Refusal::Malformed);
        };
        let point = CurvePoint::from(*self.public.as_bytes());
        let half = parse_handshake_anon(&self.secret, &point, &init).map_err(refusal)?;
        Ok(PublicKey::new(half.peer_static_public))
    }

    /// The Noise state for a peer under a 24-bit `index`, or `None` if the peer's key is a point of
    /// low order, with which no secret can be shared. Its packets wait within `backlog`.
    #[must_use]
    pub fn noise(
        &self,
        peer: PublicKey,
        psk: Option<&PresharedKey>,
        index: u32,
        backlog: &Arc<Backlog>,
    ) -> Option<Noise> {
        let point = CurvePoint::from(*peer.as_bytes());
        if !self.secret.diffie_hellman(&point).was_contributory() {
            return None;
        }
        let psk = psk.map(|key| *key.expose());
        let limiter = Some(Arc::clone(&self.unlimited));
        // Persistent keepalives are ours (`timers`): boringtun's fire however busy the lane is.
        let tunn = Tunn::new(self.secret.clone(), point, psk, None, index, limiter);
        let waiting = Waiting::new(Arc::clone(backlog));
        Some(Noise { tunn: Box::new(tunn), index, waiting })
    }
}

/// What became of a packet to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealed {
    /// A transport message of this many bytes; the flag of `wear` says whether to rekey.
    Data {
        /// Bytes written.
        len: usize,
        /// How much of the session's counters is used.
        wear: Wear,
    },
    /// The packet waits for a session; a handshake initiation of this many bytes was written.
    Initiation(usize),
    /// The packet waits for a session, or was one too many of those.
    Waiting,
    /// Nothing was written.
    Refused(Refusal),
}

/// How far a session's counters are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wear {
    /// Far from any limit.
    Fresh,
    /// Past REKEY_AFTER_MESSAGES.
    Worn,
    /// Past REJECT_AFTER_MESSAGES.
    Spent,
}

/// How worn a session is whose next counter is this.
#[must_use]
pub const fn wear(counter: u64) -> Wear {
    if counter >= REJECT_AFTER_MESSAGES {
        Wear::Spent
    } else if counter >= REKEY_AFTER_MESSAGES {
        Wear::Worn
    } else {
        Wear::Fresh
    }
}

/// Whether an initiation goes out while another is unanswered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initiate {
    /// Only if none is under way.
    IfIdle,
    /// In any case.
    Anyway,
}

/// What boringtun's timers ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tick {
    /// Nothing.
    Idle,
    /// A message of this many bytes was written: keepalive or initiation.
    Send(usize),
    /// It has given up; only an initiation brings it back.
    Expired,
}

/// A decrypted packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plain {
    /// Length by the IP header, padding removed; it starts at the start of the buffer.
    pub len: usize,
    /// Its source address, not yet checked.
    pub source: IpAddr,
}

/// The handshake and the sessions with one peer.
pub struct Noise {
    tunn: Box<Tunn>,
    index: u32,
    waiting: Waiting,
}

impl Noise {
    /// Whether a message with this receiver index is for these sessions.
    #[must_use]
    pub const fn has_receiver(&self, receiver: u32) -> bool {
        receiver >> 8 == self.index
    }

    /// Whether there is a session to send with.
    #[must_use]
    pub fn has_session(&self) -> bool {
        self.tunn.time_since_last_handshake().is_some()
    }

    /// Encrypts a padded packet into `out`, which needs 32 bytes more, and no less than
    /// [`wire::SCRATCH_LEN`].
    pub fn encrypt(&mut self, plaintext: &[u8], out: &mut [u8]) -> Sealed {
        if out.len() < wire::SCRATCH_LEN.max(plaintext.len() + wire::DATA_OVERHEAD) {
            return Sealed::Refused(Refusal::NoRoom);
        }
        if !self.has_session() && !self.waiting.take(plaintext.len()) {
            let initiation = self.initiate(Initiate::IfIdle, out);
            return initiation.map_or(Sealed::Waiting, Sealed::Initiation);
        }
        match self.tunn.encapsulate(plaintext, out) {
            TunnResult::WriteToNetwork(message) => match wire::parse(message) {
                Some(wire::Message::Data { counter, .. }) => sealed(message.len(), counter),
                _ => Sealed::Initiation(message.len()),
            },
            TunnResult::Err(error) => Sealed::Refused(refusal(error)),
            _ => Sealed::Waiting,
        }
    }

    /// Decrypts a transport message into `out`, which must be as long as the message; `None` is a
    /// keepalive.
    ///
    /// # Errors
    /// The [`Refusal`]; only `Ok` proves that the peer sent this.
    pub fn decrypt(&mut self, message: &[u8], out: &mut [u8]) -> Result<Option<Plain>, Refusal> {
        let Some(wire::Message::Data { counter, .. }) = wire::parse(message) else {
            return Err(Refusal::Malformed);
        };
        if wear(counter) == Wear::Spent {
            return Err(Refusal::CounterSpent);
        }
        if out.len() < message.len() {
            return Err(Refusal::NoRoom);
        }
        match self.tunn.decapsulate(None, message, out) {
            TunnResult::Done => Ok(None),
            TunnResult::WriteToTunnelV4(packet, source) => {
                Ok(Some(Plain { len: packet.len(), source: source.into() }))
            }
            TunnResult::WriteToTunnelV6(packet, source) => {
                Ok(Some(Plain { len: packet.len(), source: source.into() }))
            }
            TunnResult::Err(error) => Err(refusal(error)),
            TunnResult::WriteToNetwork(_) => Err(Refusal::Malformed),
        }
    }

    /// Answers an initiation or finishes with a response: the bytes of the message to send for it.
    ///
    /// # Errors
    /// The [`Refusal`]; only `Ok` proves that the peer sent this.
    pub fn shake(&mut self, message: &[u8], out: &mut [u8]) -> Result<usize, Refusal> {
        let known = matches!(
            wire::parse(message),
            Some(wire::Message::Initiation { .. } | wire::Message::Response { .. })
        );
        if !known || out.len() < wire::SCRATCH_LEN {
            return Err(Refusal::Malformed);
        }
        match self.tunn.decapsulate(None, message, out) {
            TunnResult::WriteToNetwork(answer) => Ok(answer.len()),
            TunnResult::Err(error) => Err(refusal(error)),
            _ => Err(Refusal::Malformed),
        }
    }

    /// Keeps a cookie for the next handshake message.
    ///
    /// # Errors
    /// The [`Refusal`].
    pub fn take_cookie(&mut self, message: &[u8]) -> Result<(), Refusal> {
        if !matches!(wire::parse(message), Some(wire::Message::CookieReply { .. })) {
            return Err(Refusal::Malformed);
        }
        let mut scratch = [0; wire::SCRATCH_LEN];
        match self.tunn.decapsulate(None, message, &mut scratch) {
            TunnResult::Done => Ok(()),
            TunnResult::Err(error) => Err(refusal(error)),
            _ => Err(Refusal::Malformed),
        }
    }

    /// Writes a handshake initiation; `None` if one is under way and `when` respects that.
    pub fn initiate(&mut self, when: Initiate, out: &mut [u8]) -> Option<usize> {
        match self.tunn.format_handshake_initiation(out, when == Initiate::Anyway) {
            TunnResult::WriteToNetwork(message) => Some(message.len()),
            _ => None,
        }
    }

    /// Lets boringtun's clock move on.
    pub fn tick(&mut self, out: &mut [u8]) -> Tick {
        if out.len() < wire::SCRATCH_LEN {
            return Tick::Idle;
        }
        match self.tunn.update_timers(out) {
            TunnResult::WriteToNetwork(message) => Tick::Send(message.len()),
            TunnResult::Err(WireGuardError::ConnectionExpired) => {
                // It has thrown away what waited.
                self.waiting.clear();
                Tick::Expired
            }
            _ => Tick::Idle,
        }
    }

    /// Encrypts the packets that waited for a session, in order, into `sink`. `out` must hold the
    /// longest packet and its overhead.
    pub fn release(&mut self, out: &mut [u8], mut sink: impl FnMut(&[u8])) {
        if !self.has_session() {
            return;
        }
        for _ in 0..PEER_PACKETS {
            match self.tunn.decapsulate(None, &[], out) {
                TunnResult::WriteToNetwork(message) => sink(message),
                _ => break,
            }
        }
        self.waiting.clear();
    }
}

const fn sealed(len: usize, counter: u64) -> Sealed {
    match wear(counter) {
        Wear::Spent => Sealed::Refused(Refusal::CounterSpent),
        wear => Sealed::Data { len, wear },
    }
}

const fn refusal(error: WireGuardError) -> Refusal {
    match error {
        WireGuardError::InvalidMac | WireGuardError::InvalidAeadTag | WireGuardError::WrongKey => {
            Refusal::Forged
        }
        WireGuardError::InvalidCounter
        | WireGuardError::DuplicateCounter
        | WireGuardError::WrongTai64nTimestamp => Refusal::Replayed,
        WireGuardError::WrongIndex
        | WireGuardError::NoCurrentSession
        | WireGuardError::UnexpectedPacket
        | WireGuardError::ConnectionExpired => Refusal::NoSession,
        WireGuardError::DestinationBufferTooSmall => Refusal::NoRoom,
        WireGuardError::UnderLoad => Refusal::TooFast,
        _ => Refusal::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    fn identity(fill: u8) -> Identity {
        Identity::new(&PrivateKey::new(Zeroizing::new([fill; 32])).unwrap())
    }

    #[test]
    fn a_session_wears_out_before_a_counter_could_repeat() {
        assert_eq!(wear(REKEY_AFTER_MESSAGES - 1), Wear::Fresh);
        assert_eq!(wear(REKEY_AFTER_MESSAGES), Wear::Worn);
        assert_eq!(wear(REJECT_AFTER_MESSAGES - 1), Wear::Worn);
        assert_eq!(wear(REJECT_AFTER_MESSAGES), Wear::Spent);
        assert_eq!(
            sealed(64, REJECT_AFTER_MESSAGES),
            Sealed::Refused(Refusal::CounterSpent),
            "a message past the limit is never handed out"
        );
    }

    #[test]
    fn a_message_past_the_counter_limit_is_dropped_unread() {
        let us = identity(1);
        let mut noise = us.noise(identity(2).public(), None, 7, &Arc::default()).unwrap();
        let mut message = vec![0; 64];
        message[0] = 4;
        message[8..16].copy_from_slice(&REJECT_AFTER_MESSAGES.to_le_bytes());
        assert_eq!(noise.decrypt(&message, &mut [0; 64]), Err(Refusal::CounterSpent));
    }

    #[test]
    fn a_low_order_point_gets_no_handshake() {
        let us = identity(1);
        let mut one = [0; 32];
        one[0] = 1;
        assert!(us.noise(PublicKey::new([0; 32]), None, 7, &Arc::default()).is_none());
        assert!(us.noise(PublicKey::new(one), None, 7, &Arc::default()).is_none());
    }

    #[test]
    fn short_buffers_are_refused_instead_of_a_panic() {
        let us = identity(1);
        let mut noise = us.noise(identity(2).public(), None, 7, &Arc::default()).unwrap();
        assert_eq!(noise.encrypt(&[0; 100], &mut [0; 131]), Sealed::Refused(Refusal::NoRoom));
        let mut message = vec![0; 64];
        message[0] = 4;
        assert_eq!(noise.decrypt(&message, &mut [0; 63]), Err(Refusal::NoRoom));
        assert_eq!(noise.decrypt(&[], &mut []), Err(Refusal::Malformed));
        assert_eq!(noise.shake(&[], &mut [0; 256]), Err(Refusal::Malformed));
    }
}
