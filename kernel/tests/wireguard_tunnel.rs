//! Owns the proof that the real `sealane-tunnel` is started, configured, read and stopped as wanted;
//! every test has namespaces of its own. Needs root and `/dev/net/tun`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fixtures;
mod sweeper;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::Pid;
use sealane_kernel::keyring::{Keyring, SecretBytes};
use sealane_kernel::wireguard::Devices;
use sealane_kernel::wireguard::process::{Supervision, Tunnels};
use sealane_kernel::wireguard::uapi::{SOCKET_DIR, Sockets};
use sealane_state::link::Backend;
use sealane_state::name::LinkName;
use sealane_state::wireguard::{Device, Peer, PskFingerprint, PublicKey};
use tempfile::TempDir;
use x25519_dalek::StaticSecret;

use crate::fixtures::{Keys, device_with, full_peer, key_of, link, net, peer_with};
use crate::sweeper::Sweeper;

#[test]
fn a_tunnel_is_started_configured_read_back_and_leaves_no_trace() {
    let mut host = Host::with_tunnel();
    assert!(host.devices.backends().contains(&Backend::Userspace));
    assert!(link_shown().contains("mtu 1380"), "{}", link_shown());
    let wanted = device_with(&[full_peer(), peer_with(&["0.0.0.0/0", "::/0"])]);
    host.put(&wanted);
    assert_eq!(host.devices.observe(&link()).unwrap().0, wanted);

    host.devices.tunnels().stop(&link()).unwrap();
    assert_eq!(link_shown(), "", "the link went with the process");
    assert_eq!(fs::read_dir(SOCKET_DIR).unwrap().count(), 0);
}

#[test]
fn a_tunnel_says_its_version_and_wg_reads_it_as_ever() {
    let host = Host::with_tunnel();
    let version = host.devices.tunnels().sockets().version(&link());
    assert_eq!(version.as_deref(), Some(env!("CARGO_PKG_VERSION")));
    let shown = Command::new("wg").args(["show", link().as_str()]).output().unwrap();
    assert!(shown.status.success() && shown.stderr.is_empty(), "{shown:?}");
    assert!(!String::from_utf8_lossy(&shown.stdout).contains("version"), "{shown:?}");
}

#[test]
fn peers_of_a_tunnel_change_move_and_go() {
    let host = Host::with_tunnel();
    let before = [peer_with(&["10.1.0.0/16", "10.2.0.0/16", "fd00::/64"]), full_peer()];
    host.put(&device_with(&before));
    let mut moved = full_peer();
    moved.psk = None;
    moved.keepalive = None;
    moved.allowed_ips = BTreeSet::from([net("10.2.0.0/16")]);
    moved.accepted_sources = BTreeSet::from([net("fd00:5::/64")]);
    let after = device_with(&[peer_with(&["fd00::/64"]), moved]);
    host.put(&after);
    assert_eq!(host.devices.observe(&link()).unwrap().0, after);
    for _ in 0..2 {
        host.devices.delete_peer(&link(), &key_of(1)).unwrap();
    }
    assert_eq!(host.devices.observe(&link()).unwrap().0.peers.len(), 1);
}

#[test]
fn a_thousand_peers_and_ten_thousand_prefixes_pass_through_a_tunnel_without_loss() {
    let host = Host::with_tunnel();
    let peers: Vec<Peer> = (0..1_000)
        .map(|number: u32| {
            let prefix = |host| format!("10.{}.{}.{host}/32", number / 250, number % 250);
            let prefixes: Vec<String> = (0..10).map(prefix).collect();
            peer_with(&prefixes.iter().map(String::as_str).collect::<Vec<_>>())
        })
        .collect();
    let wanted = device_with(&peers);
    host.put(&wanted);
    assert!(host.devices.observe(&link()).unwrap().0 == wanted, "something was lost");
}

