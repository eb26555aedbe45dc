//! `sealane-tunnel` as its users meet it: real links, real sockets, the real `wg`. Needs root; says
//! so and passes where there is none.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(unreachable_pub, reason = "the lab is a module of this file")]

mod common;
mod lab;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use lab::{Lab, Outer, attempt, missing, run, until};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::{Pid, getsid};

/// Leaves a test that this machine cannot run, and says why.
macro_rules! need_root {
    () => {
        if let Some(why) = missing() {
            eprintln!("skipped: {why}");
            return;
        }
    };
}

/// Sends a pattern from a to b by TCP through the tunnel and compares what arrives.
fn bulk(lab: &Lab, family: usize, len: usize) {
    let (tell, address) = mpsc::channel();
    let listen: SocketAddr = format!("{}:0", bracketed(lab.b.inner[family])).parse().unwrap();
    let server = lab.b.inside(move || {
        let listener = TcpListener::bind(listen).unwrap();
        tell.send(listener.local_addr().unwrap()).unwrap();
        let mut received = Vec::new();
        listener.accept().unwrap().0.read_to_end(&mut received).unwrap();
        received
    });
    let address = address.recv().unwrap();
    let sent: Vec<u8> = (0..len).map(|n| (n ^ n >> 11) as u8).collect();
    let copy = sent.clone();
    let client = lab.a.inside(move || {
        TcpStream::connect(address).unwrap().write_all(&copy).unwrap();
    });
    client.join().unwrap();
    assert!(server.join().unwrap() == sent, "the bytes that arrived differ");
}

fn bracketed(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
}

/// Packets a link has received and sent, a superpacket counted as one.
fn packets(end: &lab::End, link: &str) -> [u64; 2] {
    let text = run("ip", &["-n", &end.namespace, "-s", "-j", "link", "show", "dev", link]);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    ["rx", "tx"].map(|way| value[0]["stats64"][way]["packets"].as_u64().unwrap())
}

#[test]
fn superpackets_go_in_over_and_out_whole() {
    need_root!();
    let len = 16 << 20;
    let segments = len as u64 / 1368;
    let lab = Lab::connected(Outer::V4, [&[], &[]]);
    lab.a.pings(lab.b.inner[0], 56);
    bulk(&lab, 0, len);
    let places = [
        ("read from the link (TSO)", packets(&lab.a, &lab.a.link)[1]),
        ("sent by UDP (UDP_SEGMENT)", packets(&lab.a, "cable")[1]),
        ("written to the link (joined after UDP_GRO)", packets(&lab.b, &lab.b.link)[0]),
    ];
    for (place, count) in places {
        assert!(count < segments / 3, "{place}: {count} packets for {segments} segments");
    }
}

#[test]
fn packets_of_both_families_pass_over_ipv4_and_ipv6() {
    need_root!();
    for outer in [Outer::V4, Outer::V6] {
        let lab = Lab::connected(outer, [&[], &[]]);
        for family in [0, 1] {
            lab.a.pings(lab.b.inner[family], 56);
            lab.b.pings(lab.a.inner[family], 56);
            lab.a.pings(lab.b.inner[family], 1420 - 28 - 20 * family);
            bulk(&lab, family, 16 << 20);
        }
        let show = run("wg", &["show", &lab.a.link]);
        assert!(show.contains("latest handshake:") && show.contains("MiB sent"), "{show}");
        assert!(show.contains("listening port: 51820"), "{show}");
        let endpoint = lab.a.show("endpoints");
        let wanted = bracketed(lab.b.outer[if outer == Outer::V4 { 0 } else { 1 }]);
        assert!(endpoint.ends_with(&format!("{wanted}:51820")), "{endpoint}");
    }
}

#[test]
fn every_offload_may_be_off_at_either_end() {
    need_root!();
    let off: &[&str] =
        &["--tun-tso", "off", "--tun-uso", "off", "--udp-gso", "off", "--udp-gro", "off"];
    for arguments in [[off, off], [off, &[]], [&[], off]] {
        let lab = Lab::connected(Outer::V4, arguments);
        lab.a.pings(lab.b.inner[0], 56);
        bulk(&lab, 0, 4 << 20);
        bulk(&lab, 1, 4 << 20);
    }
}

