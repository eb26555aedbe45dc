//! Owns the proof that a whole gateway comes up, is repaired and goes without a trace: rtnetlink,
//! nftables, settings and a real tunnel process together. Does not own the parts' own proofs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddrV6;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::net::if_::if_nametoindex;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::Pid;
use sealane_kernel::netlink::relevance::HostEvent;
use sealane_kernel::wireguard::uapi::SOCKET_DIR;
use sealane_state::host::HostState;
use sealane_state::link::Backend;
use socket2::{Domain, Protocol, Socket, Type};
use tempfile::TempDir;

use crate::common::devices::{Keys, device_with, full_peer, net};
use crate::common::namespace::{self, TestHost, assert_same, everything, lane, sh};

/// How long a condition may take to come true.
const DEADLINE: Duration = Duration::from_secs(5);

#[test]
fn a_whole_gateway_reads_back_as_wanted_and_leaves_no_trace() {
    let mut host = gateway_host();
    let before = everything();
    host.reach(&gateway());
    let facts = host.observe().facts;
    assert_eq!(facts.peers[&lane()].len(), 1);
    assert!(facts.backends.contains(&Backend::Userspace));
    host.reach(&HostState::default());
    assert_same(&before, &everything());
}

#[test]
fn a_tunnel_whose_device_is_deleted_comes_back_with_all_its_peers() {
    let mut host = gateway_host();
    host.reach(&gateway());
    let mut events = host.host.events().unwrap();
    sh("ip link del sealane0");
    until("its end is told", || events.try_recv() == Ok(HostEvent::LinksChanged));
    host.reach(&gateway());
    host.reach(&HostState::default());
}

#[test]
fn a_peer_that_cannot_be_written_costs_only_itself() {
    let mut host = gateway_host();
    let mut want = gateway();
    let device = want.devices.get_mut(&lane()).unwrap();
    let stranger = device_with(&[full_peer(), full_peer()]).peers.pop_last().unwrap();
    let psk = Some(sealane_state::wireguard::PskFingerprint([9; 8]));
    let peer = sealane_state::wireguard::Peer {
        psk,
        allowed_ips: BTreeSet::from([net("10.99.0.0/16")]),
        accepted_sources: BTreeSet::new(),
        ..stranger.1
    };
    device.peers.insert(stranger.0, peer);
    let outcome = host.converge(&want);
    let errors: Vec<_> = outcome.errors.iter().map(ToString::to_string).collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains("no pre-shared key at hand"), "{errors:?}");
    assert_eq!(host.observe().ours, gateway());
    host.reach(&HostState::default());
}

#[test]
fn a_setting_that_another_hand_flips_is_told_of_and_repaired() {
    let mut host = gateway_host();
    host.reach(&gateway());
    let mut events = host.host.events().unwrap();
    for (key, value) in gateway().sysctls {
        let other = if value == "0" { "1" } else { "0" };
        std::fs::write(format!("/proc/sys/{key}"), other).unwrap();
        let deadline = Instant::now() + DEADLINE;
        loop {
            assert!(Instant::now() < deadline, "{key}: not told of");
            if events.try_recv().is_err() {
                std::thread::yield_now();
            } else if host.observe().ours.sysctls[&key] == other {
                break;
            }
        }
        host.reach(&gateway());
    }
    host.reach(&HostState::default());
}

#[test]
fn what_forwarding_does_to_foreign_links_is_undone() {
    let mut host = gateway_host();
    sh("sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0");
    sh("sysctl -qw net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.default.forwarding=1");
    sh("sysctl -qw net.ipv4.conf.up0.forwarding=1 net.ipv6.conf.up0.forwarding=1");
    let before = everything();
    host.reach(&gateway());
    assert_eq!(sh("sysctl -n net.ipv6.conf.far0.forwarding").trim(), "1");
    host.reach(&HostState::default());
    assert_same(&before, &everything());
}

#[test]
fn a_router_that_advertises_itself_is_kept_while_we_forward() {
    let mut host = gateway_host();
    sh("sysctl -qw net.ipv6.conf.all.forwarding=0 net.ipv6.conf.up0.accept_ra=1");
    // Another link gets its forwarding back, which must not cost the router either.
    sh("sysctl -qw net.ipv6.conf.lo.forwarding=1");
    sh("ip addr add fe80::a/64 dev up0 nodad; ip addr add fe80::b/64 dev far0 nodad");
    let router = || sh("ip -6 route show default proto ra dev up0");
    let advertised = || {
        let deadline = Instant::now() + DEADLINE;
        while router().is_empty() {
            assert!(Instant::now() < deadline, "no router heeded");
            advertise_router("far0");
        }
    };
    advertised();
    host.reach(&gateway());
    assert!(router().contains("via fe80::b"), "dropped when forwarding was set");
    sh("ip -6 route del default proto ra dev up0");
    advertised();
    host.reach(&HostState::default());
    assert!(router().contains("via fe80::b"), "dropped when forwarding was given back");
    let left = ["up0.accept_ra", "up0.forwarding", "lo.forwarding"]
        .map(|name| sh(&format!("sysctl -n net.ipv6.conf.{name}")).trim().to_owned());
    assert_eq!(left, ["1", "0", "1"]);
}

