//! Owns what must hold of a WireGuard device whatever its backend: run against `sealane-tunnel` by
//! `wireguard_tunnel.rs`, against kernel WireGuard by `tests/tests/interop`. Makes no device.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use sealane_kernel::keyring::{Keyring, SecretBytes};
use sealane_kernel::wireguard::Devices;
use sealane_state::name::LinkName;
use sealane_state::wireguard::{Device, Peer, PskFingerprint, PublicKey};
use x25519_dalek::StaticSecret;

use super::devices::{Keys, device_with, key_of, link, net, peer_with};
use super::namespace::sh;

/// How long what a kernel or a tunnel does by itself may take, on an emulated processor too.
const DEADLINE: Duration = Duration::from_secs(60);

/// Sets the device of [`link`] to what is wanted, and insists that nothing was refused.
pub(crate) fn put(devices: &Devices, wanted: &Device) {
    devices.set_device(&link(), wanted, &Keys).unwrap();
    let refused = devices.put_peers(&link(), &wanted.peers, &Keys).unwrap();
    assert!(refused.is_empty(), "{refused:?}");
}

/// `full` is a peer with everything that the backend has.
pub(crate) fn it_reads_back_as_it_was_written(devices: &Devices, full: Peer) {
    let wanted = device_with(&[full, peer_with(&["0.0.0.0/0", "::/0"])]);
    put(devices, &wanted);
    assert_eq!(devices.observe(&link()).unwrap().0, wanted);
}

/// As before; `full` has 10.1.0.0/16 among its prefixes.
pub(crate) fn peers_change_move_and_go(devices: &Devices, full: Peer) {
    let before = [peer_with(&["10.1.0.0/16", "10.2.0.0/16", "fd00::/64"]), peer_with(&[])];
    put(devices, &device_with(&before));
    let after = device_with(&[peer_with(&["fd00::/64"]), full.clone()]);
    put(devices, &after);
    assert_eq!(devices.observe(&link()).unwrap().0, after, "10.1.0.0/16 moved to the second peer");
    let endpoint = full.endpoint;
    let bare = Peer { endpoint, ..peer_with(&["10.2.0.0/16"]) };
    let after = device_with(&[peer_with(&["10.1.0.0/16", "fd00::/64"]), bare]);
    put(devices, &after);
    assert_eq!(devices.observe(&link()).unwrap().0, after, "keys, keepalive and prefixes went");
    for _ in 0..2 {
        devices.delete_peers(&link(), &[key_of(1)].into()).unwrap();
    }
    assert_eq!(devices.observe(&link()).unwrap().0.peers.len(), 1);
}

/// `further` prefixes are those of one peer besides.
pub(crate) fn a_thousand_peers_pass_without_loss(devices: &Devices, further: u32) {
    let mut peers: Vec<Peer> = (0..1_000)
        .map(|number: u32| {
            let prefix = |host| format!("10.{}.{}.{host}/32", number / 250, number % 250);
            let prefixes: Vec<String> = (0..10).map(prefix).collect();
            peer_with(&prefixes.iter().map(String::as_str).collect::<Vec<_>>())
        })
        .collect();
    peers[0].allowed_ips.extend((0..further).map(|number| net(&format!("fd00:{number:x}::/64"))));
    let wanted = device_with(&peers);
    put(devices, &wanted);
    assert!(devices.observe(&link()).unwrap().0 == wanted, "something was lost");
}

/// `remote` is the link of a second device.
pub(crate) fn a_session_survives_a_change_of_its_peer(devices: &Devices, remote: &LinkName) {
    for link in [link().as_str(), remote.as_str(), "lo"] {
        sh(&format!("ip link set {link} up"));
    }
    let mut near = device_with(&[]);
    let mut far = Device { key: RemoteKeys::own_key(), listen_port: 51821, ..near.clone() };
    let speaking = Peer { keepalive: Some(1), ..peer_with(&["10.1.0.0/16", "fd00::/64"]) };
    near.peers.insert(far.key, speaking.clone());
    near.peers.get_mut(&far.key).unwrap().endpoint = Some("127.0.0.1:51821".parse().unwrap());
    far.peers.insert(near.key, speaking);
    devices.set_device(remote, &far, &RemoteKeys).unwrap();
    devices.put_peers(remote, &far.peers, &RemoteKeys).unwrap();
    put(devices, &near);

    let facts = || devices.observe(&link()).unwrap().1[&far.key];
    eventually("a handshake", || facts().counters.last_handshake.is_some());
    let before = facts().counters;
    let peer = near.peers.get_mut(&far.key).unwrap();
    peer.allowed_ips = BTreeSet::from([net("10.1.0.0/16"), net("10.9.0.0/16")]);
    // A keepalive either way counts as traffic for both ends: only the remote may send them now.
    peer.keepalive = None;
    put(devices, &near);
    eventually("more of the same session", || {
        facts().counters.received_bytes > before.received_bytes
    });
    assert_eq!(facts().counters.last_handshake, before.last_handshake);
}

/// The keys of the second device.
struct RemoteKeys;

impl RemoteKeys {
    const PRIVATE_KEY: [u8; 32] = [0x48; 32];

    fn own_key() -> PublicKey {
        let secret = StaticSecret::from(Self::PRIVATE_KEY);
        PublicKey(x25519_dalek::PublicKey::from(&secret).to_bytes())
    }
}

impl Keyring for RemoteKeys {
    fn private_key(&self, _: &PublicKey) -> Option<SecretBytes> {
        Some(SecretBytes::take(&mut Self::PRIVATE_KEY.clone()))
    }

    fn psk(&self, _: &PskFingerprint) -> Option<SecretBytes> {
        None
    }
}

/// Waits for a condition, at most for a time that only a defect takes.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not come");
        thread::yield_now();
    }
}