#[test]
fn a_way_too_narrow_for_full_packets_carries_them_in_fragments() {
    need_root!();
    let lab = Lab::connected(Outer::V4, [&[], &[]]);
    lab.a.pings(lab.b.inner[0], 56);
    for end in [&lab.a, &lab.b] {
        end.ip("link set cable mtu 1300");
    }
    bulk(&lab, 0, 4 << 20);
    bulk(&lab, 1, 4 << 20);
    assert!(!lab.a.log().contains("refuses UDP_SEGMENT"), "trains stay on for wider ways");
}

#[test]
fn the_counters_are_those_of_kernel_wireguard() {
    need_root!();
    let mut lab = Lab::new();
    // No IPv6 in the tunnel: its neighbour discovery would be counted as well.
    for end in [&mut lab.a, &mut lab.b] {
        end.start(&[]);
        let off = format!("net.ipv6.conf.{}.disable_ipv6=1", end.link);
        run("ip", &["netns", "exec", &end.namespace, "sysctl", "-qw", &off]);
    }
    for (end, other) in [(&lab.a, &lab.b), (&lab.b, &lab.a)] {
        let key = lab.path(if end.link == lab.a.link { "a.key" } else { "b.key" });
        end.wg(&format!(
            "private-key {} listen-port 51820 peer {} allowed-ips {}/32 endpoint {}:51820",
            key.display(),
            other.public,
            other.inner[0],
            other.outer[0]
        ));
        end.ip(&format!("address add {}/32 dev {}", end.inner[0], end.link));
        end.ip(&format!("link set {} up", end.link));
        end.ip(&format!("route add {}/32 dev {}", other.inner[0], end.link));
    }
    let ping = ["netns", "exec", &lab.b.namespace, "ping", "-c10", "-i0.02", "-W1"];
    run("ip", &[&ping[..], &[lab.a.inner[0]]].concat());
    // Ten padded pings of 128 bytes; a response; an initiation, and the keepalive that confirms.
    let counted = |end: &lab::End| {
        let text = end.show("transfer");
        text.split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(counted(&lab.b), ["1372", "1460"], "received, sent by the initiator");
    assert_eq!(counted(&lab.a), ["1460", "1372"], "received, sent by the responder");
}

#[test]
fn a_peer_that_moves_is_followed() {
    need_root!();
    let lab = Lab::connected(Outer::V4, [&[], &[]]);
    lab.b.pings(lab.a.inner[0], 56);
    lab.b.wg("listen-port 51999");
    lab.b.pings(lab.a.inner[0], 56);
    assert!(lab.a.show("endpoints").ends_with("192.0.2.2:51999"), "another port");
    lab.b.ip("address add 192.0.2.77/24 dev cable");
    lab.b.ip("address delete 192.0.2.2/24 dev cable");
    // Deleting a first address takes the others of its subnet along.
    let (_, _) =
        attempt("ip", &["-n", &lab.b.namespace, "address", "add", "192.0.2.77/24", "dev", "cable"]);
    lab.b.pings(lab.a.inner[0], 56);
    assert!(lab.a.show("endpoints").ends_with("192.0.2.77:51999"), "another address");
    let a_v6 = format!("peer {} endpoint [{}]:51820", lab.a.public, lab.a.outer[1]);
    lab.b.wg(&a_v6);
    lab.b.pings(lab.a.inner[0], 56);
    assert!(lab.a.show("endpoints").ends_with("[2001:db8::2]:51999"), "another family");
}

#[test]
fn answers_leave_from_the_address_that_was_asked() {
    need_root!();
    let lab = Lab::connected(Outer::V4, [&[], &[]]);
    lab.a.ip("address add 192.0.2.100/24 dev cable");
    lab.b.wg(&format!("peer {} endpoint 192.0.2.100:51820", lab.a.public));
    lab.b.pings(lab.a.inner[0], 56);
    assert!(
        lab.b.show("endpoints").ends_with("192.0.2.100:51820"),
        "it would have roamed had the answer come from the first address"
    );
}

#[test]
fn a_foreign_source_gets_through_only_if_it_is_accepted() {
    need_root!();
    let lab = Lab::connected(Outer::V4, [&[], &[]]);
    lab.a.pings(lab.b.inner[0], 56);
    lab.a.ip(&format!("address add 10.66.0.1/32 dev {}", lab.a.link));
    let foreign = || {
        let before = packets(&lab.b, &lab.b.link)[0];
        let ping = ["netns", "exec", &lab.a.namespace, "ping", "-c3", "-i0.01", "-W0.1"];
        attempt("ip", &[&ping[..], &["-I", "10.66.0.1", lab.b.inner[0]]].concat());
        packets(&lab.b, &lab.b.link)[0] - before
    };
    assert_eq!(foreign(), 0, "dropped before the link");
    let key = hex(&lab.a.public);
    lab.b.uapi(&format!("set=1\npublic_key={key}\nsealane_accept_ip=10.66.0.0/16\n\n"));
    assert_eq!(foreign(), 3, "accepted, though a does not own it");
    lab.b.uapi(&format!("set=1\npublic_key={key}\nsealane_replace_accept_ips=true\n\n"));
    assert_eq!(foreign(), 0, "and no longer");
}

#[test]
fn wg_can_set_sync_and_show_everything() {
    need_root!();
    let mut lab = Lab::new();
    lab.a.start(&[]);
    let port: u16 = lab.a.show("listen-port").parse().unwrap();
    assert_ne!(port, 0, "a port was picked and is told");
    let private = fs::read_to_string(lab.path("a.key")).unwrap();
    let psk = run("wg", &["genpsk"]);
    let config = format!(
        "[Interface]\nPrivateKey = {private}ListenPort = 52000\nFwMark = 0x1234\n\
         [Peer]\nPublicKey = {}\nPresharedKey = {psk}AllowedIPs = 10.0.0.0/8, fd00::/8\n\
         Endpoint = [2001:db8::2]:51820\nPersistentKeepalive = 25\n",
        lab.b.public
    );
    let path = lab.path("conf");
    fs::write(&path, &config).unwrap();
    run("wg", &["setconf", &lab.a.link, path.to_str().unwrap()]);
    let shown = run("wg", &["showconf", &lab.a.link]);
    for line in config.lines().filter(|line| !line.starts_with('[')) {
        assert!(shown.to_lowercase().contains(&line.to_lowercase()), "{line} not in {shown}");
    }
    let dump = lab.a.show("dump");
    run("wg", &["syncconf", &lab.a.link, path.to_str().unwrap()]);
    assert_eq!(lab.a.show("dump"), dump, "a sync of the same changes nothing");
    lab.a.uapi(&format!(
        "set=1\npublic_key={}\nsealane_accept_ip=10.7.0.0/16\n\n",
        hex(&lab.b.public)
    ));
    assert!(lab.a.uapi("get=1\n\n").contains("\nsealane_accept_ip=10.7.0.0/16\n"));
    assert_eq!(lab.a.show("dump"), dump, "wg passes over the keys it does not know");
    let twice = lab.a.uapi("get=1\n\nget=1\n\n");
    assert_eq!(twice.matches("errno=0\n\n").count(), 2, "several requests on one connection");
    assert_eq!(lab.a.uapi("set=1\nlisten_port=no\n\n"), "errno=-22\n\n");
    assert_eq!(lab.a.uapi("nonsense\n\n"), "errno=-71\n\n");
    for secret in [private.trim(), psk.trim()] {
        assert!(!lab.a.log().contains(secret), "a key in the log");
    }
}

fn hex(base64: &str) -> String {
    data_encoding::HEXLOWER.encode(&data_encoding::BASE64.decode(base64.as_bytes()).unwrap())
}

#[test]
fn a_tunnel_that_falls_behind_holds_little_and_counts_what_it_drops() {
    need_root!();
    const SENT: usize = 8_000;
    const QUEUES: u64 = 4 << 20;
    let lab = Lab::connected(Outer::V4, [&[], &[]]);
    lab.a.pings(lab.b.inner[0], 56);
    lab.a.signal(Signal::SIGSTOP);
    let flood = lab.b.inside(|| {
        let socket = UdpSocket::bind("192.0.2.2:0").unwrap();
        for _ in 0..SENT {
            socket.send_to(&[4; 1400], "192.0.2.1:51820").unwrap();
        }
    });
    flood.join().unwrap();
    let held = lab.a.inside(|| held_by_udp(51820)).join().unwrap();
    lab.a.signal(Signal::SIGCONT);
    assert!(held > 100 << 10 && held <= QUEUES, "{held} bytes wait");
    lab.a.pings(lab.b.inner[0], 56);
    let told = lab.a.uapi("get=1\n\n");
    let dropped = told.lines().find_map(|line| line.strip_prefix("sealane_dropped_received="));
    let dropped: usize = dropped.unwrap().parse().unwrap();
    assert!(dropped > SENT / 4 && dropped < SENT, "{dropped} of {SENT}");
}

/// Bytes that wait at the UDP sockets of a port in this thread's namespace, as the kernel counts
/// memory: field 5 of `/proc/net/udp`.
fn held_by_udp(port: u16) -> u64 {
    let table = fs::read_to_string("/proc/thread-self/net/udp").unwrap();
    let port = format!(":{port:04X}");
    let rows = table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
    let ours = rows.filter(|row| row[1].ends_with(&port));
    ours.map(|row| u64::from_str_radix(row[4].split_once(':').unwrap().1, 16).unwrap()).sum()
}

#[test]
fn a_taken_port_is_refused_and_the_old_one_kept() {
    need_root!();
    let lab = Lab::connected(Outer::V4, [&[], &[]]);
    let (tell, taken) = mpsc::channel();
    let (done, wait) = mpsc::channel::<()>();
    let holder = lab.a.inside(move || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        tell.send(socket.local_addr().unwrap().port()).unwrap();
        let _ = wait.recv();
    });
    let port = taken.recv().unwrap().to_string();
    let (accepted, complaint) = attempt("wg", &["set", &lab.a.link, "listen-port", &port]);
    assert!(!accepted && complaint.contains("Address already in use"), "{complaint}");
    assert_eq!(lab.a.show("listen-port"), "51820");
    lab.a.pings(lab.b.inner[0], 56);
    drop(done);
    holder.join().unwrap();
}

