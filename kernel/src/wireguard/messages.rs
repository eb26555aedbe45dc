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
        let peer = self.device.peers.entry(key).or_insert_with(|| Peer {
            psk: None,
            endpoint: None,
            keepalive: None,
            allowed_ips: Default::default(),
            accepted_sources: Default::default(),
        });
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
