//! Owns one lane: the sessions with one peer, where the peer is, what was counted, and the rules
//! when an endpoint is believed and when a handshake is sent. Owns neither routing nor sockets.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::endpoint::{Endpoint, Outgoing};
use crate::noise::{Initiate, Noise, Plain, Sealed, Tick, Wear};
use crate::refusal::Refusal;
use crate::seed::Seed;
use crate::timers::Timers;
use crate::uptime::Uptime;
use crate::wire::{self, Message};

/// REJECT_AFTER_TIME: an older session is not used.
const REJECT_AFTER: Duration = Duration::from_secs(180);
/// The shortest time between two initiations of one peer that are answered: 50 per second.
const INITIATION_INTERVAL: Duration = Duration::from_millis(20);
/// The longest message a lane releases from its queue.
const RELEASE_LEN: usize = 65_536 + wire::DATA_OVERHEAD;

/// What a lane has counted and seen, for UAPI.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes of authentic datagrams received, handshakes and overhead included.
    pub rx_bytes: u64,
    /// Bytes of datagrams sent, handshakes and overhead included.
    pub tx_bytes: u64,
    /// When the newest session was confirmed.
    pub last_handshake: Option<Uptime>,
}

/// What a transport message turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The packet, or `None` for a keepalive.
    pub packet: Option<Plain>,
    /// Whether this message confirmed a session, so that waiting packets can go.
    pub session: SessionNews,
}

/// Whether a message changed which session is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionNews {
    /// The same as before.
    Same,
    /// The peer proved that it has the session we answered with.
    Confirmed,
}

/// What became of the Noise state before a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// Its session goes on under its index.
    Fading,
    /// It had none, and is gone.
    Unused,
}

/// What is done about a session whose keys have successors, until the new ones have taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It runs out by its age: the peer is to know the new keys.
    RunsOut,
    /// It is renewed: the peer may not have heard of the new keys yet.
    IsRenewed,
}

/// Which of our keys a message was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// The one before.
    Before,
    /// The present one.
    Present,
}

/// One peer's changing state; lives behind the peer's lock.
pub struct Lane {
    noise: Option<Noise>,
    fading: Option<Noise>,
    fate: Fate,
    /// When the successor of the sessions that fade took over.
    succeeded: Option<Uptime>,
    endpoint: Option<Endpoint>,
    /// A local address that no longer lies on the way to the peer: what still comes in there does not
    /// have us answer from it.
    stray: Option<IpAddr>,
    timers: Timers,
    traffic: Traffic,
    unconfirmed: Option<u32>,
    last_initiation: Option<Uptime>,
    switch: Switch,
}

/// Whether the sessions of another pre-shared key still have to take over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Switch {
    /// The handshake for it has to be started; what is sent uses the old session.
    Wanted,
    /// The handshake was started; what is sent uses the old session.
    Started,
    /// What is sent uses the new session.
    Done,
}

impl Lane {
    /// A lane without sessions; `noise` is `None` while we have no key or the peer's is unusable.
    #[must_use]
    pub fn new(noise: Option<Noise>, spread: Seed, now: Uptime) -> Self {
        Self {
            noise,
            fading: None,
            fate: Fate::RunsOut,
            succeeded: None,
            endpoint: None,
            stray: None,
            timers: Timers::new(spread, now),
            traffic: Traffic::default(),
            unconfirmed: None,
            last_initiation: None,
            switch: Switch::Done,
        }
    }

    /// Takes up other keys. The session there is goes on, both ways, until both ends have made one
    /// with the new keys; a handshake for that is started by the next [`Lane::tick`].
    pub fn succeed(&mut self, noise: Option<Noise>, fate: Fate, now: Uptime) -> Replaced {
        let old = std::mem::replace(&mut self.noise, noise);
        self.unconfirmed = None;
        self.last_initiation = None;
        match old.filter(Noise::has_session) {
            Some(old) => {
                self.fading = Some(old);
                self.fate = fate;
                self.succeeded = None;
                self.timers.demanded(now);
                self.switch = Switch::Wanted;
                Replaced::Fading
            }
            None if self.fading.is_none() => {
                self.timers.reset(now);
                Replaced::Unused
            }
            None => {
                self.switch = Switch::Wanted;
                Replaced::Unused
            }
        }
    }