#[test]
fn a_tunnel_that_ends_leaves_nothing_however_it_ends() {
    need_root!();
    for how in ["SIGTERM", "SIGINT", "link", "socket"] {
        let mut lab = Lab::connected(Outer::V4, [&[], &[]]);
        lab.a.pings(lab.b.inner[0], 56);
        match how {
            "SIGTERM" => lab.a.signal(Signal::SIGTERM),
            "SIGINT" => lab.a.signal(Signal::SIGINT),
            "link" => drop(lab.a.ip(&format!("link delete {}", lab.a.link))),
            _ => fs::remove_file(lab.a.socket()).unwrap(),
        }
        assert_eq!(lab.a.ended().code(), Some(0), "{how}: {}", lab.a.log());
        assert!(!lab.a.has_link(), "{how}: the link is gone");
        assert!(!lab.a.socket().exists(), "{how}: the socket is gone");
    }
}

#[test]
fn a_tunnel_that_was_killed_can_be_started_again() {
    need_root!();
    let mut lab = Lab::connected(Outer::V4, [&[], &[]]);
    lab.a.signal(Signal::SIGKILL);
    lab.a.ended();
    assert!(lab.a.socket().exists(), "a stale socket was left");
    lab.a.start(&[]);
    lab.b.signal(Signal::SIGTERM);
    lab.b.ended();
    lab.b.start(&[]);
    lab.introduce(Outer::V4);
    lab.a.pings(lab.b.inner[0], 56);
}

