//! The search for a peer's address as its users see it: what is tried, in which order, how often, and
//! when nothing is touched.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use proptest::prelude::*;
use sealane_probe::candidates::{
    ATTEMPT, ATTEMPT_CEILING, Candidate, CandidateSearch, Choice, FIRST_ATTEMPT, Families, LOOK,
    QUIET, Source, TunnelReport,
};
use sealane_probe::health::Interest;
use sealane_probe::path::{Path, PathConfig};
use sealane_probe::seed::Seed;
use sealane_probe::time::Time;

const BOTH: Families = Families { ipv4: true, ipv6: true };
const PRIVATE: &str = "192.0.2.10:51820";
const PRIVATE6: &str = "[2001:db8::10]:51820";
const PUBLIC: &str = "198.51.100.10:51820";
const OBSERVED: &str = "203.0.113.10:40000";
const ROAMED: &str = "203.0.113.77:41000";

#[test]
fn candidates_are_tried_private_first_then_public_then_observed_and_round_again() {
    let mut lane = Lane::new(BOTH);
    lane.run(Duration::from_secs(30));
    assert_eq!(lane.sets()[..5], [PRIVATE, PRIVATE6, PUBLIC, OBSERVED, PRIVATE]);
}

#[test]
fn a_lane_whose_first_three_addresses_are_wrong_is_up_within_a_second() {
    let mut lane = Lane::new(BOTH);
    lane.tunnel.answering = set(&[OBSERVED]);
    lane.run(Duration::from_secs(1) + STEP);
    assert!(lane.tunnel.handshake.is_some(), "{:?}", lane.sets());
    lane.run(Duration::from_secs(600));
    assert_eq!(lane.sets(), [PRIVATE, PRIVATE6, PUBLIC, OBSERVED]);
}

#[test]
fn only_the_first_round_is_quick() {
    let mut lane = Lane::new(BOTH);
    lane.run(Duration::from_secs(40));
    let gaps: Vec<Duration> =
        lane.set.windows(2).map(|pair| pair[1].0.since(pair[0].0)).take(6).collect();
    assert!(gaps[..3].iter().all(|gap| *gap < FIRST_ATTEMPT * 2), "{gaps:?}");
    assert!(gaps[3..].iter().all(|gap| *gap >= ATTEMPT), "{gaps:?}");
}

#[test]
fn the_first_address_that_answers_is_kept() {
    let mut lane = Lane::new(BOTH);
    lane.tunnel.answering = set(&[PUBLIC, OBSERVED]);
    lane.run(Duration::from_secs(600));
    assert_eq!(lane.sets(), [PRIVATE, PRIVATE6, PUBLIC]);
    assert_eq!(lane.search.trying(), None);
}

#[test]
fn families_the_host_lacks_are_skipped() {
    let mut lane = Lane::new(Families { ipv4: false, ipv6: true });
    lane.run(Duration::from_secs(60));
    assert_eq!(lane.sets(), [PRIVATE6], "set once, and not again while it stands");
    lane.search.set_families(BOTH);
    lane.run(Duration::from_secs(60));
    assert!(lane.sets().contains(&PUBLIC.to_owned()));
}

#[test]
fn roaming_is_not_fought() {
    let mut lane = Lane::new(BOTH);
    lane.tunnel.answering = set(&[PRIVATE]);
    lane.run(Duration::from_secs(30));
    lane.tunnel.roam(ROAMED);
    lane.tunnel.answering = set(&[ROAMED]);
    lane.run(Duration::from_secs(600));
    assert_eq!(lane.sets(), [PRIVATE]);
    assert_eq!(lane.tunnel.endpoint, Some(at(ROAMED)));
}

#[test]
fn a_better_address_does_not_disturb_a_lane_that_works() {
    let mut lane = Lane::new(BOTH);
    lane.tunnel.answering = set(&[PUBLIC]);
    lane.run(Duration::from_secs(30));
    lane.tunnel.answering = set(&[PUBLIC, PRIVATE]);
    lane.run(Duration::from_secs(600));
    assert_eq!(lane.sets().last().unwrap(), PUBLIC);
}

#[test]
fn an_endpoint_heard_from_during_the_search_gets_its_own_attempt() {
    let mut lane = Lane::new(BOTH);
    lane.run(Duration::from_secs(3));
    lane.tunnel.roam(ROAMED);
    lane.run(Duration::from_secs(4));
    assert_eq!(lane.tunnel.endpoint, Some(at(ROAMED)));
    assert_eq!(lane.search.trying(), Some(at(ROAMED)));
}

