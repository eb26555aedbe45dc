//! Owns the reasons why a datagram or a packet goes no further. Carries no bytes of either.

use thiserror::Error;

/// Why something was dropped. Nothing here is worth a retry: the sender repeats what matters.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// Wrong type, length or inner packet.
    #[error("not a WireGuard message, or an inner packet that is no IP packet")]
    Malformed,
    /// A message authentication code or an AEAD tag did not verify.
    #[error("authentication did not verify")]
    Forged,
    /// The counter was seen before, or is behind the window.
    #[error("replayed or too old")]
    Replayed,
    /// The counter is at REJECT_AFTER_MESSAGES.
    #[error("the session has used up its counters")]
    CounterSpent,
    /// No peer or session has this index.
    #[error("no session with that index")]
    NoSession,
    /// No peer has this public key, or the device has no private key.
    #[error("no such peer")]
    UnknownPeer,
    /// More handshakes than one peer or one source may start.
    #[error("handshakes come too fast")]
    TooFast,
    /// Under load, answered with a cookie.
    #[error("under load: the sender must prove its address")]
    CookieSent,
    /// The inner source address belongs to another peer, or to none.
    #[error("inner source address is not this peer's")]
    SourceNotAllowed,
    /// No peer owns the inner destination address.
    #[error("no peer owns the destination address")]
    NoRoute,
    /// The peer has no endpoint yet.
    #[error("the peer has no endpoint")]
    NoEndpoint,
    /// The outer header says congestion, the inner one cannot carry it (RFC 6040).
    #[error("congestion mark on a packet that cannot carry it")]
    Congestion,
    /// A buffer is too small; a defect of the caller, not of the message.
    #[error("buffer too small")]
    NoRoom,
}
