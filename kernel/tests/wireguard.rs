//! Owns the proof that WireGuard devices are read, written and run as wanted, over real sockets and
//! with real processes. Needs no root: the devices carry no packets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
mod uapi_server;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use sealane_kernel::wireguard::process::{Supervision, TunnelError, Tunnels};
use sealane_kernel::wireguard::uapi::Sockets;
use sealane_kernel::wireguard::{Devices, WireguardError};
use sealane_state::link::Backend;
use sealane_state::wireguard::{Device, Peer, PskFingerprint, PublicKey};
use tempfile::TempDir;

use crate::common::devices::{Keys, device_with, full_peer, key_of, link, net, peer_with};
use crate::uapi_server::FakeDevice;

#[test]
fn a_device_reads_back_as_it_was_written() {
    let host = Host::with_device();
    let wanted = device_with(&[full_peer()]);
    host.devices.set_device(&link(), &wanted, &Keys).unwrap();
    let refused = host.devices.put_peers(&link(), &wanted.peers, &Keys).unwrap();
    assert!(refused.is_empty());
    let (seen, facts) = host.devices.observe(&link()).unwrap();
    assert_eq!(seen, wanted);
    assert_eq!(facts[&key_of(1)].endpoint, wanted.peers[&key_of(1)].endpoint);
}

#[test]
fn what_is_already_so_is_not_written_again() {
    let host = Host::with_device();
    let wanted = device_with(&[full_peer()]);
    host.put(&wanted);
    host.device().written.clear();
    host.put(&wanted);
    assert_eq!(host.device().written, Vec::<String>::new());
}

#[test]
fn a_session_survives_because_only_what_differs_is_written() {
    let host = Host::with_device();
    host.put(&device_with(&[full_peer()]));
    host.device().written.clear();
    let mut changed = full_peer();
    changed.keepalive = None;
    changed.allowed_ips.insert(net("10.9.0.0/16"));
    host.devices.put_peer(&link(), &key_of(1), &changed, &Keys).unwrap();
    let key = format!("public_key={}", hex(&key_of(1).0));
    let expected = [
        key.as_str(),
        "update_only=true",
        "persistent_keepalive_interval=0",
        "allowed_ip=10.9.0.0/16",
    ];
    assert_eq!(host.device().written, expected);
}

#[test]
fn prefixes_move_between_peers_and_leave_them() {
    let host = Host::with_device();
    let before = [peer_with(&["10.1.0.0/16", "10.2.0.0/16", "fd00::/64"]), peer_with(&[])];
    host.put(&device_with(&before));
    let after = device_with(&[peer_with(&["fd00::/64"]), peer_with(&["10.1.0.0/16"])]);
    host.put(&after);
    assert_eq!(host.devices.observe(&link()).unwrap().0, after);
}

#[test]
fn counters_and_handshakes_are_read_and_a_device_may_say_more_than_we_know() {
    let host = Host::with_device();
    host.put(&device_with(&[peer_with(&[])]));
    host.device().shown_besides = vec![
        "last_handshake_time_sec=1750000000".into(),
        "last_handshake_time_nsec=5".into(),
        "rx_bytes=7".into(),
        "tx_bytes=9".into(),
        "of_a_later_version=1".into(),
    ];
    let (_, facts) = host.devices.observe(&link()).unwrap();
    let counters = facts[&key_of(1)].counters;
    assert_eq!(counters.last_handshake, Some(1_750_000_000));
    assert_eq!((counters.received_bytes, counters.sent_bytes), (7, 9));
}

#[test]
fn a_thousand_peers_with_ten_prefixes_each_are_written_and_read_without_loss() {
    let host = Host::with_device();
    let peers: Vec<Peer> = (0..1_000)
        .map(|number: u32| {
            let prefix = |host| format!("10.{}.{}.{host}/32", number / 250, number % 250);
            let prefixes: Vec<String> = (0..10).map(prefix).collect();
            peer_with(&prefixes.iter().map(String::as_str).collect::<Vec<_>>())
        })
        .collect();
    let wanted = device_with(&peers);
    host.put(&wanted);
    assert_eq!(host.devices.observe(&link()).unwrap().0, wanted);
}

