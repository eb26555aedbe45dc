//! A peer that moves to another address, as its lane sees it: how soon it is followed, and what does not
//! count as a move.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use sealane_probe::candidates::{
    Candidate, CandidateSearch, Choice, Families, SILENCE, Source, TunnelReport,
};
use sealane_probe::datagram::Datagram;
use sealane_probe::health::{Doubt, Interest, State};
use sealane_probe::moving::MOVING;
use sealane_probe::mtu::Phase;
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
    lane.path.set_candidates(lane.now, &[public(NEW)]);
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
    lane.path.set_candidates(lane.now, &[public(OLD), public(NEW), public(NEW6)]);
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
    lane.path.set_candidates(lane.now, &[public(OLD), public(NEW)]);
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
    lane.path.set_candidates(lane.now, &[public(OLD)]);
    while lane.path.report().state == State::Up {
        lane.run(STEP);
    }
    assert_eq!(lane.sets, []);
}

#[test]
fn a_lane_is_probed_at_once_when_its_peer_advertises_another_address_and_only_then() {
    let mut lane = Lane::working();
    lane.path.set_candidates(lane.now, &[public(OLD)]);
    assert!(lane.path.next_transmit() > lane.now, "the same list says nothing");
    lane.path.set_candidates(lane.now, &[public(OLD), public(NEW)]);
    assert!(lane.path.next_transmit() <= lane.now);
    assert!(lane.path.poll_transmit(lane.now, None).is_some());
    lane.path.set_candidates(lane.now, &[public(OLD), public(NEW)]);
    assert!(lane.path.next_transmit() > lane.now, "nor does the new one, told again");
}

#[test]
fn a_guess_is_probed_at_once_when_the_tunnel_sends_there() {
    let mut lane = Lane::working();
    lane.path.set_candidates(lane.now, &[public(OLD), public(NEW)]);
    lane.answering.clear();
    while lane.sets.is_empty() {
        lane.run(STEP);
    }
    while lane.path.poll_transmit(lane.now, None).is_some() {}
    assert!(lane.path.next_transmit() > lane.now);
    lane.ask();
    assert!(lane.path.next_transmit() <= lane.now, "what was sent before went elsewhere");
}

#[test]
fn a_lane_that_fell_silent_before_its_peer_told_of_another_address_goes_there_at_once() {
    let mut lane = Lane::working();
    lane.answering.clear();
    lane.run(Duration::from_secs(8));
    assert_eq!((lane.path.report().state, lane.sets.len()), (State::Down, 0));
    lane.path.set_candidates(lane.now, &[public(OLD), public(NEW)]);
    lane.run(GLANCE + STEP);
    assert_eq!(lane.sets, [NEW.parse().unwrap()]);
}

#[test]
fn an_address_told_of_15_s_before_the_silence_is_no_move() {
    for (after, goes) in [(MOVING - Duration::from_micros(1), true), (MOVING, false)] {
        let mut search = worked();
        search.set_candidates(Time::ZERO, &[public(OLD), public(NEW)]);
        let choice = search.doubted(Time::ZERO.after(after), &report(OLD), Doubt::Grave);
        assert_eq!(choice != Choice::LeaveAlone, goes, "{after:?} after");
    }
}

#[test]
fn an_outage_under_half_a_second_leaves_the_lane_where_it_was_whatever_was_guessed() {
    for silence in (50..450).step_by(10) {
        let mut lane = Lane::working();
        lane.path.set_candidates(lane.now, &[public(OLD), public(NEW), public(NEW6)]);
        lane.answering.clear();
        lane.run(Duration::from_millis(silence));
        lane.answering = at(&[OLD]);
        lane.run(Duration::from_millis(1_000));
        assert_eq!(lane.endpoint, OLD.parse().unwrap(), "{silence} ms: {:?}", lane.sets);
        lane.run(Duration::from_secs(1));
        assert_eq!(lane.path.last_endpoint(), Some(OLD.parse().unwrap()), "{silence} ms");
    }
}

