//! Admission of handshakes: floods, cookies and what they are bound to.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use sealane_tunnel::gate::{LOAD_LIMIT, QUEUE_LIMIT};
use sealane_tunnel::refusal::Refusal;
use sealane_tunnel::wire;
use support::{Host, deliver, pair, udp};

/// An initiation with a right MAC1 for `host`, of a peer it does not know: cheap to make.
fn flood(host: &mut Host, initiation: &[u8], count: u32) {
    for _ in 0..count {
        host.receive(initiation, "198.51.100.1:7".parse().unwrap());
    }
}

fn initiation_of(stranger: &mut Host) -> Vec<u8> {
    stranger.send(&udp("10.1.0.1", "10.2.0.1", b"hello")).remove(0).datagram
}

fn stranger(to: &Host) -> Host {
    let mut stranger = Host::new(9, "198.51.100.1:7");
    stranger.add_peer(to, "allowed_ip=10.2.0.0/16\n");
    stranger
}

#[test]
fn a_thousand_peers_that_restart_at_once_are_not_asked_for_cookies() {
    let (_, mut b) = pair();
    let initiation = initiation_of(&mut stranger(&b));
    flood(&mut b, &initiation, 1000);
    assert!(!b.refusals.contains(&Refusal::CookieSent));
}

#[test]
fn under_load_a_peer_must_return_a_cookie_and_then_gets_through() {
    let (mut a, mut b) = pair();
    let initiation = initiation_of(&mut stranger(&b));
    flood(&mut b, &initiation, LOAD_LIMIT);
    let first = a.send(&udp("10.1.0.1", "10.2.0.1", b"hello"));
    let reply = b.receive(&first[0].datagram, a.address);
    assert_eq!(reply[0].datagram.len(), wire::COOKIE_REPLY_LEN);
    assert_eq!(b.refusals.last(), Some(&Refusal::CookieSent));
    // The cookie proves no address: nothing roams to where it came from.
    a.receive(&reply[0].datagram, "203.0.113.1:1".parse().unwrap());
    assert_eq!(a.endpoint_of(&b), Some(b.address));
    let again = retry(&mut a, &b);
    let other_port = "192.0.2.1:51821".parse().unwrap();
    b.receive(&again, other_port);
    assert_eq!(b.refusals.last(), Some(&Refusal::CookieSent), "a cookie is bound to the port");
    let other_address = "192.0.2.77:51820".parse().unwrap();
    b.receive(&again, other_address);
    assert_eq!(b.refusals.last(), Some(&Refusal::CookieSent), "and to the address");
    let answer = b.receive(&again, a.address);
    assert_eq!(answer[0].datagram.len(), wire::RESPONSE_LEN);
    deliver(&mut b, &mut a, answer);
    assert_eq!(b.inbox.len(), 1);
}

#[test]
fn a_queue_that_grows_is_load_however_few_are_answered_in_a_second() {
    let (mut a, mut b) = pair();
    b.device.note_queue(QUEUE_LIMIT - 1, b.now);
    let first = a.send(&udp("10.1.0.1", "10.2.0.1", b"hello"));
    let answer = b.receive(&first[0].datagram, a.address);
    assert_eq!(answer[0].datagram.len(), wire::RESPONSE_LEN, "a thousand at once are no load");
    b.device.note_queue(QUEUE_LIMIT, b.now);
    b.wait(900);
    let again = retry(&mut a, &b);
    let reply = b.receive(&again, a.address);
    assert_eq!(reply[0].datagram.len(), wire::COOKIE_REPLY_LEN);
    b.wait(200);
    let again = retry(&mut a, &b);
    let answer = b.receive(&again, a.address);
    assert_eq!(answer[0].datagram.len(), wire::RESPONSE_LEN, "and it passes");
}

/// The next initiation of `a`, with the cookie it holds.
fn retry(a: &mut Host, b: &Host) -> Vec<u8> {
    let table = a.device.table();
    let slot = table.owner("10.2.0.1".parse().unwrap()).unwrap();
    assert_eq!(table.peer(slot).unwrap().key(), b.public);
    let mut lane = table.peer(slot).unwrap().lane();
    lane.reinitiate(a.now).unwrap().datagram
}

#[test]
fn under_load_a_proved_source_is_still_held_to_its_rate() {
    let (mut a, mut b) = pair();
    let initiation = initiation_of(&mut stranger(&b));
    flood(&mut b, &initiation, LOAD_LIMIT);
    let first = a.send(&udp("10.1.0.1", "10.2.0.1", b"hello"));
    let reply = b.receive(&first[0].datagram, a.address);
    a.receive(&reply[0].datagram, b.address);
    let mut answered = 0;
    for _ in 0..20 {
        let again = retry(&mut a, &b);
        answered += b.receive(&again, a.address).len();
    }
    assert_eq!(answered, 1, "one peer gets one handshake in 20 ms");
    let too_fast = b.refusals.iter().filter(|refusal| **refusal == Refusal::TooFast).count();
    assert_eq!(too_fast, 19);
}

#[test]
fn a_wrong_mac1_costs_nothing_and_gets_nothing() {
    let (mut a, mut b) = pair();
    let mut first = a.send(&udp("10.1.0.1", "10.2.0.1", b"hello")).remove(0).datagram;
    first[116] ^= 1;
    for _ in 0..2 * LOAD_LIMIT {
        assert!(b.receive(&first, a.address).is_empty());
    }
    assert_eq!(b.refusals, vec![Refusal::Forged; 2 * LOAD_LIMIT as usize]);
    first[116] ^= 1;
    let answer = b.receive(&first, a.address);
    assert_eq!(answer[0].datagram.len(), wire::RESPONSE_LEN, "forgeries are no load");
}

#[test]
fn load_ends_after_a_second() {
    let (mut a, mut b) = pair();
    let initiation = initiation_of(&mut stranger(&b));
    flood(&mut b, &initiation, LOAD_LIMIT);
    b.wait(1000);
    let first = a.send(&udp("10.1.0.1", "10.2.0.1", b"hello"));
    deliver(&mut a, &mut b, first);
    assert_eq!(b.inbox.len(), 1);
}
