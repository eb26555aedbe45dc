//! Owns WireGuard devices and peers as configuration. Holds public keys and fingerprints only;
//! private keys and pre-shared keys stay in the keyring that `apply` is given.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;

use ipnetwork::IpNetwork;

/// An X25519 public key as WireGuard sees it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; 32]);

/// First 8 bytes of a one-way hash of a pre-shared key: tells keys apart without holding them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PskFingerprint(pub [u8; 8]);

/// Configuration of one WireGuard device; the link of the same name carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Public half of the device's key; the keyring has the private half.
    pub key: PublicKey,
    /// UDP port, both families.
    pub listen_port: u16,
    /// Mark on encrypted packets; 0 is none.
    pub mark: u32,
    /// Peers by public key.
    pub peers: BTreeMap<PublicKey, Peer>,
}

/// A remote gateway as WireGuard sees it; the default has nothing and may send nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peer {
    /// Pre-shared key, by fingerprint.
    pub psk: Option<PskFingerprint>,
    /// Where to send. In what is wanted, `None` leaves the device's own (roamed) value alone.
    pub endpoint: Option<SocketAddr>,
    /// What the wanted `endpoint` may be written over. `Nothing` in what is observed.
    pub displaces: Displaces,
    /// Persistent keepalive in seconds; `None` is off.
    pub keepalive: Option<u16>,
    /// Destinations sent to this peer, and sources taken from it; no two peers share one.
    pub allowed_ips: BTreeSet<IpNetwork>,
    /// Sources taken from this peer besides; may overlap other peers. Userspace devices only.
    pub accepted_sources: BTreeSet<IpNetwork>,
}

/// Which endpoint of a device a wanted one may be written over. A device that has none takes any.
///
/// A device that sends elsewhere than when the wanted one was chosen has heard from the peer there
/// since, and knows better.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Displaces {
    /// None: there was none.
    #[default]
    Nothing,
    /// The one that the device sent to then.
    This(SocketAddr),
    /// Whatever it is.
    Anything,
}

impl From<Option<SocketAddr>> for Displaces {
    fn from(seen: Option<SocketAddr>) -> Self {
        seen.map_or(Self::Nothing, Self::This)
    }
}

impl Peer {
    /// Whether an observed peer is what this wanted peer asks for; an endpoint that is not asked
    /// for may be any.
    pub fn is_met_by(&self, seen: &Self) -> bool {
        self.endpoint_to_set(seen.endpoint).is_none()
            && self.psk == seen.psk
            && self.keepalive == seen.keepalive
            && self.allowed_ips == seen.allowed_ips
            && self.accepted_sources == seen.accepted_sources
    }

    /// Returns the endpoint that a device which sends to `seen` is to be given; `None` where it sends
    /// there, has none asked of it, or has followed its peer since one was chosen.
    pub fn endpoint_to_set(&self, seen: Option<SocketAddr>) -> Option<SocketAddr> {
        let has_roamed = match self.displaces {
            Displaces::Nothing => seen.is_some(),
            Displaces::This(then) => seen.is_some_and(|now| now != then),
            Displaces::Anything => false,
        };
        self.endpoint.filter(|wanted| seen != Some(*wanted) && !has_roamed)
    }
}

/// What a device reports of a peer beside its configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PeerCounters {
    /// Unix time in seconds of the last completed handshake; `None` before the first.
    pub last_handshake: Option<u64>,
    /// Bytes received from the peer, authenticated ones only.
    pub received_bytes: u64,
    /// Bytes sent to the peer.
    pub sent_bytes: u64,
}

impl fmt::Display for PublicKey {
    /// Prints RFC 4648 base64, as `wg` does.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ALPHABET: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        for chunk in self.0.chunks(3) {
            let mut word = [0u8; 3];
            word[..chunk.len()].copy_from_slice(chunk);
            let bits = u32::from_be_bytes([0, word[0], word[1], word[2]]);
            for position in 0..4usize {
                if position > chunk.len() {
                    f.write_str("=")?;
                } else {
                    let index = (bits >> (18 - 6 * position)) & 63;
                    write!(f, "{}", char::from(ALPHABET[index as usize]))?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for PskFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PskFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_keys_print_as_wg_prints_them() {
        let mut key = [0u8; 32];
        key[0] = 0xff;
        key[31] = 1;
        assert_eq!(PublicKey(key).to_string(), "/wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE=");
    }

    #[test]
    fn a_peer_is_as_wanted_only_when_every_part_is() {
        let wanted = Peer {
            psk: Some(PskFingerprint([1; 8])),
            endpoint: at("192.0.2.1:51820"),
            displaces: at("192.0.2.2:51820").into(),
            keepalive: Some(25),
            allowed_ips: BTreeSet::from(["10.1.0.0/16".parse().unwrap()]),
            accepted_sources: BTreeSet::from(["10.9.0.0/16".parse().unwrap()]),
        };
        assert!(wanted.is_met_by(&wanted));
        let seen = [
            Peer { psk: None, ..wanted.clone() },
            Peer { endpoint: at("192.0.2.2:51820"), ..wanted.clone() },
            Peer { endpoint: None, ..wanted.clone() },
            Peer { keepalive: None, ..wanted.clone() },
            Peer { allowed_ips: BTreeSet::new(), ..wanted.clone() },
            Peer { accepted_sources: BTreeSet::new(), ..wanted.clone() },
        ];
        for seen in seen {
            assert!(!wanted.is_met_by(&seen), "{seen:?} was taken for {wanted:?}");
        }
    }

    #[test]
    fn a_peer_may_roam_when_no_endpoint_is_wanted() {
        let roamed = Peer { endpoint: at("192.0.2.2:51820"), ..Peer::default() };
        assert!(Peer::default().is_met_by(&roamed));
        assert!(!roamed.is_met_by(&Peer::default()));
    }

    #[test]
    fn an_endpoint_that_was_chosen_before_the_peer_roamed_is_not_set() {
        let (chosen, before) = (at("192.0.2.1:51820"), at("192.0.2.2:51820"));
        let wanted = Peer { endpoint: chosen, displaces: before.into(), ..Peer::default() };
        assert_eq!(wanted.endpoint_to_set(before), chosen);
        assert_eq!(wanted.endpoint_to_set(chosen), None, "it is set already");
        assert_eq!(wanted.endpoint_to_set(at("198.51.100.7:4")), None);
        assert_eq!(wanted.endpoint_to_set(None), chosen, "a device made anew knows no better");
        let first = Peer { endpoint: chosen, ..Peer::default() };
        assert_eq!(first.endpoint_to_set(None), chosen);
        assert_eq!(first.endpoint_to_set(at("198.51.100.7:4")), None, "it called first");
        let other = Peer { displaces: Displaces::Anything, ..first };
        assert_eq!(other.endpoint_to_set(at("198.51.100.7:4")), chosen);
        assert_eq!(other.endpoint_to_set(chosen), None);
    }

    fn at(text: &str) -> Option<SocketAddr> {
        Some(text.parse().unwrap())
    }
}
