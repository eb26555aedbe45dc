//! Owns the proof that the kernel's WireGuard is read and written as wanted; every test has a
//! network namespace of its own. Needs root, `ip`, and a kernel with WireGuard: `--ignored` runs it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fixtures;

use std::path::Path;
use std::process::Command;

use nix::sched::{CloneFlags, unshare};
use sealane_kernel::wireguard::process::{Supervision, Tunnels};
use sealane_kernel::wireguard::uapi::Sockets;
use sealane_kernel::wireguard::{Devices, WireguardError};
use sealane_state::link::Backend;
use sealane_state::wireguard::{Device, Peer};

use crate::fixtures::{Keys, device_with, full_peer, key_of, link, net, peer_with};

#[test]
#[ignore = "needs a kernel with WireGuard"]
fn a_kernel_device_reads_back_as_it_was_written() {
    let mut devices = fresh_device();
    let mut peer = full_peer();
    peer.accepted_sources.clear();
    let wanted = device_with(&[peer, peer_with(&["0.0.0.0/0", "::/0"])]);
    put(&devices, &wanted);
    assert_eq!(devices.observe(&link()).unwrap().0, wanted);
    assert!(devices.backends().contains(&Backend::Kernel));
}

#[test]
#[ignore = "needs a kernel with WireGuard"]
fn peers_of_a_kernel_device_change_and_go() {
    let devices = fresh_device();
    let before = [peer_with(&["10.1.0.0/16", "10.2.0.0/16", "fd00::/64"]), peer_with(&[])];
    put(&devices, &device_with(&before));
    let mut moved = peer_with(&["10.1.0.0/16"]);
    moved.keepalive = Some(5);
    let after = device_with(&[peer_with(&["fd00::/64"]), moved]);
    put(&devices, &after);
    assert_eq!(devices.observe(&link()).unwrap().0, after);
    for _ in 0..2 {
        devices.delete_peer(&link(), &key_of(1)).unwrap();
    }
    assert_eq!(devices.observe(&link()).unwrap().0.peers.len(), 1);
}

#[test]
#[ignore = "needs a kernel with WireGuard"]
fn a_thousand_kernel_peers_and_ten_thousand_prefixes_are_written_and_read_without_loss() {
    let devices = fresh_device();
    let mut peers: Vec<Peer> = (0..1_000)
        .map(|number: u32| {
            let prefix = |host| format!("10.{}.{}.{host}/32", number / 250, number % 250);
            let prefixes: Vec<String> = (0..10).map(prefix).collect();
            peer_with(&prefixes.iter().map(String::as_str).collect::<Vec<_>>())
        })
        .collect();
    peers[0].allowed_ips.extend((0..10_000).map(|number| net(&format!("fd00:{number:x}::/64"))));
    let wanted = device_with(&peers);
    put(&devices, &wanted);
    assert!(devices.observe(&link()).unwrap().0 == wanted, "something was lost");
}

#[test]
#[ignore = "needs a kernel with WireGuard"]
fn a_kernel_peer_with_accepted_sources_is_refused_and_the_others_are_done() {
    let devices = fresh_device();
    let wanted = device_with(&[full_peer(), peer_with(&["10.9.0.0/16"])]);
    devices.set_device(&link(), &wanted, &Keys).unwrap();
    let refused = devices.put_peers(&link(), &wanted.peers, &Keys).unwrap();
    assert!(matches!(refused[&key_of(1)], WireguardError::AcceptedSources { .. }));
    let (seen, _) = devices.observe(&link()).unwrap();
    assert_eq!(seen.peers.keys().collect::<Vec<_>>(), [&key_of(2)]);
}

#[test]
#[ignore = "needs a kernel with WireGuard"]
fn a_link_of_another_kind_is_no_kernel_device() {
    let devices = fresh_device();
    let fault = devices.observe(&"lo".parse().unwrap()).unwrap_err();
    assert!(matches!(fault, WireguardError::NoDevice { .. }), "{fault}");
}

/// A fresh namespace with one WireGuard link and nothing else.
fn fresh_device() -> Devices {
    unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace (needs root)");
    let arguments = ["link", "add", link().as_str(), "type", "wireguard"].map(str::to_owned);
    let made = Command::new("ip").args(arguments).status().unwrap();
    assert!(made.success(), "this kernel makes no WireGuard links");
    let nowhere = Path::new("/nonexistent");
    Devices::new(Tunnels::new(Sockets::below(nowhere), Supervision::Ours, nowhere))
}

fn put(devices: &Devices, wanted: &Device) {
    devices.set_device(&link(), wanted, &Keys).unwrap();
    let refused = devices.put_peers(&link(), &wanted.peers, &Keys).unwrap();
    assert!(refused.is_empty(), "{refused:?}");
}