#[test]
fn a_second_tunnel_of_the_same_name_is_refused_and_the_first_lives() {
    need_root!();
    let lab = Lab::connected(Outer::V4, [&[], &[]]);
    let second = lab.a.command(&["--foreground"]).output().unwrap();
    let complaint = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1), "{complaint}");
    assert!(complaint.contains("belongs to a running tunnel"), "{complaint}");
    lab.a.pings(lab.b.inner[0], 56);
    let taken = lab.a.command(&["--foreground", "--mtu", "1"]).output().unwrap();
    assert_eq!(taken.status.code(), Some(2), "a wrong command line");
}

#[test]
fn a_link_that_exists_is_never_taken_over() {
    need_root!();
    let lab = Lab::new();
    lab.a.ip(&format!("tuntap add dev {} mode tun", lab.a.link));
    let refused = lab.a.command(&["--foreground"]).output().unwrap();
    let complaint = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1));
    assert!(complaint.contains("exists already"), "{complaint}");
    assert!(lab.a.has_link() && !lab.a.socket().exists());
}

#[test]
fn in_the_background_it_is_ready_on_return_and_in_a_session_of_its_own() {
    need_root!();
    let lab = Lab::new();
    let started = lab.a.command(&[]).output().unwrap();
    assert_eq!(started.status.code(), Some(0));
    let stream = UnixStream::connect(lab.a.socket()).unwrap();
    let pid = Pid::from_raw(getsockopt(&stream, PeerCredentials).unwrap().pid());
    assert_eq!(getsid(Some(pid)).unwrap(), pid, "leader of its session");
    kill(pid, Signal::SIGTERM).unwrap();
    until("the socket is gone", || !lab.a.socket().exists());
    until("the link is gone", || !lab.a.has_link());
}

