//! Owns the difference between a WireGuard device as it is and as it is wanted, as the smallest
//! edit that keeps sessions and never leaves a moving prefix without a peer. Knows no protocol.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use ipnetwork::IpNetwork;
use sealane_state::wireguard::{Device, Peer, PublicKey};

use crate::keyring::{Keyring, SecretBytes};
use crate::wireguard::WireguardError;

/// What to write to a device; `None` and empty leave alone.
#[derive(Default)]
pub(super) struct DeviceEdit {
    pub(super) private_key: Option<SecretBytes>,
    /// Whether the device has another key, whose sessions are to go on until there are new ones. The
    /// kernel cannot.
    pub(super) keeps_sessions: bool,
    pub(super) listen_port: Option<u16>,
    pub(super) mark: Option<u32>,
    /// In order of writing; the same peer may stand here more than once.
    pub(super) peers: Vec<PeerEdit>,
}

/// What to write to one peer.
pub(super) struct PeerEdit {
    pub(super) key: PublicKey,
    pub(super) presence: Presence,
    pub(super) psk: Option<PskEdit>,
    pub(super) endpoint: Option<SocketAddr>,
    /// Seconds; 0 is off.
    pub(super) keepalive: Option<u16>,
    pub(super) allowed_ips: PrefixEdit,
    pub(super) accepted_sources: PrefixEdit,
}

/// Whether the edit makes, changes or removes a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// Make it if it is not there.
    Create,
    /// Leave it alone if it is not there: a part of a peer, without its pre-shared key, must not
    /// come into being because someone removed the peer in between.
    Update,
    /// Remove it.
    Remove,
}

/// What becomes of a pre-shared key.
pub(super) enum PskEdit {
    /// None any more.
    Clear,
    /// This one.
    Set(SecretBytes),
}

/// What becomes of a list of prefixes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PrefixEdit {
    /// As it is.
    Keep,
    /// These besides.
    Add(Vec<IpNetwork>),
    /// Exactly these.
    Replace(Vec<IpNetwork>),
}

/// What a device without a private key says.
const NO_KEY: PublicKey = PublicKey([0; 32]);

impl DeviceEdit {
    pub(super) fn is_empty(&self) -> bool {
        self.private_key.is_none()
            && self.listen_port.is_none()
            && self.mark.is_none()
            && self.peers.is_empty()
    }
}

impl PeerEdit {
    pub(super) fn removal(key: PublicKey) -> Self {
        Self { presence: Presence::Remove, ..Self::untouched(key) }
    }

    fn untouched(key: PublicKey) -> Self {
        Self {
            key,
            presence: Presence::Update,
            psk: None,
            endpoint: None,
            keepalive: None,
            allowed_ips: PrefixEdit::Keep,
            accepted_sources: PrefixEdit::Keep,
        }
    }

    fn changes_anything(&self) -> bool {
        self.presence != Presence::Update
            || self.psk.is_some()
            || self.endpoint.is_some()
            || self.keepalive.is_some()
            || self.allowed_ips != PrefixEdit::Keep
            || self.accepted_sources != PrefixEdit::Keep
    }

    /// Splits the edit into pieces of at most `longest` prefixes, to be written in order.
    pub(super) fn pieces(mut self, longest: usize) -> Vec<Self> {
        let key = self.key;
        let mut allowed =
            std::mem::replace(&mut self.allowed_ips, PrefixEdit::Keep).chunks(longest).into_iter();
        let accepted = std::mem::replace(&mut self.accepted_sources, PrefixEdit::Keep);
        self.allowed_ips = allowed.next().unwrap_or(PrefixEdit::Keep);
        let mut pieces = vec![self];
        let untouched = Self::untouched;
        pieces.extend(allowed.map(|allowed_ips| Self { allowed_ips, ..untouched(key) }));
        let accepted = accepted.chunks(longest).into_iter();
        pieces.extend(accepted.map(|accepted_sources| Self { accepted_sources, ..untouched(key) }));
        pieces
    }
}

