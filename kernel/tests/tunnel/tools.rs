//! Owns what `wg` and `wg-quick` see and set.

use std::fs;
use std::net::UdpSocket;
use std::process::Command;
use std::sync::mpsc;

use crate::hex;
use crate::lab::{End, Lab, Outer, attempt, run, until};

#[test]
fn the_counters_are_those_of_kernel_wireguard() {
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
    let counted = |end: &End| {
        let text = end.show("transfer");
        text.split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(counted(&lab.b), ["1372", "1460"], "received, sent by the initiator");
    assert_eq!(counted(&lab.a), ["1460", "1372"], "received, sent by the responder");
}

#[test]
fn wg_can_set_sync_and_show_everything() {
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

#[test]
fn a_taken_port_is_refused_and_the_old_one_kept() {
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
fn wg_quick_brings_a_tunnel_up_and_down() {
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
