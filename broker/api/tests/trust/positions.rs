//! Hostile inputs about order: replays, revocations, withdrawals and who speaks last.

use crate::fixture::*;
use sealane_api::reason::Reason;
use sealane_api::receiver::Verdict;
use serde_json::json;

#[test]
fn replay_same_and_older() {
    let mut host = Host::settled();
    assert_eq!(host.offer(&Ad::b_g1()), Verdict::Unchanged);
    host.reject(&Ad::b_g1().sequence(6), Reason::SequenceRolledBack);
    host.reject(&Ad::b_g1().generation(99).sequence(107), Reason::SequenceRolledBack);
}

#[test]
fn seq_max() {
    let mut host = Host::settled();
    host.accept(&Ad::b_g1().sequence((1 << 53) - 1));
    host.accept(&Ad::b_g1().generation(101).sequence(1));
    assert_eq!(host.remote("b.g1").sequence, 1);
}

#[test]
fn equivocation() {
    let mut host = Host::settled();
    host.reject(&Ad::b_g1().pods(&["10.2.0.0/24"]), Reason::Equivocation);
}

#[test]
fn revoked_gateway() {
    let mut host = Host::settled();
    let revoking = Ad::b_g2().generation(300).edit_cert(|cert| {
        cert["revoked"] = json!([{"gateway": "g1", "below": 250}]);
    });
    let (_, dropped) = host.accept(&revoking);
    assert_eq!(dropped.len(), 1);
    assert_eq!(dropped[0].gateway.to_string(), "b.g1");
    assert_eq!(dropped[0].rejected.reason, Reason::GatewayRevoked);
    assert_eq!(host.names(), ["b.g2", "c.g1"]);
    host.reject(&Ad::b_g1().sequence(50), Reason::GatewayRevoked);
    host.accept(&Ad::b_g1().generation(301));
    assert_eq!(host.names(), ["b.g1", "b.g2", "c.g1"]);
}

#[test]
fn a_certificate_that_revokes_itself_is_dead() {
    let mut host = Host::settled();
    let suicide = Ad::b_g1().generation(300).edit_cert(|cert| {
        cert["revoked"] = json!([{"gateway": "g1", "below": 301}]);
    });
    host.reject(&suicide, Reason::GatewayRevoked);
    // Naming itself below its own generation is how a keeper tells of its past.
    host.accept(&Ad::b_g1().generation(300).edit_cert(|cert| {
        cert["revoked"] = json!([{"gateway": "g1", "below": 300}]);
    }));
}

#[test]
fn revoke_foreign() {
    let mut host = Host::settled();
    host.accept(&Ad::c_g1().generation(300).edit_cert(|cert| {
        cert["revoked"] = json!([{"gateway": "g1", "below": 250}, {"gateway": "g2", "below": 250}]);
    }));
    host.accept(&Ad::b_g1().sequence(8));
    assert_eq!(host.names(), ["b.g1", "b.g2", "c.g1"]);
}

#[test]
fn a_withdrawal_ends_the_lane_and_its_past_cannot_come_back() {
    let mut host = Host::settled();
    let last_word = Ad::b_g1().sequence(8).edit(|payload| {
        payload["state"] = json!("withdrawn");
        payload["tunnels"] = json!([]);
        payload["networks"] = json!({"pods": [], "services": [], "external": []});
    });
    host.accept(&last_word);
    assert_eq!(host.names(), ["b.g2", "c.g1"]);
    host.reject(&Ad::b_g1(), Reason::SequenceRolledBack);
    assert_eq!(host.offer(&last_word), Verdict::Unchanged);
    host.accept(&Ad::b_g1().generation(101));
    assert_eq!(host.names(), ["b.g1", "b.g2", "c.g1"]);
}

#[test]
fn the_identity_listed_first_wins() {
    let two_keys = |first: u8, second: u8| {
        next_list(|list| {
            let keys = vec![seed(first).public(), seed(second).public()];
            list.members.get_mut(&member("b")).unwrap().keys = keys;
        })
    };
    let mut host = Host::settled();
    host.accept_list(&two_keys(0xbe, 0xb0));
    let renewed = Ad { identity: 0xbe, ..Ad::b_g1().generation(1) };
    host.accept(&renewed);
    host.reject(&Ad::b_g1().generation(900), Reason::Superseded);
}

#[test]
fn seventeenth_gateway() {
    let mut host = Host::fresh();
    for number in 1..=16 {
        host.accept(&Ad::of("a", &format!("g{number}"), number));
    }
    // 16 gateways cost nearly all checks of a second.
    host.now.0 += 1;
    host.reject(&Ad::of("a", "g17", 17), Reason::TooManyGateways);
    host.accept(&Ad::c_g1());
}

