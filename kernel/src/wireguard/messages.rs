//! Owns the translation between WireGuard's generic netlink messages and our data: edits split over
//! messages, dumps merged from them. Does not own the socket.
//!
//! Source: `include/uapi/linux/wireguard.h`.

use std::collections::BTreeMap;

use ipnetwork::IpNetwork;
use netlink_packet_core::Emitable;
use netlink_packet_wireguard::{
    WireguardAddressFamily, WireguardAllowedIp, WireguardAllowedIpAttr, WireguardAttribute,
    WireguardCmd, WireguardMessage, WireguardPeer, WireguardPeerAttribute, WireguardPeerFlags,
};
use sealane_state::facts::PeerFacts;
use sealane_state::name::LinkName;
use sealane_state::wireguard::{Device, Peer, PublicKey};
use zeroize::Zeroize;

use crate::keyring::psk_fingerprint;
use crate::wireguard::Reading;
use crate::wireguard::edit::{DeviceEdit, PeerEdit, PrefixEdit, Presence, PskEdit};

/// Prefixes in one piece of a peer; each takes at most 40 bytes.
const LONGEST_PIECE: usize = 512;
/// Peers of one message; the attribute that holds them has a 16-bit length.
const FULL_BYTES: usize = 32 * 1024;

/// Asks for the whole device.
pub(super) fn get_device(link: &LinkName) -> WireguardMessage {
    let attributes = vec![WireguardAttribute::IfName(link.to_string())];
    WireguardMessage { cmd: WireguardCmd::GetDevice, attributes }
}

/// Renders an edit as messages, to be sent in order; accepted sources have no place in them.
pub(super) fn set_device(link: &LinkName, edit: DeviceEdit) -> Vec<WireguardMessage> {
    let mut attributes = vec![WireguardAttribute::IfName(link.to_string())];
    if let Some(key) = &edit.private_key {
        attributes.push(WireguardAttribute::PrivateKey(*key.expose()));
    }
    attributes.extend(edit.listen_port.map(WireguardAttribute::ListenPort));
    attributes.extend(edit.mark.map(WireguardAttribute::Fwmark));
    let mut messages = Vec::new();
    let (mut peers, mut bytes) = (Vec::new(), 0);
    for piece in edit.peers.into_iter().flat_map(|peer| peer.pieces(LONGEST_PIECE)) {
        let peer = peer_attributes(&piece);
        let size = peer.as_slice().buffer_len();
        if bytes + size > FULL_BYTES && !peers.is_empty() {
            attributes.push(WireguardAttribute::Peers(std::mem::take(&mut peers)));
            messages.push(set_message(std::mem::replace(
                &mut attributes,
                vec![WireguardAttribute::IfName(link.to_string())],
            )));
            bytes = 0;
        }
        bytes += size;
        peers.push(WireguardPeer(peer));
    }
    if !peers.is_empty() {
        attributes.push(WireguardAttribute::Peers(peers));
    }
    messages.push(set_message(attributes));
    messages
}

fn set_message(attributes: Vec<WireguardAttribute>) -> WireguardMessage {
    WireguardMessage { cmd: WireguardCmd::SetDevice, attributes }
}

fn peer_attributes(peer: &PeerEdit) -> Vec<WireguardPeerAttribute> {
    let mut attributes = vec![WireguardPeerAttribute::PublicKey(peer.key.0)];
    let mut flags = match peer.presence {
        Presence::Create => WireguardPeerFlags::empty(),
        Presence::Update => WireguardPeerFlags::UpdateOnly,
        // With UpdateOnly the kernel does not first make what it is to remove.
        Presence::Remove => WireguardPeerFlags::RemoveMe | WireguardPeerFlags::UpdateOnly,
    };
    if matches!(peer.allowed_ips, PrefixEdit::Replace(_)) {
        flags |= WireguardPeerFlags::ReplaceAllowedIps;
    }
    if !flags.is_empty() {
        attributes.push(WireguardPeerAttribute::Flags(flags));
    }
    match &peer.psk {
        None => {}
        Some(PskEdit::Clear) => attributes.push(WireguardPeerAttribute::PresharedKey([0; 32])),
        Some(PskEdit::Set(secret)) => {
            attributes.push(WireguardPeerAttribute::PresharedKey(*secret.expose()));
        }
    }
    attributes.extend(peer.endpoint.map(WireguardPeerAttribute::Endpoint));
    attributes.extend(peer.keepalive.map(WireguardPeerAttribute::PersistentKeepalive));
    let allowed: Vec<_> = peer.allowed_ips.prefixes().iter().map(allowed_ip).collect();
    if !allowed.is_empty() {
        attributes.push(WireguardPeerAttribute::AllowedIps(allowed));
    }
    attributes
}

