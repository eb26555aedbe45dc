//! When peers are asked for what they know: soon, seldom, and never more often than they may.

use sealane_api::clusterset::ListPosition;
use sealane_api::gossip::rhythm::{AGAIN, AT_ONCE, BETWEEN, Ended, LENT, OF_MEMBER, Rhythm};
use sealane_api::gossip::standing::{Digest, ListStanding};
use std::time::Duration;

/// Peers of a member each.
fn strangers(peers: std::ops::Range<u32>) -> Rhythm<u32, u32> {
    let mut rhythm = Rhythm::default();
    rhythm.follow(&peers.map(|peer| (peer, peer)).collect());
    rhythm
}

const START: Duration = Duration::from_secs(100);

fn digest(version: u64, words: u8) -> Digest {
    let position = ListPosition { link_index: 0, version };
    Digest { list: ListStanding { position, hash: [1; 8] }, words: [words; 8] }
}

#[test]
fn a_difference_is_asked_about_at_once_and_then_once_a_minute() {
    let mut rhythm = strangers(0..1_000);
    let ours = digest(1, 1);
    rhythm.heard(7, ours);
    assert_eq!(rhythm.next_wake(ours), None);
    assert!(rhythm.due(START, ours).is_empty());
    rhythm.heard(7, digest(2, 1));
    assert_eq!(rhythm.due(START, ours), [7]);
    assert!(rhythm.due(START, ours).is_empty(), "it is asked already");
    rhythm.ended(7, START, Ended::Answered);
    assert!(rhythm.due(START + BETWEEN, ours).is_empty(), "these digests are settled");
    assert_eq!(rhythm.next_wake(ours), Some(START + AGAIN));
    assert_eq!(rhythm.due(START + AGAIN, ours), [7]);
}

#[test]
fn a_change_on_either_side_is_asked_about_anew() {
    let mut rhythm = strangers(0..1_000);
    rhythm.heard(7, digest(2, 1));
    assert_eq!(rhythm.due(START, digest(1, 1)), [7]);
    rhythm.ended(7, START, Ended::Answered);
    assert_eq!(rhythm.due(START + BETWEEN, digest(2, 2)), [7], "ours changed");
    rhythm.ended(7, START + BETWEEN, Ended::Answered);
    rhythm.heard(7, digest(3, 1));
    assert_eq!(rhythm.due(START + BETWEEN * 2, digest(2, 2)), [7], "theirs changed");
}

#[test]
fn a_peer_whose_digest_never_rests_is_asked_five_times_a_second_at_most() {
    let mut rhythm = strangers(0..1_000);
    let ours = digest(1, 0);
    let mut asked = 0;
    for step in 0..1_000 {
        let now = START + Duration::from_millis(step);
        rhythm.heard(7, digest(2, u8::try_from(step % 250).unwrap()));
        for peer in rhythm.due(now, ours) {
            asked += 1;
            rhythm.ended(peer, now, Ended::Answered);
        }
    }
    assert_eq!(asked, 5);
}

#[test]
fn of_a_thousand_peers_with_news_few_are_asked_and_those_with_the_newest_list_first() {
    let mut rhythm = strangers(0..1_000);
    for peer in 0..1_000 {
        rhythm.heard(peer, digest(if peer == 900 { 9 } else { 2 }, 1));
    }
    let asked = rhythm.due(START, digest(1, 1));
    assert_eq!((asked.len(), asked[0]), (AT_ONCE, 900));
    rhythm.ended(900, START, Ended::Answered);
    // What it told is what the others would tell.
    assert!(rhythm.due(START, digest(2, 1)).is_empty());
}

#[test]
fn peers_that_never_answer_do_not_keep_the_others_waiting() {
    let mut rhythm = strangers(0..1_000);
    let ours = digest(1, 1);
    for peer in 0..20 {
        rhythm.heard(peer, digest(2, 1));
    }
    let mut now = START;
    let mut asked = std::collections::BTreeSet::new();
    for _ in 0..3 {
        for peer in rhythm.due(now, ours) {
            asked.insert(peer);
            rhythm.ended(peer, now, Ended::Failed);
        }
        now += Duration::from_millis(1);
    }
    assert_eq!(asked.len(), 20);
}

#[test]
fn a_ninth_peer_waits_for_a_place_or_for_one_that_is_held_too_long() {
    let mut rhythm = strangers(0..1_000);
    let ours = digest(1, 1);
    for peer in 0..9 {
        rhythm.heard(peer, digest(2, 1));
    }
    let asked = rhythm.due(START, ours);
    assert_eq!((asked.len(), rhythm.next_wake(ours)), (AT_ONCE, Some(START + LENT)));
    rhythm.ended(asked[0], START, Ended::Answered);
    assert!(rhythm.next_wake(ours).is_some_and(|at| at <= START));
    assert_eq!(rhythm.due(START, ours), [8]);
}