#[test]
fn a_lane_that_falls_silent_tries_its_old_address_first_and_the_list_then() {
    let mut lane = Lane::new(BOTH);
    lane.tunnel.answering = set(&[PRIVATE]);
    lane.run(Duration::from_secs(20));
    lane.tunnel.roam(ROAMED);
    lane.tunnel.answering = set(&[ROAMED]);
    lane.run(Duration::from_secs(20));
    lane.tunnel.answering = BTreeSet::new();
    let before = lane.sets().len();
    lane.run(QUIET + ATTEMPT);
    assert_eq!(lane.sets().len(), before, "the address that worked has the first attempt");
    lane.run(Duration::from_secs(60));
    let round = [PRIVATE, PRIVATE6, PUBLIC, OBSERVED];
    assert_eq!(lane.sets()[before..][..9], [&round[..], &round[..], &[ROAMED]].concat());
}

#[test]
fn a_lane_that_falls_silent_goes_to_an_address_that_its_peer_has_just_advertised() {
    let mut lane = Lane::new(BOTH);
    lane.tunnel.answering = set(&[PRIVATE]);
    lane.run(Duration::from_secs(20));
    let moved = candidate(Source::Public, ROAMED);
    lane.search.set_candidates(lane.now, &[&list()[..], &[moved]].concat());
    lane.run(Duration::from_secs(2));
    assert_eq!(lane.sets(), [PRIVATE], "it works still");
    lane.tunnel.answering = set(&[ROAMED]);
    lane.run(LOOK * 2);
    assert_eq!(lane.sets(), [PRIVATE, ROAMED]);
    lane.run(Duration::from_secs(600));
    assert_eq!(lane.sets(), [PRIVATE, ROAMED], "and stays there");
}

#[test]
fn a_tunnel_made_anew_is_told_the_address_that_worked_before_any_other() {
    let mut search = CandidateSearch::new(Time::ZERO, Seed(1), BOTH);
    search.set_candidates(Time::ZERO, &list());
    search.resume_at(at(ROAMED));
    assert_eq!(search.last(), Some(at(ROAMED)));
    assert_eq!(search.step(Time::ZERO, &unheard(None)), Choice::Set(at(ROAMED)));
    assert_eq!(search.step(Time::ZERO.after(ATTEMPT / 2), &unheard(None)), Choice::Set(at(ROAMED)));
    let later = Time::ZERO.after(ATTEMPT_CEILING);
    assert_eq!(search.step(later, &unheard(None)), Choice::Set(at(PRIVATE)), "not for ever");
}

#[test]
fn an_address_on_a_link_of_this_host_is_tried_before_the_others() {
    let mut search = CandidateSearch::new(Time::ZERO, Seed(1), BOTH);
    search.set_candidates(
        Time::ZERO,
        &[candidate(Source::Private, PRIVATE), candidate(Source::OnLink, PUBLIC)],
    );
    assert_eq!(search.step(Time::ZERO, &unheard(None)), Choice::Set(at(PUBLIC)));
}

#[test]
fn a_lane_found_working_at_start_is_not_touched() {
    let mut lane = Lane::new(BOTH);
    lane.tunnel.endpoint = Some(at(ROAMED));
    lane.tunnel.handshake = Some(Time::ZERO);
    lane.tunnel.received = 5_000;
    lane.tunnel.answering = set(&[ROAMED]);
    lane.run(Duration::from_secs(600));
    assert!(lane.sets().is_empty());
}

#[test]
fn a_session_too_old_to_be_used_does_not_count_as_working() {
    let mut search = CandidateSearch::new(Time::ZERO, Seed(1), BOTH);
    search.set_candidates(Time::ZERO, &list());
    let report = TunnelReport {
        endpoint: None,
        handshake_age: Some(Duration::from_secs(180)),
        received_bytes: 9,
    };
    assert_eq!(search.step(Time::ZERO, &report), Choice::Set(at(PRIVATE)));
}

#[test]
fn a_peer_heard_without_a_session_keeps_its_attempt_where_it_is_heard() {
    let mut search = CandidateSearch::new(Time::ZERO, Seed(1), BOTH);
    search.set_candidates(Time::ZERO, &list());
    search.resume_at(at(PUBLIC));
    let heard = |received_bytes| TunnelReport {
        endpoint: Some(at(ROAMED)),
        handshake_age: None,
        received_bytes,
    };
    for second in 0..3 {
        let now = Time::ZERO.after(Duration::from_secs(second));
        assert_eq!(search.step(now, &heard(second)), Choice::LeaveAlone);
        assert_eq!(search.trying(), Some(at(ROAMED)));
    }
}

