//! Owns a WireGuard device for tests: the configuration protocol with its rules (a prefix has one
//! peer, `update_only`, replacement) behind a real socket, and no packets.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

/// A device and the requests that it was sent.
#[derive(Default)]
pub(crate) struct FakeDevice {
    /// `private_key`, `listen_port`, `fwmark` as last set.
    values: BTreeMap<String, String>,
    peers: BTreeMap<String, FakePeer>,
    /// Lines of every `set` so far, in order.
    pub(crate) written: Vec<String>,
    /// What to answer instead of doing anything.
    pub(crate) errno: Option<i32>,
    /// Lines that every peer shows besides, such as counters.
    pub(crate) shown_besides: Vec<String>,
}

#[derive(Default)]
struct FakePeer {
    values: BTreeMap<String, String>,
    allowed: BTreeSet<String>,
    accepted: BTreeSet<String>,
}

/// Serves `device` at `socket` until the test ends.
pub(crate) fn serve(socket: &Path, device: Arc<Mutex<FakeDevice>>) {
    let listener = UnixListener::bind(socket).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            converse(stream.unwrap(), &device);
        }
    });
}

fn converse(mut stream: UnixStream, device: &Mutex<FakeDevice>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    while let Some(operation) = lines.next() {
        let request: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
        let mut device = device.lock().unwrap();
        let answer = match (device.errno, operation.as_str()) {
            (Some(errno), _) => format!("errno={errno}\n\n"),
            (None, "get=1") => device.text(),
            (None, _) => format!("errno={}\n\n", device.set(request)),
        };
        drop(device);
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

impl FakeDevice {
    /// Has the device show a value as if it had been set.
    pub(crate) fn show(&mut self, name: &str, value: &str) {
        self.values.insert(name.to_owned(), value.to_owned());
    }

    fn set(&mut self, lines: Vec<String>) -> i32 {
        let mut peer: Option<String> = None;
        for line in &lines {
            let (name, value) = line.split_once('=').unwrap();
            match (name, &peer) {
                ("public_key", _) => {
                    peer = Some(value.to_owned());
                    if !next_is(&lines, line, "update_only=true") {
                        self.peers.entry(value.to_owned()).or_default();
                    }
                }
                (_, None) => {
                    self.values.insert(name.to_owned(), value.to_owned());
                }
                (_, Some(key)) => self.set_peer(&key.clone(), name, value),
            }
        }
        self.written.extend(lines);
        0
    }

    fn set_peer(&mut self, key: &str, name: &str, value: &str) {
        if name == "allowed_ip" && self.peers.contains_key(key) {
            self.peers.values_mut().for_each(|peer| {
                peer.allowed.remove(value);
            });
        }
        let Some(peer) = self.peers.get_mut(key) else { return };
        match name {
            "remove" => {
                self.peers.remove(key);
            }
            "update_only" => {}
            "replace_allowed_ips" => peer.allowed.clear(),
            "allowed_ip" => {
                peer.allowed.insert(value.to_owned());
            }
            "sealane_replace_accept_ips" => peer.accepted.clear(),
            "sealane_accept_ip" => {
                peer.accepted.insert(value.to_owned());
            }
            _ => {
                peer.values.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: &str| text.push_str(&format!("{name}={value}\n"));
        self.values.iter().for_each(|(name, value)| line(name, value));
        for (key, peer) in &self.peers {
            line("public_key", key);
            peer.values.iter().for_each(|(name, value)| line(name, value));
            line("protocol_version", "1");
            for shown in &self.shown_besides {
                let (name, value) = shown.split_once('=').unwrap();
                line(name, value);
            }
            peer.allowed.iter().for_each(|prefix| line("allowed_ip", prefix));
            peer.accepted.iter().for_each(|prefix| line("sealane_accept_ip", prefix));
        }
        line("errno", "0");
        text.push('\n');
        text
    }
}

/// Whether `wanted` directly follows the line that `line` is, not merely equals.
fn next_is(lines: &[String], line: &String, wanted: &str) -> bool {
    let position = lines.iter().position(|other| std::ptr::eq(other, line)).unwrap();
    lines.get(position + 1).is_some_and(|next| next == wanted)
}