#[test]
fn a_lane_that_stands_needs_no_program() {
    let folder = TempDir::new().unwrap();
    let program = folder.path().join("sealane-tunnel");
    fs::copy(env!("CARGO_BIN_EXE_sealane-tunnel"), &program).unwrap();
    let mut host = TestHost::with_tunnels(program.to_str().unwrap(), Box::new(Keys));
    assert_eq!(host.observe().facts.standing, BTreeSet::new());
    host.reach(&gateway());
    fs::remove_file(&program).unwrap();
    let facts = host.observe().facts;
    assert!(facts.backends.contains(&Backend::Userspace));
    assert_eq!(facts.standing, BTreeSet::from([Backend::Userspace]));
    host.reach(&HostState::default());
    assert!(!host.observe().facts.backends.contains(&Backend::Userspace));
}

#[test]
fn a_look_takes_note_of_a_tunnel_that_died() {
    let mut host = gateway_host();
    host.reach(&gateway());
    let tunnel = tunnel();
    kill(tunnel, Signal::SIGKILL).unwrap();
    // Its threads end one by one; until the last has, there is nothing to take note of.
    until("no zombie is left", || {
        host.observe();
        !Path::new(&format!("/proc/{tunnel}")).exists()
    });
}

#[test]
fn a_test_that_is_killed_leaves_no_tunnel() {
    let tests = std::env::current_exe().unwrap();
    let mut killed = Command::new(tests)
        .args(["--exact", "waits_to_be_killed", "--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(killed.stdout.take().unwrap()).lines().map_while(Result::ok);
    let tunnel = said.find_map(|line| Some(line.strip_prefix("tunnel ")?.to_owned())).unwrap();
    killed.kill().unwrap();
    killed.wait().unwrap();
    until("the tunnel is gone", || {
        let stat = fs::read_to_string(format!("/proc/{tunnel}/stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    });
}

/// Not a test: what [`a_test_that_is_killed_leaves_no_tunnel`] kills.
#[test]
#[ignore = "run as a process by the test above"]
fn waits_to_be_killed() {
    let mut host = gateway_host();
    host.reach(&gateway());
    println!("\ntunnel {}", tunnel());
    std::thread::park_timeout(Duration::from_secs(30));
}

#[test]
fn a_foreign_tun_device_of_our_name_is_reported_and_kept() {
    let mut host = gateway_host();
    sh("ip tuntap add sealane0 mode tun");
    insist_on_untouched(&mut host);
}

#[test]
fn a_foreign_tunnel_of_our_name_is_reported_and_kept() {
    let mut host = gateway_host();
    sh(&format!("{} sealane0", env!("CARGO_BIN_EXE_sealane-tunnel")));
    sh("wg genkey | wg set sealane0 listen-port 4444 private-key /dev/stdin");
    insist_on_untouched(&mut host);
    sh("ip link del sealane0");
}

/// Insists that the link `sealane0` is as it was after we wanted a lane of that name.
fn insist_on_untouched(host: &mut TestHost) {
    let shown = "ip -d link show sealane0; ip addr show sealane0; wg show sealane0 dump 2>&1;
        sysctl -a -r 'conf.sealane0.(rp_filter|disable_ipv6)' 2>&1";
    let before = sh(&format!("{shown}; true"));
    let outcome = host.converge(&gateway());
    let errors: Vec<_> = outcome.errors.iter().map(ToString::to_string).collect();
    let first = errors.first().unwrap();
    assert!(first.contains("link sealane0 exists and is not ours"), "{errors:?}");
    assert_same(&before, &sh(&format!("{shown}; true")));
    host.converge(&HostState::default());
    assert_same(&before, &sh(&format!("{shown}; true")));
}

/// The process behind the lane.
fn tunnel() -> Pid {
    let stream = UnixStream::connect(format!("{SOCKET_DIR}/sealane0.sock")).unwrap();
    Pid::from_raw(getsockopt(&stream, sockopt::PeerCredentials).unwrap().pid())
}

/// Sends one router advertisement (RFC 4861, section 4.2) out of a link, for half an hour.
fn advertise_router(link: &str) {
    let index = if_nametoindex(link).unwrap();
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6)).unwrap();
    socket.set_multicast_hops_v6(255).unwrap();
    socket.set_multicast_if_v6(index).unwrap();
    let mut advertisement = [0; 16];
    advertisement[0] = 134;
    advertisement[4] = 64;
    advertisement[6..8].copy_from_slice(&1800_u16.to_be_bytes());
    let all_nodes = SocketAddrV6::new("ff02::1".parse().unwrap(), 0, 0, index);
    socket.send_to(&advertisement, &all_nodes.into()).unwrap();
}

/// Waits for a condition, at most for [`DEADLINE`].
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::yield_now();
    }
}

fn gateway_host() -> TestHost {
    TestHost::with_tunnels(env!("CARGO_BIN_EXE_sealane-tunnel"), Box::new(Keys))
}

fn gateway() -> HostState {
    namespace::gateway(Backend::Userspace)
}