fn allowed_ip(prefix: &IpNetwork) -> WireguardAllowedIp {
    let family = match prefix {
        IpNetwork::V4(_) => WireguardAddressFamily::Ipv4,
        IpNetwork::V6(_) => WireguardAddressFamily::Ipv6,
    };
    WireguardAllowedIp(vec![
        WireguardAllowedIpAttr::Family(family),
        WireguardAllowedIpAttr::IpAddr(prefix.network()),
        WireguardAllowedIpAttr::Cidr(prefix.prefix()),
    ])
}

/// A dump, taken in message by message.
///
/// The kernel repeats the device in each message, and a peer whose prefixes do not fit goes on in
/// the next one, by its public key alone.
pub(super) struct Dump {
    device: Device,
    facts: BTreeMap<PublicKey, PeerFacts>,
}

impl Dump {
    pub(super) fn new() -> Self {
        let device =
            Device { key: PublicKey([0; 32]), listen_port: 0, mark: 0, peers: BTreeMap::new() };
        Self { device, facts: BTreeMap::new() }
    }

    /// Takes a message in; the secrets in it are wiped.
    pub(super) fn take(&mut self, mut message: WireguardMessage) {
        for attribute in &mut message.attributes {
            match attribute {
                WireguardAttribute::PublicKey(key) => self.device.key = PublicKey(*key),
                WireguardAttribute::ListenPort(port) => self.device.listen_port = *port,
                WireguardAttribute::Fwmark(mark) => self.device.mark = *mark,
                WireguardAttribute::Peers(peers) => {
                    peers.iter().for_each(|peer| self.take_peer(&peer.0));
                }
                _ => {}
            }
        }
        wipe(&mut message);
    }

    /// Returns what the device said.
    pub(super) fn reading(self) -> Reading {
        (self.device, self.facts)
    }

    fn take_peer(&mut self, attributes: &[WireguardPeerAttribute]) {
        let key = attributes.iter().find_map(|attribute| match attribute {
            WireguardPeerAttribute::PublicKey(key) => Some(PublicKey(*key)),
            _ => None,
        });
        let Some(key) = key else { return };
        let peer = self.device.peers.entry(key).or_default();
        let facts = self.facts.entry(key).or_default();
        attributes.iter().for_each(|attribute| take_peer_attribute(peer, facts, attribute));
    }
}

fn take_peer_attribute(peer: &mut Peer, facts: &mut PeerFacts, attribute: &WireguardPeerAttribute) {
    match attribute {
        WireguardPeerAttribute::PresharedKey(psk) => peer.psk = psk_fingerprint(psk),
        WireguardPeerAttribute::Endpoint(endpoint) => {
            peer.endpoint = Some(*endpoint);
            facts.endpoint = Some(*endpoint);
        }
        WireguardPeerAttribute::PersistentKeepalive(seconds) => {
            peer.keepalive = (*seconds != 0).then_some(*seconds);
        }
        WireguardPeerAttribute::LastHandshake(time) => {
            let seconds = u64::try_from(time.seconds).unwrap_or(0);
            facts.counters.last_handshake = (seconds != 0).then_some(seconds);
        }
        WireguardPeerAttribute::RxBytes(bytes) => facts.counters.received_bytes = *bytes,
        WireguardPeerAttribute::TxBytes(bytes) => facts.counters.sent_bytes = *bytes,
        WireguardPeerAttribute::AllowedIps(allowed) => {
            peer.allowed_ips.extend(allowed.iter().filter_map(|allowed| prefix(&allowed.0)));
        }
        _ => {}
    }
}