impl PrefixEdit {
    fn between(present: &BTreeSet<IpNetwork>, wanted: &BTreeSet<IpNetwork>) -> Self {
        let added: Vec<IpNetwork> = wanted.difference(present).copied().collect();
        if added.is_empty() { Self::Keep } else { Self::Add(added) }
    }

    /// Returns the prefixes that the edit writes.
    pub(super) fn prefixes(&self) -> &[IpNetwork] {
        match self {
            Self::Keep => &[],
            Self::Add(prefixes) | Self::Replace(prefixes) => prefixes,
        }
    }

    /// Only the first chunk of a replacement replaces; the others add to it.
    fn chunks(self, longest: usize) -> Vec<Self> {
        let replaces = matches!(self, Self::Replace(_));
        let mut chunks: Vec<Self> =
            self.prefixes().chunks(longest).map(|chunk| Self::Add(chunk.to_vec())).collect();
        if replaces {
            let first = match chunks.first() {
                Some(first) => first.prefixes().to_vec(),
                None => Vec::new(),
            };
            chunks.splice(..1.min(chunks.len()), [Self::Replace(first)]);
        }
        chunks
    }
}

/// Says what to write to bring key, port and mark to `wanted`; `None` without the private key.
pub(super) fn device(
    present: &Device,
    wanted: &Device,
    keyring: &dyn Keyring,
) -> Option<DeviceEdit> {
    let private_key =
        if present.key == wanted.key { None } else { Some(keyring.private_key(&wanted.key)?) };
    Some(DeviceEdit {
        private_key,
        keeps_sessions: present.key != wanted.key && present.key != NO_KEY,
        listen_port: differing(present.listen_port, wanted.listen_port),
        mark: differing(present.mark, wanted.mark),
        peers: Vec::new(),
    })
}

/// Says what to write to bring the peers of `wanted` from `present`, and which are left alone why.
///
/// First everything is added: a prefix that another peer has moves over at that instant. Then what
/// is left too many is taken away.
pub(super) fn peers(
    present: &BTreeMap<PublicKey, Peer>,
    wanted: &BTreeMap<PublicKey, Peer>,
    keyring: &dyn Keyring,
    objection: &dyn Fn(&PublicKey, &Peer) -> Option<WireguardError>,
) -> (Vec<PeerEdit>, BTreeMap<PublicKey, WireguardError>) {
    let (mut edits, mut refused) = (Vec::new(), BTreeMap::new());
    let mut sound: BTreeMap<&PublicKey, &Peer> = BTreeMap::new();
    for (key, peer) in wanted {
        let objection = objection(key, peer).or_else(|| host_bits(key, peer));
        let addition = match objection {
            Some(reason) => Err(reason),
            None => addition(key, present.get(key), peer, keyring),
        };
        match addition {
            Err(reason) => {
                refused.insert(*key, reason);
            }
            Ok(edit) => {
                sound.insert(key, peer);
                edits.push(edit);
            }
        }
    }
    edits.retain(PeerEdit::changes_anything);
    let moved: BTreeMap<IpNetwork, PublicKey> = edits
        .iter()
        .flat_map(|edit| edit.allowed_ips.prefixes().iter().map(|prefix| (*prefix, edit.key)))
        .collect();
    for (key, peer) in sound {
        let surplus = present.get(key).and_then(|before| surplus(key, before, peer, &moved));
        edits.extend(surplus);
    }
    (edits, refused)
}

fn addition(
    key: &PublicKey,
    present: Option<&Peer>,
    wanted: &Peer,
    keyring: &dyn Keyring,
) -> Result<PeerEdit, WireguardError> {
    let presence = if present.is_some() { Presence::Update } else { Presence::Create };
    let nothing = BTreeSet::new();
    let allowed = present.map_or(&nothing, |peer| &peer.allowed_ips);
    let accepted = present.map_or(&nothing, |peer| &peer.accepted_sources);
    let psk = match (present.and_then(|peer| peer.psk), wanted.psk) {
        (before, after) if before == after => None,
        (_, None) => Some(PskEdit::Clear),
        (_, Some(fingerprint)) => match keyring.psk(&fingerprint) {
            Some(secret) => Some(PskEdit::Set(secret)),
            None => return Err(WireguardError::NoPsk { peer: *key, fingerprint }),
        },
    };
    let endpoint = present.and_then(|peer| peer.endpoint);
    let keepalive = present.and_then(|peer| peer.keepalive);
    Ok(PeerEdit {
        key: *key,
        presence,
        psk,
        endpoint: wanted.endpoint_to_set(endpoint),
        keepalive: differing(keepalive.unwrap_or(0), wanted.keepalive.unwrap_or(0)),
        allowed_ips: PrefixEdit::between(allowed, &wanted.allowed_ips),
        accepted_sources: PrefixEdit::between(accepted, &wanted.accepted_sources),
    })
}

