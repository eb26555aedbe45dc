//! The control protocol as `wg` speaks it, and as an enemy might.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use proptest::prelude::*;
use sealane_tunnel::uapi::{self, Request, UapiError};
use support::{Host, pair};

const KEY: &str = "0101010101010101010101010101010101010101010101010101010101010109";

fn refused(text: &str) -> UapiError {
    match uapi::parse(text) {
        Ok(_) => panic!("accepted: {text}"),
        Err(error) => error,
    }
}

#[test]
fn what_a_get_answers_a_set_takes_back() {
    let (mut a, b) = pair();
    let key = b.public.to_hex();
    a.device.set_listen_port(51820);
    a.set(&format!(
        "fwmark=4660\npublic_key={key}\npreshared_key={}\npersistent_keepalive_interval=25\n\
         endpoint=[2001:db8::2]:51821\nallowed_ip=0.0.0.0/0\nsealane_accept_ip=10.7.0.0/16\n",
        "ab".repeat(32)
    ));
    let first = a.answer_to_get();
    let settable: String = first
        .lines()
        .filter(|line| {
            let counters = [
                "last_handshake",
                "tx_bytes",
                "rx_bytes",
                "sealane_dropped",
                "errno",
                "listen_port",
            ];
            !line.is_empty() && !counters.iter().any(|key| line.starts_with(key))
        })
        .map(|line| format!("{line}\n"))
        .collect();
    let mut copy = Host::new(7, "192.0.2.7:1");
    copy.device.set_listen_port(51820);
    copy.set(&format!("replace_peers=true\n{settable}"));
    assert_eq!(copy.answer_to_get(), first);
    assert!(first.ends_with("errno=0\n\n"));
    for line in ["fwmark=4660", "endpoint=[2001:db8::2]:51821", "protocol_version=1"] {
        assert!(first.contains(&format!("{line}\n")), "{first}");
    }
}

#[test]
fn a_device_without_key_prints_none() {
    let mut a = Host::new(1, "192.0.2.1:1");
    a.set(&format!("private_key={}\n", "0".repeat(64)));
    let told = "listen_port=0\nfwmark=0\nsealane_dropped_waiting=0\nsealane_dropped_received=0\n";
    assert_eq!(a.answer_to_get(), format!("{told}errno=0\n\n"));
}

#[test]
fn a_prefix_moves_to_the_peer_it_was_last_given_to() {
    let (mut a, b) = pair();
    let other = Host::new(3, "192.0.2.3:1");
    a.add_peer(&other, "allowed_ip=10.2.0.0/16\n");
    let text = a.answer_to_get();
    assert_eq!(text.matches("allowed_ip=10.2.0.0/16").count(), 1);
    let key = b.public.to_hex();
    a.set(&format!("public_key={key}\nallowed_ip=-10.2.0.0/16\n"));
    assert!(a.answer_to_get().contains("allowed_ip=10.2.0.0/16"), "not b's to remove");
    a.set(&format!("public_key={}\nallowed_ip=-10.2.0.0/16\n", other.public.to_hex()));
    assert!(!a.answer_to_get().contains("allowed_ip=10.2.0.0/16"));
}

#[test]
fn prefixes_are_replaced_and_their_host_bits_cleared() {
    let (mut a, b) = pair();
    let key = b.public.to_hex();
    a.set(&format!("public_key={key}\nreplace_allowed_ips=true\nallowed_ip=10.5.6.7/8\n"));
    let text = a.answer_to_get();
    assert!(text.contains("allowed_ip=10.0.0.0/8\n"), "{text}");
    assert_eq!(text.matches("allowed_ip=").count(), 1);
    a.set(&format!(
        "public_key={key}\nsealane_accept_ip=10.7.0.0/16\nsealane_replace_accept_ips=true\n"
    ));
    assert!(a.answer_to_get().contains("sealane_accept_ip=10.7.0.0/16\n"), "replace comes first");
    a.set(&format!("public_key={key}\nsealane_replace_accept_ips=true\n"));
    assert!(!a.answer_to_get().contains("sealane_accept_ip"));
}

#[test]
fn update_only_adds_nobody_and_remove_takes_prefixes_along() {
    let (mut a, b) = pair();
    a.set(&format!("public_key={KEY}\nupdate_only=true\nallowed_ip=10.2.0.0/16\n"));
    let text = a.answer_to_get();
    assert!(!text.contains(KEY));
    assert!(text.contains("allowed_ip=10.2.0.0/16"), "b keeps its prefix");
    a.set(&format!("public_key={}\nremove=true\n", b.public.to_hex()));
    assert!(!a.answer_to_get().contains("public_key"));
    a.set(&format!("public_key={KEY}\nallowed_ip=10.2.0.0/16\n"));
    assert!(a.answer_to_get().contains("allowed_ip=10.2.0.0/16"));
}

#[test]
fn replace_peers_leaves_those_that_are_named() {
    let (mut a, b) = pair();
    a.set(&format!("replace_peers=true\npublic_key={KEY}\n"));
    let text = a.answer_to_get();
    assert!(text.contains(KEY) && !text.contains(&b.public.to_hex()));
}

