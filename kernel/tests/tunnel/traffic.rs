//! Owns what a pair of tunnels carries: families, offloads, narrow ways, peers that move, overload.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::hex;
use crate::lab::{End, Lab, Outer, attempt, run, until};

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
fn packets(end: &End, link: &str) -> [u64; 2] {
    let text = run("ip", &["-n", &end.namespace, "-s", "-j", "link", "show", "dev", link]);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    ["rx", "tx"].map(|way| value[0]["stats64"][way]["packets"].as_u64().unwrap())
}

#[test]
fn superpackets_go_in_over_and_out_whole() {
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
fn a_peer_that_moves_is_followed() {
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
    let lab = Lab::connected(Outer::V4, [&[], &[]]);
    lab.a.pings(lab.b.inner[0], 56);
    lab.a.ip(&format!("address add 10.66.0.1/32 dev {}", lab.a.link));
    let foreign = |wanted: u64| {
        let before = packets(&lab.b, &lab.b.link)[0];
        let ping = ["netns", "exec", &lab.a.namespace, "ping", "-c3", "-i0.01", "-W0.1"];
        attempt("ip", &[&ping[..], &["-I", "10.66.0.1", lab.b.inner[0]]].concat());
        let came = || packets(&lab.b, &lab.b.link)[0] - before;
        until("they arrive", || came() >= wanted);
        came()
    };
    assert_eq!(foreign(0), 0, "dropped before the link");
    let key = hex(&lab.a.public);
    lab.b.uapi(&format!("set=1\npublic_key={key}\nsealane_accept_ip=10.66.0.0/16\n\n"));
    assert_eq!(foreign(3), 3, "accepted, though a does not own it");
    lab.b.uapi(&format!("set=1\npublic_key={key}\nsealane_replace_accept_ips=true\n\n"));
    assert_eq!(foreign(0), 0, "and no longer");
}

#[test]
fn a_tunnel_that_falls_behind_holds_little_and_counts_what_it_drops() {
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

/// Longer than two keepalives of a second.
const SILENT: Duration = Duration::from_millis(2_500);

#[test]
fn a_tunnel_that_is_down_is_silent_and_comes_back() {
    let lab = Lab::connected(Outer::V4, [&[], &[]]);
    lab.a.wg(&format!("peer {} persistent-keepalive 1", lab.b.public));
    lab.a.pings(lab.b.inner[0], 56);
    let sent = || lab.a.show("transfer").split_whitespace().last().unwrap().to_owned();
    let before = sent();
    until("it speaks every second", || sent() != before);
    lab.a.ip(&format!("link set {} down", lab.a.link));
    let mut last = (sent(), Instant::now());
    until("it is silent for longer than two keepalives", || {
        let now = sent();
        if now != last.0 {
            last = (now, Instant::now());
        }
        last.1.elapsed() >= SILENT
    });
    lab.a.ip(&format!("link set {} up", lab.a.link));
    lab.a.ip(&format!("route add {}/32 dev {}", lab.b.inner[0], lab.a.link));
    lab.a.pings(lab.b.inner[0], 56);
}
