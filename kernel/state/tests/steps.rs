//! Owns golden steps: small hosts found and wanted, and what is then done in which order. Does not
//! own the laws that hold for any two hosts.
#![allow(clippy::unwrap_used, clippy::panic)]

mod notes;

use notes::{host, key};
use sealane_state::change::Change;
use sealane_state::diff::diff;

#[test]
fn a_link_goes_first_only_when_a_wanted_one_needs_its_place() {
    assert_steps(
        "the same name and another backend",
        "lane sealane0 51820",
        "userspace sealane0 51820",
        "- link sealane0
         + link sealane0 type wireguard (userspace) mtu 1420
         ~ wireguard sealane0 public-key key9 listen-port 51820 fwmark 0x0",
    );
    assert_steps(
        "an unwanted device on the port of a new one",
        "lane sealane0 51820",
        "lane sealane1 51820",
        "- link sealane0
         + link sealane1 type wireguard (kernel) mtu 1420
         ~ wireguard sealane1 public-key key9 listen-port 51820 fwmark 0x0",
    );
    assert_steps(
        "an unwanted device on a port that nobody wants",
        "lane sealane0 51820",
        "lane sealane1 51821",
        "+ link sealane1 type wireguard (kernel) mtu 1420
         ~ wireguard sealane1 public-key key9 listen-port 51821 fwmark 0x0
         - link sealane0",
    );
    assert_steps(
        "an unwanted VXLAN link with the identifier and port of a new one",
        "vxlan old0 5182 4801",
        "vxlan new0 5182 4801",
        "- link old0
         + link new0 type vxlan id 5182 dstport 4801 local 192.0.2.1 dev eth0 address 02:00:00:00:00:01 mtu 1420",
    );
    for other in ["vxlan old0 5183 4801", "vxlan old0 5182 4802"] {
        assert_steps(
            "an unwanted VXLAN link with another identifier or port",
            other,
            "vxlan new0 5182 4801",
            "+ link new0 type vxlan id 5182 dstport 4801 local 192.0.2.1 dev eth0 address 02:00:00:00:00:01 mtu 1420
             - link old0",
        );
    }
}

#[test]
fn a_device_takes_a_port_after_the_one_that_leaves_it() {
    let set = |n: u8, port: u16| {
        format!("~ wireguard sealane{n} public-key key9 listen-port {port} fwmark 0x0")
    };
    let three = |first: u16| {
        (0..3).map(|n| format!("lane sealane{n} {}", first + n)).collect::<Vec<_>>().join("; ")
    };
    assert_steps(
        "all ports one higher",
        &three(51820),
        &three(51821),
        &[set(2, 51823), set(1, 51822), set(0, 51821)].join("\n"),
    );
    assert_steps(
        "all ports one lower",
        &three(51821),
        &three(51820),
        &[set(0, 51820), set(1, 51821), set(2, 51822)].join("\n"),
    );
}

#[test]
fn the_table_protects_what_still_stands_and_what_comes() {
    assert_steps(
        "only a link goes",
        "table old; lane sealane0 51820",
        "table new",
        "- link sealane0
         ~ table inet sealane (sets 0, chains 1, rules 0)",
    );
    assert_steps(
        "a link goes and another comes",
        "table old; lane sealane0 51820",
        "table new; lane sealane1 51821",
        "~ table inet sealane (sets 0, chains 1, rules 0)
         + link sealane1 type wireguard (kernel) mtu 1420
         ~ wireguard sealane1 public-key key9 listen-port 51821 fwmark 0x0
         - link sealane0",
    );
}

#[test]
fn settings_of_the_host_stand_around_everything_and_those_of_a_link_beside_it() {
    let settings = "sysctl net/ipv4/ip_forward 1; sysctl net/ipv6/conf/sealane0/disable_ipv6 0";
    let lane = "lane sealane0 51820; route 10.2.0.0/16 sealane0";
    assert_steps(
        "they come",
        "",
        &format!("{settings}; {lane}"),
        "+ sysctl net/ipv4/ip_forward = 1
         + link sealane0 type wireguard (kernel) mtu 1420
         + sysctl net/ipv6/conf/sealane0/disable_ipv6 = 0
         ~ wireguard sealane0 public-key key9 listen-port 51820 fwmark 0x0
         + route 10.2.0.0/16 dev sealane0 table 5182",
    );
    assert_steps(
        "they go, the lane stays",
        &format!("{settings}; {lane}"),
        "lane sealane0 51820",
        "- route 10.2.0.0/16 table 5182
         - sysctl net/ipv6/conf/sealane0/disable_ipv6
         - sysctl net/ipv4/ip_forward",
    );
}