#[test]
fn errors_name_the_line_and_never_the_value() {
    let secret = "5ec2e7".repeat(10);
    let error = refused(&format!("set=1\nlisten_port=1\nprivate_key={secret}\n"));
    assert_eq!(error, UapiError::Value { line: 3, key: "private_key".to_owned() });
    assert!(!format!("{error} {error:?}").contains(&secret));
    assert_eq!(error.errno(), 22);
    assert_eq!(refused("set=1\nfwmark\n"), UapiError::Syntax { line: 2 });
    assert_eq!(refused("set=1\nfwmark\n").errno(), 71);
    assert_eq!(refused("hello=1\n"), UapiError::Operation);
    assert_eq!(refused("").errno(), 71);
}

#[test]
fn values_out_of_range_are_refused() {
    for line in [
        "listen_port=65536",
        "listen_port=-1",
        "listen_port=+1",
        "listen_port=",
        "fwmark=4294967296",
        "fwmark=0x10",
        "replace_peers=false",
        "replace_peers=1",
        "private_key=00",
        "allowed_ip=10.0.0.0/8",
        "nonsense=1",
    ] {
        assert_eq!(refused(&format!("set=1\n{line}\n")).errno(), 22, "{line}");
    }
    for line in [
        "public_key=zz",
        "endpoint=192.0.2.1",
        "endpoint=192.0.2.1:0",
        "endpoint=0.0.0.0:1",
        "endpoint=example.org:1",
        "allowed_ip=10.0.0.0",
        "allowed_ip=10.0.0.0/33",
        "allowed_ip=::/129",
        "allowed_ip=--10.0.0.0/8",
        "allowed_ip=10.0.0.0/+8",
        "sealane_accept_ip=10.0.0.0/-8",
        "persistent_keepalive_interval=65536",
        "protocol_version=2",
        "remove=yes",
        "listen_port=1",
    ] {
        assert_eq!(refused(&format!("set=1\npublic_key={KEY}\n{line}\n")).errno(), 22, "{line}");
    }
}

#[test]
fn an_ipv4_mapped_endpoint_is_an_ipv4_endpoint() {
    let text = format!("set=1\npublic_key={KEY}\nendpoint=[::ffff:192.0.2.1]:5\n");
    let Ok(Request::Set(change)) = uapi::parse(&text) else { panic!("refused") };
    assert_eq!(change.peers[0].endpoint, Some("192.0.2.1:5".parse().unwrap()));
    let text = format!("set=1\npublic_key={KEY}\nendpoint=[fe80::1%3]:5\n");
    let Ok(Request::Set(change)) = uapi::parse(&text) else { panic!("refused") };
    assert_eq!(change.peers[0].endpoint, Some("[fe80::1%3]:5".parse().unwrap()));
}

#[test]
fn the_version_is_asked_for_by_a_request_of_its_own() {
    assert!(matches!(uapi::parse("sealane_get=version\n\n"), Ok(Request::Version)));
    for (text, errno) in [
        ("sealane_get=version\nlisten_port=1\n\n", 22),
        ("sealane_get=keys\n\n", 71),
        ("get=1\nsealane_get=version\n\n", 22),
        ("set=1\nsealane_get=version\n\n", 22),
    ] {
        assert_eq!(refused(text).errno(), errno, "{text:?}");
    }
    assert!(!Host::new(1, "192.0.2.1:1").answer_to_get().contains("version"));
}

#[test]
fn several_requests_are_told_apart() {
    let two = b"get=1\n\nset=1\n\n";
    assert_eq!(uapi::request_len(two), Some(7));
    assert_eq!(uapi::request_len(&two[7..]), Some(7));
    assert_eq!(uapi::request_len(b"set=1\nlisten_port=1\n"), None);
    assert_eq!(uapi::request_len(b"\nget=1\n\n"), Some(1), "a stray blank line ends itself");
    assert_eq!(uapi::request_len(b""), None);
}

#[test]
fn a_peer_may_own_very_many_prefixes() {
    use std::fmt::Write as _;
    let mut a = Host::new(1, "192.0.2.1:1");
    let mut text = format!("public_key={KEY}\n");
    for high in 0..=255 {
        for low in 0..64 {
            writeln!(text, "allowed_ip=10.{high}.{low}.0/24").unwrap();
        }
    }
    a.set(&text);
    assert_eq!(a.answer_to_get().matches("allowed_ip=").count(), 256 * 64);
}

proptest! {
    #[test]
    fn any_text_is_read_without_a_panic(text in "\\PC{0,200}") {
        let _ = uapi::parse(&text);
        let _ = uapi::parse(&format!("set=1\n{text}"));
        let _ = uapi::request_len(text.as_bytes());
    }

    #[test]
    fn any_lines_of_known_keys_are_read_without_a_panic(
        lines in proptest::collection::vec((
            prop::sample::select(vec![
                "private_key", "listen_port", "fwmark", "replace_peers", "public_key", "remove",
                "update_only", "preshared_key", "endpoint", "persistent_keepalive_interval",
                "replace_allowed_ips", "allowed_ip", "sealane_accept_ip", "protocol_version",
            ]),
            prop::sample::select(vec![
                "true", "1", "0", KEY, "10.0.0.0/8", "-::/0", "[::1]:9", "192.0.2.1:9", "", "=",
            ]),
        ), 0..12)
    ) {
        let body: String = lines.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
        if let Ok(Request::Set(change)) = uapi::parse(&format!("set=1\n{body}\n")) {
            let mut host = Host::new(1, "192.0.2.1:1");
            host.device.configure(*change, host.now, &mut Vec::new());
            let table = host.device.table();
            prop_assert!(table.peers().count() <= 1);
            host.answer_to_get();
        }
    }
}