    /// Starts over with other keys; endpoint, keepalive and counters stay.
    pub fn rekey(&mut self, noise: Option<Noise>, now: Uptime) {
        self.noise = noise;
        self.fading = None;
        self.switch = Switch::Done;
        self.unconfirmed = None;
        self.last_initiation = None;
        self.timers.reset(now);
    }

    /// Says whether what is sent still uses sessions under keys that have successors.
    #[must_use]
    pub fn lags(&self) -> bool {
        self.switch != Switch::Done && self.fading.is_some()
    }

    /// Says whether there are sessions under keys that have successors.
    #[must_use]
    pub const fn has_old(&self) -> bool {
        self.fading.is_some()
    }

    /// Ends the sessions under keys that have successors.
    pub fn forget_old(&mut self) {
        self.fading = None;
        self.switch = Switch::Done;
    }

    /// Where the peer is, as configured or learned.
    #[must_use]
    pub const fn endpoint(&self) -> Option<Endpoint> {
        self.endpoint
    }

    /// Sets where the peer is.
    pub const fn set_endpoint(&mut self, endpoint: Endpoint) {
        self.endpoint = Some(endpoint);
    }

    /// Forgets the local address, which is no longer ours; the kernel chooses again.
    pub const fn forget_local(&mut self) {
        if let Some(endpoint) = &mut self.endpoint {
            endpoint.local = None;
        }
    }

    /// The peer's address and the local one that we answer from or would: is it still on the way?
    #[must_use]
    pub fn local_in_question(&self) -> Option<(SocketAddr, IpAddr)> {
        let endpoint = self.endpoint?;
        Some((endpoint.remote, endpoint.local.or(self.stray)?))
    }

    /// Takes note that `local` lies on the way to the peer; from now on it is answered from again.
    pub fn found_on_the_way(&mut self, local: IpAddr) {
        self.stray = self.stray.filter(|stray| *stray != local);
    }

    /// Takes note that `local` no longer lies on the way to the peer; the kernel chooses again.
    pub fn found_astray(&mut self, local: IpAddr) {
        self.stray = Some(local);
        self.forget_local();
    }

    /// What was counted.
    #[must_use]
    pub const fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// Sets the persistent keepalive in seconds; 0 is off.
    pub fn set_keepalive(&mut self, seconds: u16) {
        self.timers.set_keepalive(seconds);
    }

    /// The persistent keepalive in seconds; 0 is off.
    #[must_use]
    pub fn keepalive(&self) -> u16 {
        self.timers.keepalive()
    }

    /// Encrypts a padded packet into `out`; see [`Noise::encrypt`] for its length.
    pub fn seal(&mut self, plaintext: &[u8], out: &mut [u8], now: Uptime) -> Sealed {
        if self.endpoint.is_none() {
            return Sealed::Refused(Refusal::NoEndpoint);
        }
        let old = self.fading.as_mut().filter(|_| self.switch != Switch::Done);
        if old.is_some() {
            self.timers.demanded(now);
        }
        let Some(noise) = old.or(self.noise.as_mut()) else {
            return Sealed::Refused(Refusal::UnknownPeer);
        };
        let mut sealed = noise.encrypt(plaintext, out);
        if sealed == Sealed::Refused(Refusal::CounterSpent)
            && let Some(len) = noise.initiate(Initiate::IfIdle, out)
        {
            sealed = Sealed::Initiation(len);
        }
        match sealed {
            Sealed::Data { len, .. } => {
                self.traffic.tx_bytes += len as u64;
                self.timers.data_sent(now);
            }
            Sealed::Initiation(len) => {
                self.traffic.tx_bytes += len as u64;
                self.timers.message_sent(now);
                self.timers.demanded(now);
            }
            Sealed::Waiting => self.timers.demanded(now),
            Sealed::Refused(_) => {}
        }
        sealed
    }

    /// Decrypts a transport message into `out`, as long as the message. The endpoint follows the
    /// sender, now that the tag has proved it.
    ///
    /// # Errors
    /// The [`Refusal`].
    pub fn open(
        &mut self,
        message: &[u8],
        out: &mut [u8],
        from: Endpoint,
        now: Uptime,
    ) -> Result<Opened, Refusal> {
        let Some(Message::Data { receiver, .. }) = wire::parse(message) else {
            return Err(Refusal::Malformed);
        };
        let (key, noise) = self.noise_of(receiver)?;
        let packet = noise.decrypt(message, out)?;
        self.received(message.len(), from, now);
        let mut session = SessionNews::Same;
        if self.unconfirmed == Some(receiver) {
            self.unconfirmed = None;
            self.session_confirmed(key, now);
            session = SessionNews::Confirmed;
        }
        Ok(Opened { packet, session })
    }

