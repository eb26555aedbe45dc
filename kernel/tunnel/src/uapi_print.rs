//! Owns the answers of the control protocol: the text of a `get`, and the last line of every
//! answer. The text holds private keys: it is wiped when dropped.

use std::fmt::Write as _;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::device::{Device, Member};
use crate::key::PublicKey;

/// Room for one peer's fixed lines, so that secrets are not left behind by a growing buffer.
const PEER_LEN: usize = 640;
/// Room for one line with a prefix.
const PREFIX_LEN: usize = 72;

/// The answer to `get=1`. `epoch` is the Unix time at which the device's uptime was zero,
/// `overrun` the number of datagrams that found the sockets' queues full.
#[must_use]
pub fn print(device: &Device, epoch: Duration, overrun: u64) -> Zeroizing<String> {
    let prefixes: usize =
        device.members.values().map(|member| member.allowed.len() + member.accepted.len()).sum();
    let room = PEER_LEN * (device.members.len() + 1) + PREFIX_LEN * prefixes;
    let mut text = Zeroizing::new(String::with_capacity(room));
    if let Some(keyed) = &device.keyed {
        line(&mut text, "private_key", keyed.private.expose_hex().as_str());
    }
    line(&mut text, "listen_port", device.listen_port);
    line(&mut text, "fwmark", device.fwmark);
    line(&mut text, "sealane_dropped_waiting", device.backlog.dropped());
    line(&mut text, "sealane_dropped_received", overrun);
    for (key, member) in &device.members {
        print_peer(&mut text, *key, member, epoch);
    }
    text.push_str(&errno(0));
    text
}

/// The answer to `sealane_get=version`.
#[must_use]
pub fn version(version: &str) -> String {
    format!("sealane_version={version}\n{}", errno(0))
}

/// The last lines of an answer; a failure is a negative error number, as `wg` expects.
#[must_use]
pub fn errno(number: i32) -> String {
    format!("errno={}\n\n", -number.abs())
}

fn print_peer(text: &mut String, key: PublicKey, member: &Member, epoch: Duration) {
    line(text, "public_key", key.to_hex());
    match &member.psk {
        Some(psk) => line(text, "preshared_key", psk.expose_hex().as_str()),
        None => line(text, "preshared_key", "0".repeat(64)),
    }
    line(text, "protocol_version", 1);
    let (endpoint, traffic, keepalive, lags) = {
        let lane = member.peer.lane();
        (lane.endpoint(), lane.traffic(), lane.keepalive(), lane.lags())
    };
    if let Some(endpoint) = endpoint {
        line(text, "endpoint", endpoint.remote);
    }
    let handshake = traffic.last_handshake.map_or(Duration::ZERO, |at| epoch + at.elapsed());
    line(text, "last_handshake_time_sec", handshake.as_secs());
    line(text, "last_handshake_time_nsec", handshake.subsec_nanos());
    line(text, "tx_bytes", traffic.tx_bytes);
    line(text, "rx_bytes", traffic.rx_bytes);
    line(text, "persistent_keepalive_interval", keepalive);
    if lags {
        line(text, "sealane_lags", true);
    }
    for prefix in &member.allowed {
        line(text, "allowed_ip", prefix);
    }
    for prefix in &member.accepted {
        line(text, "sealane_accept_ip", prefix);
    }
}

fn line(text: &mut String, key: &str, value: impl std::fmt::Display) {
    // Writing to a String does not fail.
    let _ = writeln!(text, "{key}={value}");
}