#[test]
fn a_lane_works_for_less_than_five_seconds_after_its_last_byte() {
    let mut search = CandidateSearch::new(Time::ZERO, Seed(1), BOTH);
    search.set_candidates(Time::ZERO, &list());
    let report = TunnelReport {
        endpoint: Some(at(PUBLIC)),
        handshake_age: Some(Duration::from_secs(1)),
        received_bytes: 1,
    };
    for (after, trying) in [
        (Duration::ZERO, None),
        (QUIET - Duration::from_micros(1), None),
        (QUIET, Some(at(PUBLIC))),
    ] {
        assert_eq!(search.step(Time::ZERO.after(after), &report), Choice::LeaveAlone);
        assert_eq!(search.trying(), trying, "{after:?} after the last byte");
    }
}

#[test]
fn a_write_that_was_lost_is_repeated() {
    let mut search = CandidateSearch::new(Time::ZERO, Seed(1), BOTH);
    search.set_candidates(Time::ZERO, &list());
    for tenth in 0..3 {
        let now = Time::ZERO.after(FIRST_ATTEMPT.mul_f64(f64::from(tenth) / 10.0));
        assert_eq!(search.step(now, &unheard(None)), Choice::Set(at(PRIVATE)));
    }
}

#[test]
fn a_changed_list_keeps_progress_and_a_removed_address_is_left_at_once() {
    let mut lane = Lane::new(BOTH);
    lane.run(Duration::from_secs(17));
    assert_eq!(lane.search.trying(), Some(at(PUBLIC)));
    let newcomer = candidate(Source::Private, "192.0.2.99:51820");
    let mut changed = list();
    changed.push(newcomer);
    lane.search.set_candidates(lane.now, &changed);
    lane.run(Duration::from_secs(2));
    assert_eq!(lane.search.trying(), Some(at(PUBLIC)), "the attempt under way goes on");
    changed.retain(|known| known.address != at(PUBLIC));
    lane.search.set_candidates(lane.now, &changed);
    lane.run(Duration::from_secs(1));
    assert_eq!(lane.search.trying(), Some(newcomer.address), "new in this round, private first");
    lane.run(Duration::from_secs(6));
    assert_eq!(lane.search.trying(), Some(at(OBSERVED)), "private ones had their turn");
}

#[test]
fn an_address_that_joins_late_has_one_turn_in_each_round_like_the_others() {
    let mut lane = Lane::new(BOTH);
    lane.run(Duration::from_secs(300));
    let before = lane.sets().len();
    let mut changed = list();
    changed.push(candidate(Source::Private, "192.0.2.99:51820"));
    lane.search.set_candidates(lane.now, &changed);
    lane.run(Duration::from_secs(3_000));
    let late = &lane.sets()[before..][..20];
    assert_eq!(late.iter().filter(|address| *address == "192.0.2.99:51820").count(), 4);
}

#[test]
fn the_same_list_again_changes_nothing() {
    let (mut told_often, mut told_once) = (Lane::new(BOTH), Lane::new(BOTH));
    told_once.run(Duration::from_secs(60));
    for _ in 0..60 {
        told_often.search.set_candidates(told_often.now, &list());
        told_often.run(Duration::from_secs(1));
    }
    assert_eq!(told_often.set, told_once.set);
}

#[test]
fn attempts_grow_longer_when_all_were_in_vain() {
    let mut lane = Lane::new(BOTH);
    lane.run(Duration::from_secs(3600));
    let last: Vec<Duration> =
        lane.set.windows(2).map(|pair| pair[1].0.since(pair[0].0)).rev().take(4).collect();
    let long = ATTEMPT_CEILING.mul_f64(0.89)..ATTEMPT_CEILING.mul_f64(1.1) + STEP;
    assert!(last.iter().all(|gap| long.contains(gap)), "{last:?}");
    lane.tunnel.answering = set(&[OBSERVED]);
    lane.run(Duration::from_secs(150));
    assert_eq!(lane.search.trying(), None, "a member back after an hour is found");
}

#[test]
fn attempts_grow_longer_from_the_fourth_round_on() {
    let mut lane = Lane::new(BOTH);
    lane.search = CandidateSearch::new(Time::ZERO, Seed(1), BOTH);
    lane.search.set_candidates(
        lane.now,
        &[candidate(Source::Private, PRIVATE), candidate(Source::Public, PUBLIC)],
    );
    lane.run(Duration::from_secs(200));
    let lengths: Vec<Duration> =
        lane.set.windows(2).map(|pair| pair[1].0.since(pair[0].0)).collect();
    let [short, long] = [ATTEMPT.mul_f64(1.1) + STEP, ATTEMPT.mul_f64(2.2) + STEP];
    assert!(lengths[..6].iter().all(|length| *length <= short), "{lengths:?}");
    assert!(lengths[6..8].iter().all(|length| (short..=long).contains(length)), "{lengths:?}");
    assert!(lengths[8..10].iter().all(|length| *length > long), "{lengths:?}");
}