#[test]
fn removed_peers_are_gone_and_removing_them_again_is_no_fault() {
    let host = Host::with_device();
    host.put(&device_with(&[peer_with(&[]), peer_with(&[])]));
    for _ in 0..2 {
        host.devices.delete_peers(&link(), &[key_of(1)].into()).unwrap();
    }
    let (seen, _) = host.devices.observe(&link()).unwrap();
    assert_eq!(seen.peers.keys().collect::<Vec<_>>(), [&key_of(2)]);
}

#[test]
fn a_peer_without_its_secret_is_left_alone_and_the_others_are_done() {
    let host = Host::with_device();
    let mut unknown = full_peer();
    unknown.psk = Some(PskFingerprint([0xff; 8]));
    let wanted = device_with(&[unknown, peer_with(&["10.9.0.0/16"])]);
    let refused = host.devices.put_peers(&link(), &wanted.peers, &Keys).unwrap();
    assert!(matches!(refused[&key_of(1)], WireguardError::NoPsk { .. }));
    let (seen, _) = host.devices.observe(&link()).unwrap();
    assert_eq!(seen.peers.keys().collect::<Vec<_>>(), [&key_of(2)]);
}

#[test]
fn a_device_whose_private_key_is_not_at_hand_is_not_touched() {
    let host = Host::with_device();
    let mut wanted = device_with(&[]);
    wanted.key = PublicKey([0xee; 32]);
    let fault = host.devices.set_device(&link(), &wanted, &Keys).unwrap_err();
    assert!(matches!(fault, WireguardError::NoPrivateKey { .. }), "{fault}");
    assert_eq!(host.device().written, Vec::<String>::new());
}

#[test]
fn a_refusal_names_the_link_and_the_reason_whatever_its_sign() {
    let host = Host::with_device();
    for errno in [98, -98] {
        host.device().errno = Some(errno);
        let said = host.devices.observe(&link()).unwrap_err().to_string();
        assert_eq!(said, "wireguard sealane7: get refused: Address already in use (os error 98)");
    }
}

#[test]
fn a_hostile_answer_is_an_error_that_repeats_no_value() {
    for answer in ["private_key=secret\n", "no equals sign\n", "\n", "endpoint=\n\n", "errno=x\n\n"]
    {
        let host = Host::with_nothing();
        serve_text(&host.sockets.path(&link()), answer);
        let fault = host.devices.observe(&link()).unwrap_err();
        let told = matches!(fault, WireguardError::Answer { .. });
        assert!(told, "{answer:?}: {fault}");
        assert!(!fault.to_string().contains("secret"), "{fault}");
    }
    let host = Host::with_nothing();
    serve_text(&host.sockets.path(&link()), &"x".repeat(100_000));
    assert!(matches!(host.devices.observe(&link()), Err(WireguardError::Answer { .. })));
}

#[test]
fn a_link_that_is_no_device_is_told_with_its_socket() {
    let host = Host::with_nothing();
    let fault = host.devices.observe(&link()).unwrap_err();
    assert!(matches!(fault, WireguardError::NoDevice { .. }), "{fault}");
    assert!(fault.to_string().contains("sealane7"), "{fault}");
}

#[test]
fn a_tunnel_is_up_when_started_and_outlives_who_started_it() {
    let host = Host::with_program(SERVES);
    host.tunnels().start(&link(), 1420).unwrap();
    let (device, _) = host.devices.observe(&link()).unwrap();
    assert_eq!(device.listen_port, 1420, "the stand-in shows its MTU as its port");
    host.tunnels().start(&link(), 1420).unwrap();

    let pid = host.pid_file();
    let session = session_of(pid);
    assert_eq!(session, pid, "it leads a session of its own");
    assert_ne!(session, session_of(std::process::id()));
    let input = fs::read_link(format!("/proc/{pid}/fd/0")).unwrap();
    assert_eq!(input, Path::new("/dev/null"));

    host.tunnels().stop(&link()).unwrap();
    assert!(!host.sockets.path(&link()).exists());
    assert!(!Path::new(&format!("/proc/{pid}")).exists(), "reaped");
}