#[test]
fn an_ipv6_address_with_another_length_takes_the_place_of_the_old_one() {
    let lane = "lane sealane0 51820";
    assert_steps(
        "IPv6: the kernel holds an address once",
        &format!("{lane}; address sealane0 fd00::1/64"),
        &format!("{lane}; address sealane0 fd00::1/128"),
        "- address fd00::1/64 dev sealane0
         + address fd00::1/128 dev sealane0",
    );
    assert_steps(
        "IPv4: both lengths may stand, the new one comes first",
        &format!("{lane}; address sealane0 10.1.0.1/16"),
        &format!("{lane}; address sealane0 10.1.0.1/32"),
        "+ address 10.1.0.1/32 dev sealane0
         - address 10.1.0.1/16 dev sealane0",
    );
    assert_steps(
        "another IPv6 address is not in the way",
        &format!("{lane}; address sealane0 fd00::1/64"),
        &format!("{lane}; address sealane0 fd00::2/128"),
        "+ address fd00::2/128 dev sealane0
         - address fd00::1/64 dev sealane0",
    );
    let two = "lane sealane0 51820; lane sealane1 51821";
    assert_steps(
        "the same IPv6 address on another link is not in the way",
        &format!("{two}; address sealane0 fd00::1/64"),
        &format!("{two}; address sealane1 fd00::1/128"),
        "+ address fd00::1/128 dev sealane1
         - address fd00::1/64 dev sealane0",
    );
    assert_steps(
        "the address of a link that goes is not named, it goes with the link",
        &format!("{two}; address sealane1 fd00::1/64"),
        lane,
        "- link sealane1",
    );
}

#[test]
fn what_falls_with_the_last_ipv4_address_of_a_link_is_put_back() {
    let hops = "vxlan sealane-vx 5182 4801; lane sealane0 51820; \
                neigh sealane-vx 10.9.0.2 02:00:00:00:00:02; \
                neigh sealane-vx fe80::2 02:00:00:00:00:02; \
                route 10.2.0.0/16 sealane-vx; route fd02::/32 sealane-vx; \
                route 10.3.0.0/16 sealane0; neigh sealane0 10.9.0.3 02:00:00:00:00:03";
    assert_steps(
        "IPv4 things of that link fall, and no others",
        &format!("{hops}; address sealane-vx 10.1.0.1/32; address sealane0 fd00::1/128"),
        &format!("{hops}; address sealane0 fd00::1/128"),
        "- address 10.1.0.1/32 dev sealane-vx
         + neigh 10.9.0.2 lladdr 02:00:00:00:00:02 dev sealane-vx permanent
         + route 10.2.0.0/16 dev sealane-vx table 5182",
    );
    assert_steps(
        "while another IPv4 address stays nothing falls",
        &format!("{hops}; address sealane-vx 10.1.0.1/32; address sealane-vx 10.1.0.2/32"),
        &format!("{hops}; address sealane-vx 10.1.0.2/32"),
        "- address 10.1.0.1/32 dev sealane-vx",
    );
    assert_steps(
        "an IPv4 address that stays on another link saves nothing",
        &format!("{hops}; address sealane-vx 10.1.0.1/32; address sealane0 10.1.0.2/32"),
        &format!("{hops}; address sealane0 10.1.0.2/32"),
        "- address 10.1.0.1/32 dev sealane-vx
         + neigh 10.9.0.2 lladdr 02:00:00:00:00:02 dev sealane-vx permanent
         + route 10.2.0.0/16 dev sealane-vx table 5182",
    );
    assert_steps(
        "an IPv6 address takes nothing with it",
        &format!("{hops}; address sealane-vx fd00::1/128"),
        hops,
        "- address fd00::1/128 dev sealane-vx",
    );
}

#[test]
fn an_entry_that_another_replaced_is_not_deleted_afterwards() {
    let link = "vxlan sealane-vx 5182 4801";
    let (a, b) = ("02:00:00:00:00:0a", "02:00:00:00:00:0b");
    assert_steps(
        "the same neighbour behind another MAC",
        &format!("{link}; neigh sealane-vx fe80::2 {a}"),
        &format!("{link}; neigh sealane-vx fe80::2 {b}"),
        "+ neigh fe80::2 lladdr 02:00:00:00:00:0b dev sealane-vx permanent",
    );
    assert_steps(
        "another neighbour behind the same MAC",
        &format!("{link}; neigh sealane-vx fe80::2 {a}"),
        &format!("{link}; neigh sealane-vx fe80::3 {a}"),
        "+ neigh fe80::3 lladdr 02:00:00:00:00:0a dev sealane-vx permanent
         - neigh fe80::2 lladdr 02:00:00:00:00:0a dev sealane-vx permanent",
    );
    assert_steps(
        "the same MAC behind another node",
        &format!("{link}; fdb sealane-vx {a} 192.0.2.2"),
        &format!("{link}; fdb sealane-vx {a} 192.0.2.3"),
        "+ fdb 02:00:00:00:00:0a dev sealane-vx dst 192.0.2.3 self permanent",
    );
    assert_steps(
        "another MAC behind the same node",
        &format!("{link}; fdb sealane-vx {a} 192.0.2.2"),
        &format!("{link}; fdb sealane-vx {b} 192.0.2.2"),
        "+ fdb 02:00:00:00:00:0b dev sealane-vx dst 192.0.2.2 self permanent
         - fdb 02:00:00:00:00:0a dev sealane-vx dst 192.0.2.2 self permanent",
    );
    let gone = format!("{link}; neigh sealane-vx fe80::2 {a}; fdb sealane-vx {a} 192.0.2.2");
    assert_steps("a link that goes takes its entries with it", &gone, "", "- link sealane-vx");
}