#[test]
fn a_peer_without_candidates_is_left_alone() {
    let mut search = CandidateSearch::new(Time::ZERO, Seed(1), BOTH);
    assert_eq!(search.step(Time::ZERO, &unheard(None)), Choice::LeaveAlone);
}

#[test]
fn a_lane_whose_probes_are_answered_is_left_alone_whatever_the_tunnel_counts() {
    let config = PathConfig {
        remote: "fd00::1".parse().unwrap(),
        link_mtu: 1420,
        interest: Interest::Carrying,
        seed: Seed(1),
    };
    let mut path = Path::lane(Time::ZERO, config, &list(), BOTH);
    let silent = unheard(Some(at(ROAMED)));
    assert_eq!(path.tunnel_reported(Time::ZERO, &silent), Choice::Set(at(PRIVATE)));
    let request = path.poll_transmit(Time::ZERO, None).unwrap();
    let reply = sealane_probe::datagram::Datagram::parse(&request.payload).unwrap().reply(None);
    path.received(Time(9), &reply).unwrap();
    assert_eq!(path.tunnel_reported(Time(10), &silent), Choice::LeaveAlone);
    assert_eq!(path.report().trying, None);
    // A tunnel that was made anew knows nothing, and probes have not missed a reply yet.
    assert_eq!(path.tunnel_reported(Time(11), &unheard(None)), Choice::Set(at(ROAMED)));
    assert_eq!(path.tunnel_reported(Time(12), &silent), Choice::LeaveAlone);
}