#[test]
fn a_restarted_agent_finds_the_tunnel_and_can_stop_it() {
    let host = Host::with_program(SERVES);
    let first = host.tunnels_anew();
    first.start(&link(), 1420).unwrap();
    let pid = host.pid_file();
    let second = host.tunnels_anew();
    second.start(&link(), 1420).unwrap();
    assert_eq!(host.pid_file(), pid, "no second process");
    second.stop(&link()).unwrap();
    first.reap();
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn a_tunnel_that_ignores_the_polite_signal_is_killed() {
    let host = Host::with_program(&format!("trap '' TERM\n{SERVES}"));
    host.tunnels().start(&link(), 1420).unwrap();
    let pid = host.pid_file();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid.cast_signed()),
        nix::sys::signal::Signal::SIGTERM,
    )
    .unwrap();
    assert!(host.devices.observe(&link()).is_ok(), "it ignores the polite signal");
    host.tunnels().stop(&link()).unwrap();
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    assert!(!host.sockets.path(&link()).exists());
}

#[test]
fn a_tunnel_that_dies_at_once_is_told_with_its_last_words() {
    let host = Host::with_program("echo starting; echo 'no /dev/net/tun' >&2; exit 3");
    let fault = host.tunnels().start(&link(), 1420).unwrap_err();
    let said = fault.to_string();
    assert!(said.ends_with("sealane-tunnel ended with exit status: 3: no /dev/net/tun"), "{said}");
}

#[test]
fn a_tunnel_that_never_answers_is_given_up_on() {
    let host = Host::with_program("exec sleep 20");
    let fault = host.tunnels().start(&link(), 1420).unwrap_err();
    assert!(matches!(fault, TunnelError::Silent { .. }), "{fault}");
}

#[test]
fn a_missing_program_is_told_before_anything_is_started() {
    let host = Host::with_nothing();
    let tunnels = host.tunnels_anew().with_program(Path::new("/nonexistent/sealane-tunnel"));
    assert!(matches!(tunnels.start(&link(), 1420), Err(TunnelError::NoProgram { .. })));
    assert!(!Devices::new(tunnels).backends().contains(&Backend::Userspace));
}

#[test]
fn tunnels_of_a_service_manager_are_left_to_it() {
    let host = Host::with_device();
    let external = Tunnels::new(host.sockets.clone(), Supervision::External, host.folder.path());
    external.start(&link(), 1420).unwrap();
    let said = external.stop(&link()).unwrap_err().to_string();
    assert!(said.contains("`systemctl stop sealane-tunnel@sealane7`"), "{said}");
    let absent = Host::with_nothing();
    let external = Tunnels::new(absent.sockets.clone(), Supervision::External, Path::new("/"));
    let said = external.start(&link(), 1420).unwrap_err().to_string();
    assert!(said.contains("`systemctl start sealane-tunnel@sealane7`"), "{said}");
}

#[test]
fn systemd_is_asked_for_a_tunnel_by_a_file_and_not_asked_once_it_is_to_stop() {
    let host = Host::with_program(SERVES);
    let tunnels =
        Tunnels::new(host.sockets.clone(), Supervision::Systemd, &host.folder.path().join("run"));
    let wish = host.folder.path().join("run/tunnels/sealane7");
    std::thread::scope(|scope| {
        let unit = scope.spawn(|| {
            while !wish.exists() {
                std::thread::yield_now();
            }
            host.tunnels().start(&link(), 1420).unwrap();
        });
        tunnels.start(&link(), 1420).unwrap();
        unit.join().unwrap();
    });
    tunnels.stop(&link()).unwrap();
    assert!(!wish.exists() && !host.sockets.is_served(&link()));

    let said = tunnels.start(&link(), 1420).unwrap_err().to_string();
    assert!(said.contains("journalctl -u sealane-tunnel@sealane7"), "{said}");
    assert!(wish.exists(), "systemd may still come");
}

