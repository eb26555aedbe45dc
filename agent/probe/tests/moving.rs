//! A peer that moves to another address, as its lane sees it: how soon it is followed, and what does not
//! count as a move.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use sealane_probe::candidates::{Candidate, Choice, Families, Source, TunnelReport};
use sealane_probe::datagram::Datagram;
use sealane_probe::health::{Interest, State};
use sealane_probe::path::{Path, PathConfig};
use sealane_probe::seed::Seed;
use sealane_probe::time::Time;

const OLD: &str = "192.0.2.10:51820";
const NEW: &str = "192.0.2.91:51820";
const NEW6: &str = "[2001:db8::91]:51820";
const STEP: Duration = Duration::from_millis(10);
/// How often the tunnel is asked about a lane that works.
const GLANCE: Duration = Duration::from_millis(400);

#[test]
fn a_peer_that_moved_is_followed_before_its_lane_is_found_down() {
    let mut lane = Lane::working();
    lane.answering = at(&[NEW]);
    lane.run(Duration::from_millis(300));
    lane.path.set_candidates(&[public(NEW)]);
    let told = lane.now;
    while lane.endpoint != NEW.parse().unwrap() {
        lane.run(STEP);
        assert!(lane.now.since(told) < Duration::from_millis(700), "not followed: {:?}", lane.sets);
        assert_eq!(lane.path.report().state, State::Up);
    }
    lane.run(Duration::from_secs(60));
    assert_eq!(lane.sets, [NEW.parse().unwrap()], "and it stays there");
}

#[test]
fn of_two_new_addresses_the_second_is_tried_when_the_first_does_not_answer() {
    let mut lane = Lane::working();
    lane.path.set_candidates(&[public(OLD), public(NEW), public(NEW6)]);
    lane.answering = at(&[NEW6]);
    let silent = lane.now;
    while lane.endpoint != NEW6.parse().unwrap() {
        lane.run(STEP);
        assert!(lane.now.since(silent) < Duration::from_secs(3), "not followed: {:?}", lane.sets);
    }
    assert_eq!(lane.sets, [NEW, NEW6].map(|it| it.parse().unwrap()));
}

#[test]
fn a_short_silence_after_the_list_changed_is_no_move() {
    let mut lane = Lane::working();
    lane.path.set_candidates(&[public(OLD), public(NEW)]);
    lane.answering.clear();
    lane.run(Duration::from_millis(150));
    lane.answering = at(&[OLD]);
    lane.run(Duration::from_secs(60));
    assert_eq!(lane.sets, []);
}

#[test]
fn a_lane_that_falls_silent_while_its_peer_advertises_the_same_is_not_touched_before_it_is_down() {
    let mut lane = Lane::working();
    lane.answering.clear();
    lane.path.set_candidates(&[public(OLD)]);
    while lane.path.report().state == State::Up {
        lane.run(STEP);
    }
    assert_eq!(lane.sets, []);
}

/// A path, the tunnel below it, and a peer that answers at some addresses.
struct Lane {
    now: Time,
    path: Path,
    endpoint: SocketAddr,
    answering: BTreeSet<SocketAddr>,
    received: u64,
    asked: Time,
    sets: Vec<SocketAddr>,
}

impl Lane {
    /// Has worked at the old address for a while.
    fn working() -> Self {
        let config = PathConfig {
            remote: "fd00::1".parse().unwrap(),
            link_mtu: 1420,
            interest: Interest::Alone,
            seed: Seed(1),
        };
        let families = Families { ipv4: true, ipv6: true };
        let mut lane = Self {
            now: Time::ZERO,
            path: Path::lane(Time::ZERO, config, &[public(OLD)], families),
            endpoint: OLD.parse().unwrap(),
            answering: at(&[OLD]),
            received: 0,
            asked: Time::ZERO,
            sets: Vec::new(),
        };
        lane.run(Duration::from_secs(30));
        assert_eq!((lane.path.report().state, lane.sets.len()), (State::Up, 0));
        lane
    }

    fn run(&mut self, length: Duration) {
        let end = self.now.after(length);
        while self.now < end {
            self.now = self.now.after(STEP);
            while let Some(request) = self.path.poll_transmit(self.now, None) {
                if self.answering.contains(&self.endpoint) {
                    self.received += 96;
                    let reply = Datagram::parse(&request.payload).unwrap().reply(None);
                    let _ = self.path.received(self.now, &reply);
                }
            }
            let pace = if self.path.may_have_moved() { STEP } else { GLANCE };
            if self.now.since(self.asked) >= pace {
                self.ask();
            }
        }
    }

    fn ask(&mut self) {
        self.asked = self.now;
        let report = TunnelReport {
            endpoint: Some(self.endpoint),
            handshake_age: Some(Duration::from_secs(30)),
            received_bytes: self.received,
        };
        if let Choice::Set(address) = self.path.tunnel_reported(self.now, &report) {
            self.endpoint = address;
            self.sets.push(address);
        }
    }
}

fn public(text: &str) -> Candidate {
    Candidate { source: Source::Public, address: text.parse().unwrap() }
}

fn at(texts: &[&str]) -> BTreeSet<SocketAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}