fn surplus(
    key: &PublicKey,
    before: &Peer,
    wanted: &Peer,
    moved: &BTreeMap<IpNetwork, PublicKey>,
) -> Option<PeerEdit> {
    let taken = |prefix: &IpNetwork| moved.get(prefix).is_some_and(|to| to != key);
    let allowed = before.allowed_ips.difference(&wanted.allowed_ips).any(|prefix| !taken(prefix));
    let accepted = !before.accepted_sources.is_subset(&wanted.accepted_sources);
    let replacement = |surplus: bool, wanted: &BTreeSet<IpNetwork>| {
        if surplus {
            PrefixEdit::Replace(wanted.iter().copied().collect())
        } else {
            PrefixEdit::Keep
        }
    };
    let edit = PeerEdit {
        allowed_ips: replacement(allowed, &wanted.allowed_ips),
        accepted_sources: replacement(accepted, &wanted.accepted_sources),
        ..PeerEdit::untouched(*key)
    };
    edit.changes_anything().then_some(edit)
}

/// WireGuard would clear the bits silently, and what is read back would then never match.
fn host_bits(key: &PublicKey, peer: &Peer) -> Option<WireguardError> {
    let prefixes = peer.allowed_ips.iter().chain(&peer.accepted_sources);
    let prefix = *prefixes.into_iter().find(|prefix| prefix.ip() != prefix.network())?;
    Some(WireguardError::HostBits { peer: *key, prefix })
}

fn differing<T: PartialEq>(present: T, wanted: T) -> Option<T> {
    (present != wanted).then_some(wanted)
}

#[cfg(test)]
mod tests {
    use sealane_state::wireguard::PskFingerprint;

    use super::*;

    #[test]
    fn a_peer_that_is_as_wanted_is_not_written() {
        let present = BTreeMap::from([(A, peer(&["10.0.0.0/8"]))]);
        let (edits, refused) = peers(&present, &present, &NoSecrets, &anything);
        assert!(edits.is_empty() && refused.is_empty());
    }

    #[test]
    fn prefixes_that_change_places_are_never_without_a_peer() {
        let present = BTreeMap::from([(A, peer(&["10.0.0.0/8"])), (B, peer(&["fd00::/8"]))]);
        let wanted = BTreeMap::from([(A, peer(&["fd00::/8"])), (B, peer(&["10.0.0.0/8"]))]);
        let (edits, _) = peers(&present, &wanted, &NoSecrets, &anything);
        let written: Vec<_> = edits.iter().map(|edit| (edit.key, &edit.allowed_ips)).collect();
        let add = |text: &str| PrefixEdit::Add(vec![text.parse().unwrap()]);
        assert_eq!(written, [(A, &add("fd00::/8")), (B, &add("10.0.0.0/8"))]);
    }

    #[test]
    fn what_is_too_many_goes_only_after_everything_else_has_come() {
        let present = BTreeMap::from([(A, peer(&["10.0.0.0/8", "10.1.0.0/16"]))]);
        let wanted = BTreeMap::from([(A, peer(&["10.0.0.0/8"])), (B, peer(&["10.2.0.0/16"]))]);
        let (edits, _) = peers(&present, &wanted, &NoSecrets, &anything);
        let order: Vec<_> = edits.iter().map(|edit| (edit.key, edit.presence)).collect();
        assert_eq!(order, [(B, Presence::Create), (A, Presence::Update)]);
        let rest = PrefixEdit::Replace(vec!["10.0.0.0/8".parse().unwrap()]);
        assert_eq!(edits[1].allowed_ips, rest);
    }