    /// Answers an initiation, to the address it came from. The endpoint stays: an initiation can
    /// be replayed to a device that has just been given its keys; the message that confirms the
    /// session cannot.
    ///
    /// # Errors
    /// The [`Refusal`].
    pub fn respond(
        &mut self,
        initiation: &[u8],
        key: Key,
        from: Endpoint,
        now: Uptime,
    ) -> Result<Outgoing, Refusal> {
        if self.last_initiation.is_some_and(|last| now.since(last) < INITIATION_INTERVAL) {
            return Err(Refusal::TooFast);
        }
        let noise = match key {
            Key::Present => self.noise.as_mut(),
            // Once it has the new sessions, a peer is not given further old ones.
            Key::Before => self.fading.as_mut().filter(|_| self.switch != Switch::Done),
        };
        let noise = noise.ok_or(Refusal::UnknownPeer)?;
        let mut out = [0; wire::SCRATCH_LEN];
        let len = noise.shake(initiation, &mut out)?;
        let answer = &out[..len];
        if let Some(Message::Response { sender, .. }) = wire::parse(answer) {
            self.unconfirmed = Some(sender);
        }
        self.last_initiation = Some(now);
        self.traffic.rx_bytes += initiation.len() as u64;
        self.traffic.tx_bytes += len as u64;
        self.timers.received(now);
        Ok(Outgoing { to: from, datagram: answer.to_vec() })
    }

    /// Finishes a handshake of ours: pushes the keepalive that confirms it and all that waited.
    ///
    /// # Errors
    /// The [`Refusal`].
    pub fn complete(
        &mut self,
        response: &[u8],
        from: Endpoint,
        now: Uptime,
        out: &mut Vec<Outgoing>,
    ) -> Result<(), Refusal> {
        let Some(Message::Response { receiver, .. }) = wire::parse(response) else {
            return Err(Refusal::Malformed);
        };
        let (key, noise) = self.noise_of(receiver)?;
        let mut scratch = [0; wire::SCRATCH_LEN];
        let len = noise.shake(response, &mut scratch)?;
        self.received(response.len(), from, now);
        self.session_confirmed(key, now);
        self.push(&scratch[..len], now, out);
        self.release(now, out);
        Ok(())
    }

    /// Keeps a cookie. Proves no address: nothing roams.
    ///
    /// # Errors
    /// The [`Refusal`].
    pub fn take_cookie(&mut self, reply: &[u8]) -> Result<(), Refusal> {
        let Some(Message::CookieReply { receiver }) = wire::parse(reply) else {
            return Err(Refusal::Malformed);
        };
        self.noise_of(receiver)?.1.take_cookie(reply)?;
        self.traffic.rx_bytes += reply.len() as u64;
        Ok(())
    }

    /// Encrypts what waited for a session.
    pub fn release(&mut self, now: Uptime, out: &mut Vec<Outgoing>) {
        let (Some(noise), Some(to)) = (&mut self.noise, self.endpoint) else { return };
        let before = out.len();
        let mut scratch = vec![0; RELEASE_LEN];
        noise.release(&mut scratch, |message| {
            out.push(Outgoing { to, datagram: message.to_vec() });
        });
        for sent in &out[before..] {
            self.traffic.tx_bytes += sent.datagram.len() as u64;
        }
        if out.len() > before {
            self.timers.data_sent(now);
        }
    }

    /// Starts a handshake unless one is under way.
    pub fn initiate(&mut self, now: Uptime, out: &mut Vec<Outgoing>) {
        let mut scratch = [0; wire::SCRATCH_LEN];
        let Some(noise) = &mut self.noise else { return };
        if self.endpoint.is_some()
            && let Some(len) = noise.initiate(Initiate::IfIdle, &mut scratch)
        {
            self.push(&scratch[..len], now, out);
        }
    }

    /// Says whether packets can be sent now: a handshake is younger than REJECT_AFTER_TIME.
    pub fn has_session(&self, now: Uptime) -> bool {
        self.traffic.last_handshake.is_some_and(|at| now.since(at) < REJECT_AFTER)
    }