fn prefix(attributes: &[WireguardAllowedIpAttr]) -> Option<IpNetwork> {
    let (mut address, mut length) = (None, None);
    for attribute in attributes {
        match attribute {
            WireguardAllowedIpAttr::IpAddr(ip) => address = Some(*ip),
            WireguardAllowedIpAttr::Cidr(bits) => length = Some(*bits),
            _ => {}
        }
    }
    IpNetwork::new(address?, length?).ok()
}

/// Wipes the keys in a message that is no longer needed.
pub(super) fn wipe(message: &mut WireguardMessage) {
    for attribute in &mut message.attributes {
        match attribute {
            WireguardAttribute::PrivateKey(key) => key.zeroize(),
            WireguardAttribute::Peers(peers) => {
                for attribute in peers.iter_mut().flat_map(|peer| &mut peer.0) {
                    if let WireguardPeerAttribute::PresharedKey(psk) = attribute {
                        psk.zeroize();
                    }
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use netlink_packet_core::ParseableParametrized;
    use netlink_packet_generic::{GenlFamily, GenlHeader};

    use super::*;
    use crate::keyring::SecretBytes;

    #[test]
    fn a_small_edit_is_these_bytes() {
        let peer = PeerEdit {
            presence: Presence::Create,
            psk: None,
            endpoint: Some("192.0.2.1:51820".parse().unwrap()),
            keepalive: Some(25),
            allowed_ips: PrefixEdit::Replace(vec!["10.0.0.0/8".parse().unwrap()]),
            ..PeerEdit::removal(PublicKey([0xaa; 32]))
        };
        let edit = DeviceEdit {
            listen_port: Some(51820),
            mark: Some(0x2000),
            peers: vec![peer],
            ..DeviceEdit::default()
        };
        let messages = set_device(&"sealane0".parse().unwrap(), edit);
        assert_eq!(messages.len(), 1);
        let mut expected = Vec::new();
        attribute(&mut expected, 2, b"sealane0\0");
        attribute(&mut expected, 6, &51820u16.to_ne_bytes());
        attribute(&mut expected, 7, &0x2000u32.to_ne_bytes());
        let mut peer = Vec::new();
        attribute(&mut peer, 1, &[0xaa; 32]);
        attribute(&mut peer, 3, &2u32.to_ne_bytes());
        let family_inet = 2u16.to_ne_bytes();
        let port = 51820u16.to_be_bytes();
        attribute(&mut peer, 4, &[&family_inet[..], &port, &[192, 0, 2, 1], &[0; 8]].concat());
        attribute(&mut peer, 5, &25u16.to_ne_bytes());
        let mut allowed = Vec::new();
        attribute(&mut allowed, 1, &family_inet);
        attribute(&mut allowed, 2, &[10, 0, 0, 0]);
        attribute(&mut allowed, 3, &[8]);
        nested(&mut peer, 9, &[allowed]);
        nested(&mut expected, 8, &[peer]);
        assert_eq!(bytes_of(&messages[0]), expected);
    }

    #[test]
    fn a_thousand_peers_and_a_peer_of_ten_thousand_prefixes_come_through_the_kernels_format() {
        let mut wanted: BTreeMap<PublicKey, Vec<IpNetwork>> = (0..1_000u32)
            .map(|number| {
                let key = key_of(number);
                (key, (0..10).map(|host| v4(number * 10 + host)).collect())
            })
            .collect();
        let many = (0..10_000u32).map(|number| {
            let [a, b, c, d] = number.to_be_bytes();
            format!("fd00:{a:x}{b:02x}:{c:x}{d:02x}::/64").parse().unwrap()
        });
        wanted.insert(key_of(5_000), many.collect());
        let peers = wanted.iter().map(|(key, prefixes)| PeerEdit {
            presence: Presence::Create,
            psk: Some(PskEdit::Set(SecretBytes::take(&mut [9; 32]))),
            allowed_ips: PrefixEdit::Replace(prefixes.clone()),
            ..PeerEdit::removal(*key)
        });
        let edit = DeviceEdit { peers: peers.collect(), ..DeviceEdit::default() };

        let mut dump = Dump::new();
        let mut replaced = 0;
        for message in set_device(&"sealane0".parse().unwrap(), edit) {
            let bytes = bytes_of(&message);
            assert!(bytes.len() < 60_000, "a message of {} bytes", bytes.len());
            let reread = reread(&message, &bytes);
            replaced += replacements(&reread);
            dump.take(reread);
        }
        let (device, _) = dump.reading();
        assert_eq!(replaced, wanted.len(), "each peer's list is replaced once");
        assert_eq!(device.peers.len(), wanted.len());
        for (key, prefixes) in wanted {
            let peer = &device.peers[&key];
            assert_eq!(peer.allowed_ips, prefixes.into_iter().collect());
            assert_eq!(peer.psk, psk_fingerprint(&[9; 32]));
        }
    }

    #[test]
    fn a_peer_split_over_messages_is_one_peer_with_its_counters() {
        let allowed = |number| WireguardPeerAttribute::AllowedIps(vec![allowed_ip(&v4(number))]);
        let key = WireguardPeerAttribute::PublicKey([7; 32]);
        let first = vec![
            key.clone(),
            WireguardPeerAttribute::RxBytes(5),
            WireguardPeerAttribute::TxBytes(6),
            WireguardPeerAttribute::PersistentKeepalive(0),
            allowed(1),
        ];
        let mut dump = Dump::new();
        for peer in [first, vec![key, allowed(2)]] {
            dump.take(WireguardMessage {
                cmd: WireguardCmd::GetDevice,
                attributes: vec![
                    WireguardAttribute::IfName("sealane0".into()),
                    WireguardAttribute::Peers(vec![WireguardPeer(peer)]),
                ],
            });
        }
        let (device, facts) = dump.reading();
        let key = PublicKey([7; 32]);
        assert_eq!(device.peers[&key].allowed_ips, [v4(1), v4(2)].into());
        assert_eq!(device.peers[&key].keepalive, None);
        assert_eq!(facts[&key].counters.received_bytes, 5);
        assert_eq!(facts[&key].counters.sent_bytes, 6);
        assert_eq!(facts[&key].counters.last_handshake, None);
    }

    #[test]
    fn no_key_outlives_a_message() {
        let peer = PeerEdit {
            psk: Some(PskEdit::Set(SecretBytes::take(&mut [9; 32]))),
            ..PeerEdit::removal(PublicKey([1; 32]))
        };
        let edit = DeviceEdit {
            private_key: Some(SecretBytes::take(&mut [8; 32])),
            peers: vec![peer],
            ..DeviceEdit::default()
        };
        let mut messages = set_device(&"sealane0".parse().unwrap(), edit);
        let before = bytes_of(&messages[0]);
        assert!(before.windows(32).any(|window| window == [8; 32] || window == [9; 32]));
        wipe(&mut messages[0]);
        let after = bytes_of(&messages[0]);
        assert!(!after.windows(32).any(|window| window == [8; 32] || window == [9; 32]));
    }

    fn bytes_of(message: &WireguardMessage) -> Vec<u8> {
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        bytes
    }

    fn reread(message: &WireguardMessage, bytes: &[u8]) -> WireguardMessage {
        let header = GenlHeader { cmd: message.command(), version: message.version() };
        WireguardMessage::parse_with_param(bytes, header).unwrap()
    }

    fn replacements(message: &WireguardMessage) -> usize {
        let peers = message.attributes.iter().flat_map(|attribute| match attribute {
            WireguardAttribute::Peers(peers) => peers.as_slice(),
            _ => &[],
        });
        let replaces = |attribute: &&WireguardPeerAttribute| {
            matches!(attribute, WireguardPeerAttribute::Flags(flags)
                if flags.contains(WireguardPeerFlags::ReplaceAllowedIps))
        };
        peers.filter(|peer| peer.0.iter().find(replaces).is_some()).count()
    }

    fn key_of(number: u32) -> PublicKey {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&number.to_be_bytes());
        PublicKey(key)
    }

    fn v4(number: u32) -> IpNetwork {
        IpNetwork::new(Ipv4Addr::from(0x0a00_0000 + number).into(), 32).unwrap()
    }

    fn attribute(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
        let length = u16::try_from(value.len() + 4).unwrap();
        bytes.extend(length.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }

    fn nested(bytes: &mut Vec<u8>, kind: u16, items: &[Vec<u8>]) {
        const NESTED: u16 = 0x8000;
        let mut list = Vec::new();
        items.iter().for_each(|item| attribute(&mut list, NESTED, item));
        attribute(bytes, kind | NESTED, &list);
    }
}