#[test]
fn a_family_that_the_host_lost_is_not_tried_any_more() {
    let config = PathConfig {
        remote: "fd00::1".parse().unwrap(),
        link_mtu: 1420,
        interest: Interest::Carrying,
        seed: Seed(1),
    };
    let two = [candidate(Source::Private, PRIVATE6), candidate(Source::Public, PUBLIC)];
    let mut path = Path::lane(Time::ZERO, config, &two, BOTH);
    path.set_families(Families { ipv4: true, ipv6: false });
    assert_eq!(path.tunnel_reported(Time::ZERO, &unheard(None)), Choice::Set(at(PUBLIC)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_candidate_gets_two_initiations_within_5_s(
        seed: u64, kernel: bool, sources in prop::collection::vec(0u8..3, 1..16),
    ) {
        let mut lane = Lane::new(BOTH);
        lane.tunnel.calls = if kernel { Calls::EveryFiveSeconds } else { Calls::NewEndpointsAtOnce };
        lane.search = CandidateSearch::new(Time::ZERO, Seed(seed), BOTH);
        lane.search.set_candidates(lane.now, &many(&sources));
        lane.run(Duration::from_secs(600));
        for times in lane.tunnel.initiations.values() {
            for pair in times.windows(2) {
                prop_assert!(pair[1].since(pair[0]) >= Duration::from_secs(5), "{:?}", times);
            }
        }
    }

    #[test]
    fn every_candidate_is_tried_and_the_one_that_answers_is_found(
        seed: u64, kernel: bool, sources in prop::collection::vec(0u8..3, 1..16),
        which: prop::sample::Index,
    ) {
        let candidates = many(&sources);
        let answers = which.get(&candidates).address;
        let mut lane = Lane::new(BOTH);
        lane.tunnel.calls = if kernel { Calls::EveryFiveSeconds } else { Calls::NewEndpointsAtOnce };
        lane.search = CandidateSearch::new(Time::ZERO, Seed(seed), BOTH);
        lane.search.set_candidates(lane.now, &candidates);
        lane.tunnel.answering = BTreeSet::from([answers]);
        lane.run(if kernel { Duration::from_secs(17 * 6) } else { FIRST_ATTEMPT * 2 * 16 });
        prop_assert_eq!(lane.tunnel.endpoint, Some(answers));
        prop_assert_eq!(lane.search.trying(), None);
    }

    #[test]
    fn the_order_of_the_list_does_not_matter(seed: u64, mut sources in prop::collection::vec(0u8..3, 1..16)) {
        let run = |candidates: &[Candidate]| {
            let mut lane = Lane::new(BOTH);
            lane.search = CandidateSearch::new(Time::ZERO, Seed(seed), BOTH);
            lane.search.set_candidates(lane.now, candidates);
            lane.run(Duration::from_secs(120));
            lane.set
        };
        sources.dedup();
        let forth = many(&sources);
        let back: Vec<Candidate> = forth.iter().rev().copied().collect();
        prop_assert_eq!(run(&forth), run(&back));
    }
}

const STEP: Duration = Duration::from_millis(100);

/// A search and the tunnel it steers.
struct Lane {
    now: Time,
    search: CandidateSearch,
    tunnel: Tunnel,
    set: Vec<(Time, SocketAddr)>,
}

/// When a tunnel without a session calls its peer.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Calls {
    /// As `sealane-tunnel` does.
    #[default]
    NewEndpointsAtOnce,
    /// As the kernel does, wherever the endpoint has been set to meanwhile.
    EveryFiveSeconds,
}

/// WireGuard as the search sees it: one endpoint, one initiation in 5 s to it.
#[derive(Default)]
struct Tunnel {
    calls: Calls,
    called: Option<SocketAddr>,
    endpoint: Option<SocketAddr>,
    handshake: Option<Time>,
    received: u64,
    answering: BTreeSet<SocketAddr>,
    last_initiation: Option<Time>,
    initiations: BTreeMap<SocketAddr, Vec<Time>>,
}

impl Tunnel {
    /// An authenticated packet of the peer comes from elsewhere.
    fn roam(&mut self, address: &str) {
        self.endpoint = Some(at(address));
        self.received += 148;
    }

    fn tick(&mut self, now: Time) {
        let Some(endpoint) = self.endpoint else { return };
        let answers = self.answering.contains(&endpoint);
        let old = self.handshake.is_none_or(|done| now.since(done) > Duration::from_secs(120));
        let quiet = !answers || old;
        let moved = self.called != Some(endpoint) && self.handshake.is_none();
        let may = self.last_initiation.is_none_or(|last| now.since(last) >= Duration::from_secs(5));
        if quiet && (may || (moved && self.calls == Calls::NewEndpointsAtOnce)) {
            self.last_initiation = Some(now);
            self.called = Some(endpoint);
            self.initiations.entry(endpoint).or_default().push(now);
            if answers {
                self.handshake = Some(now);
            }
        }
        if answers && self.handshake.is_some() {
            self.received += 96;
        }
    }
}

impl Lane {
    fn new(families: Families) -> Lane {
        let mut search = CandidateSearch::new(Time::ZERO, Seed(7), families);
        search.set_candidates(Time::ZERO, &list());
        Lane { now: Time::ZERO, search, tunnel: Tunnel::default(), set: Vec::new() }
    }

    fn run(&mut self, length: Duration) {
        let end = self.now.after(length);
        while self.now < end {
            let report = TunnelReport {
                endpoint: self.tunnel.endpoint,
                handshake_age: self.tunnel.handshake.map(|done| self.now.since(done)),
                received_bytes: self.tunnel.received,
            };
            if let Choice::Set(address) = self.search.step(self.now, &report) {
                self.tunnel.endpoint = Some(address);
                self.set.push((self.now, address));
            }
            self.tunnel.tick(self.now);
            assert!(self.search.next_wake() > self.now, "asked to wake for nothing");
            self.now = self.now.after(STEP);
        }
    }

    fn sets(&self) -> Vec<String> {
        self.set.iter().map(|(_, address)| address.to_string()).collect()
    }
}

fn list() -> Vec<Candidate> {
    vec![
        candidate(Source::Observed, OBSERVED),
        candidate(Source::Public, PUBLIC),
        candidate(Source::Private, PRIVATE6),
        candidate(Source::Private, PRIVATE),
        candidate(Source::Observed, PRIVATE),
    ]
}

fn many(sources: &[u8]) -> Vec<Candidate> {
    let kinds = [Source::Private, Source::Public, Source::Observed];
    let each = |(index, source): (usize, &u8)| {
        candidate(kinds[usize::from(*source)], &format!("192.0.2.{}:51820", index + 1))
    };
    sources.iter().enumerate().map(each).collect()
}

fn candidate(source: Source, address: &str) -> Candidate {
    Candidate { source, address: at(address) }
}

fn unheard(endpoint: Option<SocketAddr>) -> TunnelReport {
    TunnelReport { endpoint, handshake_age: None, received_bytes: 0 }
}

fn set(addresses: &[&str]) -> BTreeSet<SocketAddr> {
    addresses.iter().map(|address| at(address)).collect()
}

fn at(address: &str) -> SocketAddr {
    address.parse().unwrap()
}
