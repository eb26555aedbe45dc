//! Owns the life of the process: readiness, its end, names that are taken, what it keeps to itself.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::{Pid, getsid};

use crate::lab::{Lab, Outer, until};

#[test]
fn a_tunnel_that_ends_leaves_nothing_however_it_ends() {
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
fn systemd_is_told_when_the_tunnel_is_ready() {
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
