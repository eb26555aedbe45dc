//! Owns the proof that the real `sealane-tunnel` is started, configured, read and stopped as wanted;
//! every test has namespaces of its own. Needs root and `/dev/net/tun`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::Pid;
use sealane_kernel::wireguard::Devices;
use sealane_kernel::wireguard::process::{Supervision, Tunnels};
use sealane_kernel::wireguard::uapi::{SOCKET_DIR, Sockets};
use sealane_state::link::Backend;
use sealane_state::name::LinkName;
use sealane_state::wireguard::Device;
use tempfile::TempDir;

use crate::common::device_cases::{self, eventually};
use crate::common::devices::{device_with, full_peer, key_of, link, net, peer_with};
use crate::common::namespace::{enter_network, enter_run};
use crate::common::sweeper::Sweeper;

#[test]
fn a_tunnel_is_started_configured_read_back_and_leaves_no_trace() {
    let mut host = Host::with_tunnel();
    assert!(host.devices.backends().contains(&Backend::Userspace));
    assert!(link_shown().contains("mtu 1380"), "{}", link_shown());
    device_cases::it_reads_back_as_it_was_written(&host.devices, full_peer());

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
    device_cases::peers_change_move_and_go(&Host::with_tunnel().devices, full_peer());
}

#[test]
fn accepted_sources_change_and_go() {
    let host = Host::with_tunnel();
    host.put(&device_with(&[full_peer()]));
    let mut changed = full_peer();
    changed.accepted_sources = BTreeSet::from([net("fd00:5::/64"), net("10.6.0.0/16")]);
    for wanted in [device_with(&[changed]), device_with(&[peer_with(&[])])] {
        let mut wanted = wanted;
        wanted.peers.get_mut(&key_of(1)).unwrap().endpoint = full_peer().endpoint;
        host.put(&wanted);
        assert_eq!(host.devices.observe(&link()).unwrap().0, wanted);
    }
}

#[test]
fn a_thousand_peers_and_ten_thousand_prefixes_pass_through_a_tunnel_without_loss() {
    device_cases::a_thousand_peers_pass_without_loss(&Host::with_tunnel().devices, 0);
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
    device_cases::a_session_survives_a_change_of_its_peer(&host.devices, &remote);
    host.devices.tunnels().stop(&remote).unwrap();
}

struct Host {
    devices: Devices,
    _logs: TempDir,
    _sweeper: Sweeper,
}

impl Host {
    /// Namespaces of our own, with one tunnel for [`link`].
    fn with_tunnel() -> Self {
        enter_network();
        enter_run();
        let sweeper = Sweeper::of_tunnels();
        let logs = TempDir::new().unwrap();
        let sockets = Sockets::below(Path::new(SOCKET_DIR));
        let tunnels = Tunnels::new(sockets, Supervision::Ours, logs.path())
            .with_program(Path::new(env!("CARGO_BIN_EXE_sealane-tunnel")));
        tunnels.start(&link(), 1380).unwrap();
        Self { devices: Devices::new(tunnels), _logs: logs, _sweeper: sweeper }
    }

    fn put(&self, wanted: &Device) {
        device_cases::put(&self.devices, wanted);
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.devices.tunnels().stop(&link());
    }
}

/// What `ip` says of the tunnel's link; nothing when there is none.
fn link_shown() -> String {
    let shown = Command::new("ip").args(["link", "show", link().as_str()]).output().unwrap();
    String::from_utf8(shown.stdout).unwrap()
}