#[test]
fn a_late_answer_from_where_the_peer_was_does_not_prove_a_guess() {
    let mut search = worked();
    search.set_candidates(Time::ZERO, &[public(OLD), public(NEW)]);
    let (begin, seen) = (Time::ZERO.after(SILENCE), Time::ZERO.after(SILENCE * 2));
    search.doubted(begin, &report(OLD), Doubt::Grave);
    search.answered(begin);
    assert!(search.is_guessing(), "the tunnel does not send there yet");
    assert_eq!(search.guessed_since(), None);
    search.doubted(seen, &report(NEW), Doubt::Grave);
    assert_eq!(search.guessed_since(), Some(seen));
    search.answered(Time(seen.0 - 1));
    assert!(search.is_guessing(), "sent to where it was");
    search.answered(seen);
    assert!(!search.is_guessing());
}

#[test]
fn a_peer_heard_from_elsewhere_during_a_guess_is_there() {
    let mut search = worked();
    search.set_candidates(Time::ZERO, &[public(OLD), public(NEW)]);
    let begin = Time::ZERO.after(SILENCE);
    search.doubted(begin, &report(OLD), Doubt::Grave);
    search.doubted(begin, &report(NEW), Doubt::Grave);
    assert_eq!(search.doubted(begin, &report(NEW6), Doubt::Grave), Choice::LeaveAlone);
    assert!(!search.is_guessing());
    assert_eq!(search.trying(), None);
}

#[test]
fn a_peer_that_calls_from_elsewhere_before_a_guess_is_written_is_there() {
    for doubt in [Doubt::Grave, Doubt::Slight] {
        let mut search = worked();
        search.set_candidates(Time::ZERO, &[public(OLD), public(NEW)]);
        let begin = Time::ZERO.after(SILENCE);
        assert!(matches!(search.doubted(begin, &report(OLD), Doubt::Grave), Choice::Set(_)));
        let choice = search.doubted(search.next_wake(), &report(NEW6), doubt);
        assert_eq!(choice, Choice::LeaveAlone);
        assert!(!search.is_guessing());
    }
}

#[test]
fn each_new_address_has_its_time_and_a_lost_write_is_repeated() {
    let mut search = worked();
    search.set_candidates(Time::ZERO, &[public(OLD), public(NEW), public(NEW6)]);
    let set = |text: &str| Choice::Set(text.parse().unwrap());
    let begin = Time::ZERO.after(SILENCE);
    let early = Time(begin.0 - 1);
    assert_eq!(search.doubted(early, &report(OLD), Doubt::Grave), Choice::LeaveAlone);
    assert_eq!(search.doubted(begin, &report(OLD), Doubt::Slight), Choice::LeaveAlone);
    assert_eq!(search.doubted(begin, &report(OLD), Doubt::Grave), set(NEW));
    let until = search.next_wake();
    let last = Time(until.0 - 1);
    assert_eq!(search.doubted(last, &report(OLD), Doubt::Grave), set(NEW), "the write was lost");
    assert_eq!(search.doubted(last, &report(NEW), Doubt::Grave), Choice::LeaveAlone);
    assert_eq!(search.doubted(until, &report(NEW), Doubt::Grave), set(NEW6));
    let end = search.next_wake();
    assert_eq!(search.doubted(end, &report(NEW6), Doubt::Grave), set(OLD), "back again");
    assert_eq!(search.doubted(end, &report(NEW6), Doubt::Grave), set(OLD), "the write was lost");
    assert_eq!(search.doubted(end, &report(OLD), Doubt::Grave), Choice::LeaveAlone, "no more");
    assert!(!search.is_guessing());
    let over = search.next_wake();
    assert_eq!(search.doubted(over, &report(NEW6), Doubt::Slight), Choice::LeaveAlone);
    assert_eq!(search.last(), Some(OLD.parse().unwrap()));
}

#[test]
fn an_address_that_is_tried_is_probed_at_once() {
    let mut lane = Lane::working();
    lane.answering.clear();
    lane.run(Duration::from_secs(7));
    while lane.sets.is_empty() {
        lane.run(STEP);
        lane.path.set_candidates(lane.now, &[public(NEW)]);
    }
    assert!(lane.path.next_transmit() <= lane.now);
}

#[test]
fn a_lane_goes_on_where_another_path_of_it_ended() {
    let mut lane = Lane::working();
    assert_eq!(lane.path.last_endpoint(), Some(OLD.parse().unwrap()));
    lane.path.resume_at(NEW.parse().unwrap());
    assert_eq!(lane.path.last_endpoint(), Some(NEW.parse().unwrap()));
}