#[test]
fn a_withdrawn_gateway_makes_room_for_another() {
    let mut host = Host::fresh();
    host.accept_list(&next_list(|list| {
        list.members.get_mut(&member("b")).unwrap().gateways = 2;
    }));
    host.accept(&Ad::b_g1());
    host.accept(&Ad::b_g2());
    host.reject(&Ad::of("b", "g3", 3), Reason::TooManyGateways);
    host.accept(&Ad::b_g2().sequence(8).edit(|payload| {
        payload["state"] = json!("withdrawn");
        payload["tunnels"] = json!([]);
    }));
    host.accept(&Ad::of("b", "g3", 3));
}

/// Gateways that come and go under ever new names.
#[test]
fn the_end_of_a_gateway_is_taken_however_many_ended_before_and_makes_room_for_another() {
    let withdrawn = |ad: Ad| {
        ad.sequence(8).edit(|payload| {
            payload["state"] = json!("withdrawn");
            payload["tunnels"] = json!([]);
        })
    };
    let short = |ad: Ad| ad.edit(|payload| payload["expires"] = json!(NOW.0 + 86_400));
    let mut host = Host::fresh();
    host.accept_list(&next_list(|list| {
        list.members.get_mut(&member("b")).unwrap().gateways = 1;
    }));
    host.accept(&Ad::b_g1());
    let until_noon = |ad: Ad| ad.edit(|payload| payload["expires"] = json!(NOW.0 + 43_200));
    host.accept(&until_noon(withdrawn(Ad::c_g1())));
    for number in 0..256 {
        // A second brings no more checks of signatures than a member has need of.
        host.now.0 += 1;
        let gone = withdrawn(Ad::of("b", &format!("t{number}"), 3));
        host.accept(&if number == 70 { short(gone) } else { gone });
    }
    let unheard_of = withdrawn(Ad::of("b", "t256", 3));
    host.reject(&unheard_of, Reason::TooManyGateways);
    let held = |host: &Host| -> Vec<String> {
        host.receiver.held().gateways.keys().map(ToString::to_string).collect()
    };
    let before = held(&host);
    host.accept(&withdrawn(Ad::b_g1()));
    assert_eq!(host.names(), [""; 0]);
    let forgotten: Vec<String> =
        before.into_iter().filter(|name| !held(&host).contains(name)).collect();
    assert_eq!(forgotten, ["b.t70"], "what of b could be replayed for the shortest time");
    assert!(held(&host).contains(&"c.g1".to_owned()), "nobody makes room at another's cost");
    host.reject(&Ad::b_g1(), Reason::SequenceRolledBack);
    host.accept(&Ad::b_g2());
    assert_eq!(host.names(), ["b.g2"]);
}

#[test]
fn fewer_gateways_granted_ends_those_accepted_last() {
    let mut host = Host::fresh();
    host.accept(&Ad::b_g2());
    host.now.0 += 10;
    host.accept(&Ad::b_g1());
    let dropped = host.accept_list(&next_list(|list| {
        list.members.get_mut(&member("b")).unwrap().gateways = 1;
    }));
    assert_eq!(dropped[0].rejected.reason, Reason::TooManyGateways);
    assert_eq!(host.names(), ["b.g2"]);
}

#[test]
fn a_gateway_that_never_rests_is_heard_once_a_second_after_a_burst_and_its_end_at_once() {
    let mut host = Host::settled();
    host.now.0 += 60;
    for sequence in 8..13 {
        host.accept(&Ad::b_g1().sequence(sequence));
    }
    host.reject(&Ad::b_g1().sequence(13), Reason::RateLimited);
    // The others are heard, and in a minute so is it: sixty words of it, not more.
    host.accept(&Ad::c_g1().sequence(8));
    let mut accepted = 0;
    for step in 0..240 {
        host.now.0 += u64::from(step % 4 == 0);
        let verdict = host.offer(&Ad::b_g1().sequence(13 + step));
        accepted += u32::from(matches!(verdict, Verdict::Accepted { .. }));
    }
    assert_eq!(accepted, 60);
    let withdrawn = |sequence| {
        Ad::b_g1().sequence(sequence).edit(|payload| {
            payload["state"] = json!("withdrawn");
            payload["tunnels"] = json!([]);
        })
    };
    host.accept(&withdrawn(900));
    host.reject(&withdrawn(901), Reason::RateLimited);
    host.now.0 += 2;
    host.accept(&withdrawn(901));
}