#[test]
fn failures_are_asked_again_ever_later_up_to_a_minute() {
    let mut rhythm = strangers(0..1_000);
    let ours = digest(1, 1);
    rhythm.heard(7, digest(2, 1));
    let mut now = START;
    let mut waits = Vec::new();
    for _ in 0..9 {
        assert_eq!(rhythm.due(now, ours), [7]);
        rhythm.ended(7, now, Ended::Failed);
        let next = rhythm.next_wake(ours).unwrap();
        waits.push((next - now).as_secs());
        now = next;
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
}

#[test]
fn a_busy_peer_is_asked_when_it_said_and_one_that_stays_busy_ever_later() {
    let mut rhythm = strangers(0..8);
    let ours = digest(1, 1);
    let wait = |millis| {
        let mut rhythm = rhythm.clone();
        rhythm.heard(7, digest(2, 1));
        assert_eq!(rhythm.due(START, ours), [7]);
        rhythm.ended(7, START, Ended::Later(Duration::from_millis(millis)));
        rhythm.next_wake(ours).unwrap() - START
    };
    assert_eq!(wait(300), Duration::from_millis(300));
    // A peer that says zero is not asked in a loop, one that says hours not forgotten.
    assert_eq!((wait(0), wait(3_600_000)), (BETWEEN, AGAIN));
    rhythm.heard(7, digest(2, 1));
    let (mut now, mut waits) = (START, Vec::new());
    for _ in 0..5 {
        assert_eq!(rhythm.due(now, ours), [7]);
        rhythm.ended(7, now, Ended::Later(Duration::ZERO));
        let next = rhythm.next_wake(ours).unwrap();
        waits.push((next - now).as_millis());
        now = next;
    }
    assert_eq!(waits, [200, 1_000, 2_000, 4_000, 8_000]);
}

#[test]
fn a_peer_that_is_busy_for_long_is_left_alone_for_a_moment_even_with_news() {
    let mut rhythm = strangers(0..8);
    let ours = digest(1, 1);
    rhythm.heard(7, digest(2, 1));
    assert_eq!(rhythm.due(START, ours), [7]);
    let late = START + Duration::from_secs(1);
    rhythm.ended(7, late, Ended::Later(AGAIN));
    rhythm.heard(7, digest(3, 1));
    assert_eq!(rhythm.next_wake(ours), Some(late + BETWEEN));
    assert_eq!(rhythm.due(late + BETWEEN, ours), [7]);
}

#[test]
fn news_ends_the_wait_after_failures_but_for_a_second() {
    let mut rhythm = strangers(0..8);
    let ours = digest(1, 1);
    rhythm.heard(7, digest(2, 1));
    let mut now = START;
    for _ in 0..6 {
        assert_eq!(rhythm.due(now, ours), [7]);
        rhythm.ended(7, now, Ended::Failed);
        now = rhythm.next_wake(ours).unwrap();
    }
    assert_eq!(rhythm.due(now, ours), [7]);
    rhythm.ended(7, now, Ended::Failed);
    let second = now + Duration::from_secs(1);
    assert!(rhythm.next_wake(ours).unwrap() > second + Duration::from_secs(30));
    assert_eq!(rhythm.next_wake(digest(1, 2)), Some(second), "ours changed");
    rhythm.heard(7, digest(3, 1));
    assert_eq!(rhythm.next_wake(ours), Some(second), "theirs changed");
    assert_eq!(rhythm.due(second, ours), [7]);
}

#[test]
fn sixteen_gateways_of_one_member_take_two_places_and_do_not_go_first_twice() {
    let mut rhythm = Rhythm::default();
    let ours = digest(1, 1);
    // Peers 0 to 15 are one member's and claim more than anybody can have; 16 to 19 are honest.
    rhythm.follow(&(0..20).map(|peer| (peer, if peer < 16 { 0 } else { peer })).collect());
    for peer in 0..16 {
        rhythm.heard(peer, digest(u64::MAX, 1));
    }
    assert_eq!(rhythm.due(START, ours).len(), OF_MEMBER);
    assert_eq!(rhythm.next_wake(ours), None, "the others of that member find no place");
    for peer in 16..20 {
        rhythm.heard(peer, digest(2, 1));
    }
    assert_eq!(rhythm.due(START, ours), [16, 17, 18, 19]);
    for peer in 16..20 {
        rhythm.ended(peer, START, Ended::Answered);
        rhythm.heard(peer, digest(3, 1));
    }
    rhythm.ended(0, START, Ended::Failed);
    let later = START + AGAIN;
    rhythm.heard(0, digest(u64::MAX, 2));
    let asked = rhythm.due(later, ours);
    assert_eq!(asked.iter().filter(|peer| **peer < 16).count(), 1, "one place came free");
    assert!((16..20).all(|peer| asked.contains(&peer)), "{asked:?}");
    assert!(!asked.contains(&0), "it was asked more lately than its fellows");
}

#[test]
fn peers_that_dribble_together_keep_nobody_from_being_asked_for_longer_than_two_seconds() {
    let mut rhythm = strangers(0..1_000);
    let ours = digest(1, 1);
    for peer in 0..8 {
        rhythm.heard(peer, digest(u64::MAX, 1));
    }
    let second = Duration::from_secs(1);
    assert_eq!(rhythm.due(START, ours).len(), AT_ONCE);
    let late = START + LENT * 2;
    assert_eq!(rhythm.overdue(late, ours), None, "nobody else waits");
    assert_eq!(rhythm.next_wake(ours), None);
    rhythm.heard(20, digest(2, 1));
    assert_eq!(rhythm.due(START + second, ours), Vec::<u32>::new());
    assert_eq!(rhythm.next_wake(ours), Some(START + LENT));
    assert_eq!(rhythm.overdue(START + LENT - second / 1_000, ours), None);
    let slow = rhythm.overdue(START + LENT, ours).unwrap();
    assert!(slow < 8);
    rhythm.ended(slow, START + LENT, Ended::Failed);
    rhythm.heard(slow, digest(u64::MAX, 2));
    assert_eq!(rhythm.due(START + LENT, ours), [20]);
    assert_eq!(rhythm.overdue(START + LENT, ours), None, "who was asked just now keeps its place");
}

#[test]
fn a_peer_that_left_is_forgotten_and_its_late_answer_too() {
    let mut rhythm = strangers(0..1_000);
    let ours = digest(1, 1);
    rhythm.heard(7, digest(2, 1));
    assert_eq!(rhythm.due(START, ours), [7]);
    rhythm.follow(&[(8, 8)].into());
    rhythm.ended(7, START, Ended::Answered);
    assert_eq!(rhythm.next_wake(ours), None);
}