    #[test]
    fn a_roamed_endpoint_is_left_alone_unless_one_is_wanted() {
        let mut roamed = peer(&[]);
        roamed.endpoint = Some("192.0.2.1:5".parse().unwrap());
        let present = BTreeMap::from([(A, roamed.clone())]);
        let (edits, _) = peers(&present, &BTreeMap::from([(A, peer(&[]))]), &NoSecrets, &anything);
        assert!(edits.is_empty());

        let mut moved = peer(&[]);
        moved.endpoint = Some("[2001:db8::1]:5".parse().unwrap());
        let late = BTreeMap::from([(A, moved.clone())]);
        assert!(peers(&present, &late, &NoSecrets, &anything).0.is_empty(), "it roamed since");
        moved.displaces = roamed.endpoint.into();
        let wanted = BTreeMap::from([(A, moved.clone())]);
        let (edits, _) = peers(&present, &wanted, &NoSecrets, &anything);
        assert_eq!(edits[0].endpoint, moved.endpoint);
    }

    #[test]
    fn a_peer_whose_secret_or_prefix_is_bad_does_not_stop_the_others() {
        let mut secret = peer(&["10.0.0.0/8"]);
        secret.psk = Some(PskFingerprint([1; 8]));
        let wanted =
            BTreeMap::from([(A, secret), (B, peer(&["10.9.9.9/8"])), (C, peer(&["fd00::/8"]))]);
        let (edits, refused) = peers(&BTreeMap::new(), &wanted, &NoSecrets, &anything);
        assert_eq!(edits.iter().map(|edit| edit.key).collect::<Vec<_>>(), [C]);
        assert!(matches!(refused[&A], WireguardError::NoPsk { peer: A, .. }));
        assert!(matches!(refused[&B], WireguardError::HostBits { peer: B, .. }));
    }

    #[test]
    fn only_the_first_piece_of_a_long_edit_replaces_and_none_of_the_others_makes_a_peer() {
        let prefixes: Vec<IpNetwork> =
            (0..5).map(|number| format!("10.{number}.0.0/16").parse().unwrap()).collect();
        let edit = PeerEdit {
            presence: Presence::Create,
            keepalive: Some(25),
            allowed_ips: PrefixEdit::Replace(prefixes.clone()),
            accepted_sources: PrefixEdit::Replace(Vec::new()),
            ..PeerEdit::untouched(A)
        };
        let pieces = edit.pieces(2);
        let replace = |range: &[IpNetwork]| PrefixEdit::Replace(range.to_vec());
        let add = |range: &[IpNetwork]| PrefixEdit::Add(range.to_vec());
        let allowed: Vec<_> = pieces.iter().map(|piece| piece.allowed_ips.clone()).collect();
        let expected =
            [replace(&prefixes[..2]), add(&prefixes[2..4]), add(&prefixes[4..]), PrefixEdit::Keep];
        assert_eq!(allowed, expected);
        assert_eq!(pieces[3].accepted_sources, replace(&[]));
        let presence: Vec<_> = pieces.iter().map(|piece| piece.presence).collect();
        assert_eq!(presence[0], Presence::Create);
        assert!(presence[1..].iter().all(|presence| *presence == Presence::Update));
        assert!(pieces[1..].iter().all(|piece| piece.keepalive.is_none()));
    }

    const A: PublicKey = PublicKey([1; 32]);
    const B: PublicKey = PublicKey([2; 32]);
    const C: PublicKey = PublicKey([3; 32]);

    struct NoSecrets;

    impl Keyring for NoSecrets {
        fn private_key(&self, _: &PublicKey) -> Option<SecretBytes> {
            None
        }

        fn psk(&self, _: &PskFingerprint) -> Option<SecretBytes> {
            None
        }
    }

    fn anything(_: &PublicKey, _: &Peer) -> Option<WireguardError> {
        None
    }

    fn peer(allowed_ips: &[&str]) -> Peer {
        let allowed_ips = allowed_ips.iter().map(|text| text.parse().unwrap()).collect();
        Peer { allowed_ips, ..Peer::default() }
    }
}
