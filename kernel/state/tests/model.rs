//! Owns what the model says a step does to a host besides what it names. Does not own the kernel,
//! which the model follows.
#![allow(clippy::unwrap_used, clippy::panic)]

mod notes;

use notes::{after, host, key};
use sealane_state::change::Change;

#[test]
fn an_allowed_ip_belongs_to_the_peer_that_was_given_it_last() {
    let lane = "lane sealane0 51820";
    let before = host(&format!("{lane}; peer sealane0 1 10.1.0.0/16,10.2.0.0/16"));
    let expected =
        host(&format!("{lane}; peer sealane0 1 10.1.0.0/16; peer sealane0 2 10.2.0.0/16"));
    let name = "sealane0".parse().unwrap();
    let taker = expected.devices[&name].peers[&key(2)].clone();
    assert_eq!(after(&before, &[Change::PutPeer(name, key(2), taker)]), expected);
}

#[test]
fn a_peer_that_is_put_without_endpoint_stays_where_it_roamed() {
    let name = "sealane0".parse().unwrap();
    let mut before = host("lane sealane0 51820; peer sealane0 1 10.1.0.0/16");
    let wanted = before.devices[&name].peers[&key(1)].clone();
    let roamed = Some("192.0.2.9:51820".parse().unwrap());
    before.devices.get_mut(&name).unwrap().peers.get_mut(&key(1)).unwrap().endpoint = roamed;
    assert_eq!(after(&before, &[Change::PutPeer(name, key(1), wanted)]), before);
}

#[test]
fn the_last_ipv4_address_of_a_link_takes_the_ipv4_things_of_that_link_with_it() {
    let links = "lane sealane0 51820; lane sealane1 51821; address sealane1 10.1.0.2/32; \
                 address sealane0 fd00::1/128; \
                 neigh sealane0 fe80::2 02:00:00:00:00:02; route fd02::/32 sealane0; \
                 neigh sealane1 10.9.0.3 02:00:00:00:00:03; route 10.3.0.0/16 sealane1";
    let falls = "neigh sealane0 10.9.0.2 02:00:00:00:00:02; route 10.2.0.0/16 sealane0";
    let both = host(&format!(
        "{links}; {falls}; address sealane0 10.1.0.1/32; address sealane0 10.1.0.9/32"
    ));
    let one = host(&format!("{links}; {falls}; address sealane0 10.1.0.1/32"));
    let [first, last] = ["10.1.0.9/32", "10.1.0.1/32"].map(|net| {
        let stands = |address: &&_| format!("{address}").contains(net);
        Change::DeleteAddress(both.addresses.iter().find(stands).unwrap().clone())
    });
    assert_eq!(after(&both, &[first]), one);
    assert_eq!(after(&one, &[last]), host(links));
}