    /// A further handshake initiation though one is under way, with the cookie that may have come.
    pub fn reinitiate(&mut self, now: Uptime) -> Option<Outgoing> {
        let mut scratch = [0; wire::SCRATCH_LEN];
        let len = self.noise.as_mut()?.initiate(Initiate::Anyway, &mut scratch)?;
        let mut out = Vec::new();
        self.push(&scratch[..len], now, &mut out);
        out.pop()
    }

    /// Does what is due at `now`.
    pub fn tick(&mut self, now: Uptime, out: &mut Vec<Outgoing>) {
        if self.noise.is_none() || !self.timers.turn(now) {
            return;
        }
        let mut scratch = [0; wire::SCRATCH_LEN];
        if !self.timers.clock_held(now) {
            match self.noise.as_mut().map_or(Tick::Idle, |noise| noise.tick(&mut scratch)) {
                Tick::Idle => {}
                Tick::Send(len) => self.push(&scratch[..len], now, out),
                Tick::Expired if self.timers.take_retry(now) => self.initiate(now, out),
                Tick::Expired => {}
            }
        }
        self.fade(now, out);
        if self.timers.take_overdue(now) {
            self.initiate(now, out);
        }
        if self.timers.keepalive_due(now) {
            self.keep_alive(now, out);
        }
    }

    /// Starts the handshake that a worn session needs.
    pub fn renew(&mut self, wear: Wear, now: Uptime, out: &mut Vec<Outgoing>) {
        if wear != Wear::Fresh {
            self.initiate(now, out);
        }
    }

    /// Sends a keepalive, or starts the handshake that it needs.
    pub fn keep_alive(&mut self, now: Uptime, out: &mut Vec<Outgoing>) {
        let (Some(noise), Some(_)) = (&mut self.noise, self.endpoint) else { return };
        if !noise.has_session() {
            // An empty packet must not take a place in the queue for packets.
            return self.initiate(now, out);
        }
        let mut scratch = [0; wire::SCRATCH_LEN];
        if let Sealed::Data { len, .. } = noise.encrypt(&[], &mut scratch) {
            self.push(&scratch[..len], now, out);
        }
    }

    /// Lets the sessions of old keys run out or be renewed, and starts those of the new ones.
    fn fade(&mut self, now: Uptime, out: &mut Vec<Outgoing>) {
        if self.switch == Switch::Wanted {
            self.switch = Switch::Started;
            self.initiate(now, out);
        }
        let mut scratch = [0; wire::SCRATCH_LEN];
        let Some(old) = &mut self.fading else { return };
        let asked = old.tick(&mut scratch);
        let is_over = self.succeeded.is_some_and(|at| now.since(at) >= REJECT_AFTER);
        if is_over || !old.has_session() {
            return self.forget_old();
        }
        // Otherwise what its timers ask for is the business of the new sessions.
        if self.fate == Fate::IsRenewed
            && self.switch != Switch::Done
            && let Tick::Send(len) = asked
        {
            self.push(&scratch[..len], now, out);
        }
    }

    /// The sessions that an index of ours belongs to.
    fn noise_of(&mut self, receiver: u32) -> Result<(Key, &mut Noise), Refusal> {
        let old = self.fading.as_mut().filter(|noise| noise.has_receiver(receiver));
        let old = old.map(|noise| (Key::Before, noise));
        old.or(self.noise.as_mut().map(|noise| (Key::Present, noise))).ok_or(Refusal::UnknownPeer)
    }

    fn received(&mut self, len: usize, from: Endpoint, now: Uptime) {
        self.traffic.rx_bytes += len as u64;
        self.timers.received(now);
        let local = from.local.filter(|local| self.stray != Some(*local));
        let from = Endpoint { local, ..from };
        if self.endpoint != Some(from) {
            self.endpoint = Some(from);
        }
    }

    fn session_confirmed(&mut self, key: Key, now: Uptime) {
        if key == Key::Present {
            self.switch = Switch::Done;
            self.succeeded.get_or_insert(now);
        }
        self.traffic.last_handshake = Some(now);
        self.timers.established(now);
    }

    fn push(&mut self, message: &[u8], now: Uptime, out: &mut Vec<Outgoing>) {
        let Some(to) = self.endpoint else { return };
        self.traffic.tx_bytes += message.len() as u64;
        self.timers.message_sent(now);
        out.push(Outgoing { to, datagram: message.to_vec() });
    }
}