#[test]
fn the_path_mtu_is_proved_again_where_the_endpoint_has_moved() {
    let mut lane = Lane::working();
    let phase = |lane: &Lane| lane.path.report().mtu_phase;
    assert_eq!(phase(&lane), Phase::Complete);
    lane.path.tunnel_reported(lane.now, &report(OLD));
    assert_eq!(phase(&lane), Phase::Complete);
    lane.path.tunnel_reported(lane.now, &report(NEW));
    assert_eq!(phase(&lane), Phase::Confirming);
    let mut first = Lane::new();
    first.run(Duration::from_millis(100));
    let before = phase(&first);
    first.path.tunnel_reported(first.now, &report(OLD));
    assert_eq!(phase(&first), before, "the first endpoint is no move");
}

#[test]
fn a_guess_that_the_tunnel_never_took_up_has_no_longer_time_than_another() {
    let mut search = worked();
    search.set_candidates(Time::ZERO, &[public(OLD), public(NEW), public(NEW6)]);
    search.doubted(Time::ZERO.after(SILENCE), &report(OLD), Doubt::Grave);
    let until = search.next_wake();
    let next = Choice::Set(NEW6.parse().unwrap());
    assert_eq!(search.doubted(until, &report(OLD), Doubt::Grave), next);
}

#[test]
fn an_address_that_left_the_list_is_no_move() {
    let mut search = worked();
    search.set_candidates(Time::ZERO, &[public(OLD), public(NEW)]);
    assert!(search.may_have_moved());
    search.set_candidates(Time::ZERO, &[public(OLD)]);
    assert!(!search.may_have_moved());
}

#[test]
fn a_guess_is_taken_back_when_little_doubt_is_left() {
    let mut search = worked();
    search.set_candidates(Time::ZERO, &[public(OLD), public(NEW), public(NEW6)]);
    search.doubted(Time::ZERO.after(SILENCE), &report(OLD), Doubt::Grave);
    let until = search.next_wake();
    let back = Choice::Set(OLD.parse().unwrap());
    assert_eq!(search.doubted(until, &report(NEW), Doubt::Slight), back);
}

#[test]
fn a_guess_whose_tunnel_hears_the_peer_there_is_right() {
    let mut search = worked();
    search.set_candidates(Time::ZERO, &[public(OLD), public(NEW)]);
    let begin = Time::ZERO.after(SILENCE);
    search.doubted(begin, &report(OLD), Doubt::Grave);
    let at = |received_bytes| TunnelReport { received_bytes, ..report(NEW) };
    search.doubted(begin, &at(200), Doubt::Grave);
    search.doubted(begin, &at(200), Doubt::Grave);
    assert!(search.is_guessing(), "what was received before says nothing");
    assert_eq!(search.doubted(begin, &at(201), Doubt::Grave), Choice::LeaveAlone);
    assert!(!search.is_guessing());
}

/// A search whose lane worked at the old address a moment ago.
fn worked() -> CandidateSearch {
    let families = Families { ipv4: true, ipv6: true };
    let mut search = CandidateSearch::new(Time::ZERO, Seed(1), families);
    search.set_candidates(Time::ZERO, &[public(OLD)]);
    assert_eq!(search.working(Time::ZERO, &report(OLD)), Choice::LeaveAlone);
    assert!(!search.may_have_moved());
    search
}

fn report(endpoint: &str) -> TunnelReport {
    TunnelReport {
        endpoint: Some(endpoint.parse().unwrap()),
        handshake_age: Some(Duration::from_secs(30)),
        received_bytes: 96,
    }
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
    /// Nobody has asked its tunnel yet.
    fn new() -> Self {
        let config = PathConfig {
            remote: "fd00::1".parse().unwrap(),
            link_mtu: 1420,
            interest: Interest::Alone,
            seed: Seed(1),
        };
        let families = Families { ipv4: true, ipv6: true };
        Self {
            now: Time::ZERO,
            path: Path::lane(Time::ZERO, config, &[public(OLD)], families),
            endpoint: OLD.parse().unwrap(),
            answering: at(&[OLD]),
            received: 0,
            asked: Time::ZERO,
            sets: Vec::new(),
        }
    }

    /// Has worked at the old address for a while.
    fn working() -> Self {
        let mut lane = Self::new();
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