/// Not a test: what a stand-in for `sealane-tunnel` runs as a process of its own.
#[test]
#[ignore = "run as a process by the tests above"]
fn plays_the_tunnel() {
    let socket = PathBuf::from(std::env::var_os("PLAY_SOCKET").unwrap());
    let _ = fs::remove_file(&socket);
    fs::write(socket.with_extension("pid"), std::process::id().to_string()).unwrap();
    let device = Arc::new(Mutex::new(FakeDevice::default()));
    let port = std::env::var("PLAY_PORT").unwrap();
    device.lock().unwrap().show("listen_port", &port);
    uapi_server::serve(&socket, device);
    // Bounded, so that nothing is left behind whatever becomes of the test.
    std::thread::park_timeout(std::time::Duration::from_secs(30));
}

/// Body of a shell script that runs [`plays_the_tunnel`] for `--foreground NAME --mtu N`.
const SERVES: &str = r#"[ "$1" = --foreground ] && [ "$3" = --mtu ] || exit 64
export PLAY_SOCKET="$FOLDER/$2.sock" PLAY_PORT="$4"
exec "$TESTS" --exact plays_the_tunnel --ignored --nocapture"#;

struct Host {
    devices: Devices,
    sockets: Sockets,
    folder: TempDir,
    device: Arc<Mutex<FakeDevice>>,
}

impl Host {
    fn with_nothing() -> Self {
        let folder = TempDir::new().unwrap();
        let sockets = Sockets::below(folder.path());
        let program = folder.path().join("program");
        let tunnels = Tunnels::new(sockets.clone(), Supervision::Ours, folder.path());
        let devices = Devices::new(tunnels.with_program(&program));
        Self { devices, sockets, folder, device: Arc::default() }
    }

    fn with_device() -> Self {
        let host = Self::with_nothing();
        uapi_server::serve(&host.sockets.path(&link()), Arc::clone(&host.device));
        host
    }

    fn with_program(body: &str) -> Self {
        let host = Self::with_nothing();
        let program = host.folder.path().join("program");
        let tests = std::env::current_exe().unwrap();
        let (folder, tests) = (host.folder.path().display(), tests.display());
        fs::write(&program, format!("#!/bin/sh\nFOLDER='{folder}' TESTS='{tests}'\n{body}\n"))
            .unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        host
    }

    fn put(&self, wanted: &Device) {
        self.devices.set_device(&link(), wanted, &Keys).unwrap();
        let refused = self.devices.put_peers(&link(), &wanted.peers, &Keys).unwrap();
        assert!(refused.is_empty(), "{refused:?}");
    }

    fn device(&self) -> MutexGuard<'_, FakeDevice> {
        self.device.lock().unwrap()
    }

    fn tunnels(&self) -> &Tunnels {
        self.devices.tunnels()
    }

    fn tunnels_anew(&self) -> Tunnels {
        Tunnels::new(self.sockets.clone(), Supervision::Ours, self.folder.path())
            .with_program(&self.folder.path().join("program"))
    }

    fn pid_file(&self) -> u32 {
        let file = self.sockets.path(&link()).with_extension("pid");
        fs::read_to_string(file).unwrap().parse().unwrap()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.tunnels().stop(&link());
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Answers the first request at `socket` with `answer`, whatever it asks.
fn serve_text(socket: &Path, answer: &str) {
    use std::io::{Read, Write};
    let listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
    let answer = answer.to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 64];
            if stream.read(&mut request).is_ok_and(|count| count > 0) {
                let _ = stream.write_all(answer.as_bytes());
            }
        }
    });
}

/// Field 6 of `proc_pid_stat(5)`.
fn session_of(pid: u32) -> u32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after_name = stat.rsplit_once(") ").unwrap().1;
    after_name.split(' ').nth(3).unwrap().parse().unwrap()
}