#[test]
fn a_killed_tunnel_is_started_anew_over_what_it_left_behind() {
    let host = Host::with_tunnel();
    let listener = UnixStream::connect(Path::new(SOCKET_DIR).join("sealane7.sock")).unwrap();
    let pid = getsockopt(&listener, sockopt::PeerCredentials).unwrap().pid();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    eventually("the process is gone", || host.devices.observe(&link()).is_err());
    assert!(Path::new(SOCKET_DIR).join("sealane7.sock").exists(), "left behind");
    host.devices.tunnels().start(&link(), 1380).unwrap();
    host.put(&device_with(&[full_peer()]));
}

#[test]
fn a_session_survives_a_change_of_its_peer() {
    let host = Host::with_tunnel();
    let remote: LinkName = "sealane8".parse().unwrap();
    host.devices.tunnels().start(&remote, 1380).unwrap();
    for link in [link().as_str(), remote.as_str(), "lo"] {
        assert!(Command::new("ip").args(["link", "set", link, "up"]).status().unwrap().success());
    }
    let mut near = device_with(&[]);
    let mut far = Device { key: RemoteKeys::own_key(), listen_port: 51821, ..near.clone() };
    let speaking = Peer { keepalive: Some(1), ..peer_with(&["10.1.0.0/16", "fd00::/64"]) };
    near.peers.insert(far.key, speaking.clone());
    near.peers.get_mut(&far.key).unwrap().endpoint = Some("127.0.0.1:51821".parse().unwrap());
    far.peers.insert(near.key, speaking);
    host.devices.set_device(&remote, &far, &RemoteKeys).unwrap();
    host.devices.put_peers(&remote, &far.peers, &RemoteKeys).unwrap();
    host.put(&near);

    let facts = || host.devices.observe(&link()).unwrap().1[&far.key];
    eventually("a handshake", || facts().counters.last_handshake.is_some());
    let before = facts().counters;
    let peer = near.peers.get_mut(&far.key).unwrap();
    peer.allowed_ips = BTreeSet::from([net("10.1.0.0/16"), net("10.9.0.0/16")]);
    // A keepalive either way counts as traffic for both ends: only the remote may send them now.
    peer.keepalive = None;
    host.put(&near);
    eventually("more of the same session", || {
        facts().counters.received_bytes > before.received_bytes
    });
    assert_eq!(facts().counters.last_handshake, before.last_handshake);
    host.devices.tunnels().stop(&remote).unwrap();
}

/// The keys of the other end.
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

struct Host {
    devices: Devices,
    _logs: TempDir,
    _sweeper: Sweeper,
}

impl Host {
    /// Namespaces of our own, with one tunnel for [`link`].
    fn with_tunnel() -> Self {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("namespaces (root)");
        let nothing: Option<&str> = None;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(nothing, "/", nothing, private, nothing).unwrap();
        mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), nothing).unwrap();
        let sweeper = Sweeper::of_tunnels();
        let logs = TempDir::new().unwrap();
        let sockets = Sockets::below(Path::new(SOCKET_DIR));
        let tunnels = Tunnels::new(sockets, Supervision::Ours, logs.path())
            .with_program(Path::new(env!("CARGO_BIN_EXE_sealane-tunnel")));
        tunnels.start(&link(), 1380).unwrap();
        Self { devices: Devices::new(tunnels), _logs: logs, _sweeper: sweeper }
    }

    fn put(&self, wanted: &Device) {
        self.devices.set_device(&link(), wanted, &Keys).unwrap();
        let refused = self.devices.put_peers(&link(), &wanted.peers, &Keys).unwrap();
        assert!(refused.is_empty(), "{refused:?}");
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.devices.tunnels().stop(&link());
    }
}

/// Waits for a condition, at most for a time that only a defect takes.
fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not come");
        thread::yield_now();
    }
}

/// What `ip` says of the tunnel's link; nothing when there is none.
fn link_shown() -> String {
    let shown = Command::new("ip").args(["link", "show", link().as_str()]).output().unwrap();
    String::from_utf8(shown.stdout).unwrap()
}