#[test]
fn wg_quick_brings_a_tunnel_up_and_down() {
    need_root!();
    if Command::new("wg-quick").output().is_err() {
        eprintln!("skipped: wg-quick is not installed");
        return;
    }
    let lab = Lab::new();
    let path = lab.path(&format!("{}.conf", lab.a.link));
    let private = fs::read_to_string(lab.path("a.key")).unwrap();
    let config = format!(
        "[Interface]\nPrivateKey = {private}Address = 10.9.1.1/24, fd09:1::1/64\nMTU = 1400\n\
         [Peer]\nPublicKey = {}\nAllowedIPs = 10.9.2.0/24, fd09:2::/64\n",
        lab.b.public
    );
    fs::write(&path, config).unwrap();
    let quick = |way: &str| {
        let output = Command::new("ip")
            .args(["netns", "exec", &lab.a.namespace, "wg-quick", way, path.to_str().unwrap()])
            .env("WG_QUICK_USERSPACE_IMPLEMENTATION", env!("CARGO_BIN_EXE_sealane-tunnel"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    quick("up");
    assert!(lab.a.ip("route show").contains("10.9.2.0/24"));
    assert!(lab.a.ip(&format!("link show dev {}", lab.a.link)).contains("mtu 1400"));
    quick("down");
    until("socket and link are gone", || !lab.a.socket().exists() && !lab.a.has_link());
}

#[test]
fn systemd_is_told_when_the_tunnel_is_ready() {
    need_root!();
    let mut lab = Lab::new();
    let path = lab.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    lab.a.start_with(&[], &[("NOTIFY_SOCKET", path.to_str().unwrap())]);
    let mut message = [0; 64];
    let len = socket.recv(&mut message).unwrap();
    assert!(message[..len].starts_with(b"READY=1"));
    lab.a.uapi("get=1\n\n");
}

#[test]
fn the_process_keeps_its_memory_and_its_socket_to_itself() {
    need_root!();
    let mut lab = Lab::new();
    lab.a.start(&[]);
    let limits = fs::read_to_string(format!("/proc/{}/limits", lab.a.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    let status = fs::read_to_string(format!("/proc/{}/status", lab.a.pid())).unwrap();
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    assert_eq!(fs::metadata(lab.a.socket()).unwrap().mode() & 0o777, 0o600);
    let directory = fs::metadata(lab.a.socket().parent().unwrap()).unwrap();
    assert_eq!(directory.mode() & 0o777, 0o755);
}

#[test]
fn a_tunnel_that_is_down_is_silent_and_comes_back() {
    need_root!();
    let lab = Lab::connected(Outer::V4, [&[], &[]]);
    lab.a.pings(lab.b.inner[0], 56);
    lab.a.ip(&format!("link set {} down", lab.a.link));
    lab.a.ip(&format!("link set {} up", lab.a.link));
    lab.a.ip(&format!("route add {}/32 dev {}", lab.b.inner[0], lab.a.link));
    lab.a.pings(lab.b.inner[0], 56);
}