#[test]
fn a_second_destination_of_one_mac_is_deleted_and_the_wanted_one_stays() {
    let wanted = host("vxlan sealane-vx 5182 4801; fdb sealane-vx 02:00:00:00:00:0a 192.0.2.2");
    let appended = host("vxlan sealane-vx 5182 4801; fdb sealane-vx 02:00:00:00:00:0a 192.0.2.3");
    let mut found = wanted.clone();
    found.fdb.extend(appended.fdb);
    assert_eq!(
        lines(&diff(&wanted, &found)),
        ["- fdb 02:00:00:00:00:0a dev sealane-vx dst 192.0.2.3 self permanent"]
    );
}

#[test]
fn a_prefix_goes_to_its_new_peer_before_the_old_one_loses_it() {
    let lane = "lane sealane0 51820";
    assert_steps(
        "the taker has the later key",
        &format!("{lane}; peer sealane0 1 10.1.0.0/16,10.2.0.0/16; peer sealane0 2 (none)"),
        &format!("{lane}; peer sealane0 1 10.1.0.0/16; peer sealane0 2 10.2.0.0/16"),
        "+ peer key2 dev sealane0 allowed-ips 10.2.0.0/16
         + peer key1 dev sealane0 allowed-ips 10.1.0.0/16",
    );
    assert_steps(
        "along a chain, the last taker first",
        &format!("{lane}; peer sealane0 1 10.1.0.0/16; peer sealane0 2 10.2.0.0/16"),
        &format!(
            "{lane}; peer sealane0 1 (none); peer sealane0 2 10.1.0.0/16; peer sealane0 3 10.2.0.0/16"
        ),
        "+ peer key3 dev sealane0 allowed-ips 10.2.0.0/16
         + peer key2 dev sealane0 allowed-ips 10.1.0.0/16
         + peer key1 dev sealane0 allowed-ips (none)",
    );
    assert_steps(
        "in a ring, one keeps what it owes until it was taken",
        &format!("{lane}; peer sealane0 1 10.1.0.0/16; peer sealane0 2 10.2.0.0/16"),
        &format!("{lane}; peer sealane0 1 10.2.0.0/16; peer sealane0 2 10.1.0.0/16"),
        "+ peer key1 dev sealane0 allowed-ips 10.1.0.0/16,10.2.0.0/16
         + peer key2 dev sealane0 allowed-ips 10.1.0.0/16
         + peer key1 dev sealane0 allowed-ips 10.2.0.0/16",
    );
    assert_steps(
        "new peers owe nobody anything",
        lane,
        &format!("{lane}; peer sealane0 1 10.1.0.0/16; peer sealane0 2 10.2.0.0/16"),
        "+ peer key1 dev sealane0 allowed-ips 10.1.0.0/16
         + peer key2 dev sealane0 allowed-ips 10.2.0.0/16",
    );
}

#[test]
fn a_device_that_changes_its_port_keeps_its_peers_and_is_sent_none() {
    let peer = "peer sealane0 1 10.1.0.0/16";
    let found = host(&format!("lane sealane0 51820; {peer}"));
    let wanted = host(&format!("lane sealane0 51830; {peer}"));
    let steps = diff(&wanted, &found);
    let [Change::SetDevice(_, sent)] = steps.as_slice() else { panic!("{:?}", lines(&steps)) };
    assert!(sent.peers.is_empty());
    assert_eq!(notes::after(&found, &steps), wanted);
}

/// Compares line by line; keys of the notes read `key1`, `key2` and so on.
fn assert_steps(what: &str, found: &str, wanted: &str, expected: &str) {
    let steps = lines(&diff(&host(wanted), &host(found)));
    let expected: Vec<&str> = expected.lines().map(str::trim).collect();
    assert_eq!(steps, expected, "{what}");
}

fn lines(steps: &[Change]) -> Vec<String> {
    let named = |text: String| {
        (1..10).fold(text, |text, n| text.replace(&key(n).to_string(), &format!("key{n}")))
    };
    steps.iter().map(|step| named(step.to_string())).collect()
}
