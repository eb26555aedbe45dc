//! Hostile inputs about time: life, expiry, hold and clocks that are wrong.

use crate::fixture::*;
use sealane_api::clusterset::OnExpiry;
use sealane_api::reason::Reason;
use sealane_api::receiver::{Receiver, Verdict};
use sealane_api::time::{DAY_SECONDS, UnixTime};
use serde_json::json;

fn after_days(days: u64) -> UnixTime {
    NOW.plus_seconds(days * DAY_SECONDS)
}

#[test]
fn ad_expired() {
    let mut host = Host::fresh();
    host.accept(&Ad::b_g1());
    host.now = UnixTime(after_days(30).0 + 1);
    host.reject(&Ad::c_g1(), Reason::Expired);
    host.reject(&Ad::b_g1().sequence(8), Reason::Expired);
    assert_eq!(host.offer(&Ad::b_g1()), Verdict::Unchanged);
    assert_eq!(host.names(), ["b.g1"]);
}

#[test]
fn cert_expired() {
    let mut host = Host::fresh();
    let renewed = |sequence: u64, day: u64| {
        Ad::b_g1().sequence(sequence).edit(|payload| {
            payload["issued"] = json!(after_days(day).0);
            payload["expires"] = json!(after_days(day + 30).0);
        })
    };
    host.now = after_days(89);
    host.accept(&renewed(8, 89));
    host.now = UnixTime(after_days(90).0 + 1);
    host.reject(&renewed(9, 90), Reason::CertExpired);
    assert_eq!(host.offer(&renewed(8, 89)), Verdict::Unchanged);
    assert_eq!(host.remote("b.g1").expires, after_days(90));
    assert_eq!(host.remote("b.g1").held_until, after_days(120));
}

#[test]
fn hold_ends() {
    let mut host = Host::settled();
    host.now = after_days(20);
    host.accept(&Ad::c_g1().sequence(8).edit(|payload| {
        payload["issued"] = json!(after_days(20).0);
        payload["expires"] = json!(after_days(50).0);
    }));
    host.now = after_days(60);
    assert!(host.receiver.expire(host.now).dropped.is_empty());
    host.now.0 += 1;
    let sweep = host.receiver.expire(host.now);
    assert!(!sweep.clock_suspect);
    let reasons: Vec<Reason> = sweep.dropped.iter().map(|d| d.rejected.reason).collect();
    assert_eq!(reasons, [Reason::Expired; 2]);
    assert_eq!(host.names(), ["c.g1"]);
}

#[test]
fn all_past_hold_at_once_blames_the_clock() {
    let mut host = Host::settled();
    host.now = after_days(3_000);
    let sweep = host.receiver.expire(host.now);
    assert!(sweep.clock_suspect && sweep.dropped.is_empty());
    assert_eq!(host.names(), ["b.g1", "b.g2", "c.g1"]);

    let held = host.receiver.held().clone();
    let (restarted, sweep) = Receiver::at_cold_start(held, host.now, &host.facts);
    assert!(sweep.clock_suspect && sweep.dropped.is_empty());
    assert_eq!(restarted.remotes(host.now, &host.facts).len(), 3);
}

#[test]
fn clock_1970_and_plus_1d() {
    for now in [UnixTime(0), NOW.plus_seconds(DAY_SECONDS)] {
        let mut host = Host::fresh();
        host.now = now;
        host.accept(&Ad::b_g1());
    }
}

#[test]
fn a_tombstone_goes_when_nothing_of_it_could_be_replayed() {
    let mut host = Host::settled();
    host.accept(&Ad::b_g1().sequence(8).edit(|payload| {
        payload["state"] = json!("withdrawn");
        payload["tunnels"] = json!([]);
    }));
    host.now = after_days(55);
    for ad in [Ad::b_g2(), Ad::c_g1()] {
        host.accept(&ad.sequence(8).edit(|payload| {
            payload["issued"] = json!(after_days(50).0);
            payload["expires"] = json!(after_days(80).0);
        }));
    }
    host.now = UnixTime(after_days(60).0 + 1);
    assert!(host.receiver.expire(host.now).dropped.is_empty());
    assert_eq!(host.receiver.held().gateways.len(), 2);
    host.reject(&Ad::b_g1(), Reason::Expired);
}

#[test]
fn life_too_long() {
    let mut host = Host::settled();
    let ad = Ad::b_g1().sequence(8).edit(|payload| payload["expires"] = json!(after_days(32).0));
    host.reject(&ad, Reason::LifetimeTooLong);
    let ad =
        Ad::b_g1().generation(101).edit_cert(|cert| cert["expires"] = json!(after_days(101).0));
    host.reject(&ad, Reason::LifetimeTooLong);
    let list = next_list(|list| list.expires = after_days(801));
    host.reject_list(&list, Reason::LifetimeTooLong);
}

#[test]
fn set_expired() {
    let mut host = Host::fresh();
    host.accept_list(&next_list(|list| list.expires = after_days(1)));
    host.accept(&Ad::b_g1());
    host.now = after_days(2);
    host.accept(&Ad::b_g1().generation(101));
    host.reject(&Ad::c_g1(), Reason::ClusterSetExpired);
    assert_eq!(host.names(), ["b.g1"]);
}

#[test]
fn a_list_that_says_drop_ends_lanes_when_it_expires() {
    let mut host = Host::settled();
    host.accept_list(&next_list(|list| {
        list.expires = after_days(1);
        list.on_expiry = OnExpiry::Drop;
    }));
    assert_eq!(host.names().len(), 3);
    host.now = after_days(2);
    assert!(host.names().is_empty());
    host.reject(&Ad::b_g1().sequence(8), Reason::ClusterSetExpired);
}

#[test]
fn an_expired_list_still_revokes() {
    let mut host = Host::settled();
    host.now = after_days(400);
    let dropped = host.accept_list(&next_list(|list| {
        list.members.remove(&member("b"));
    }));
    assert_eq!(dropped.len(), 2);
}
