//! What is wrong with a host's standing, and the one command that mends it.

use sealane_agent::line::LineState;
use sealane_agent::membership::Membership;
use sealane_agent::standing::Standing;
use sealane_api::cidr::Cidr;
use sealane_api::clusterset::ClusterSet;
use sealane_api::names::ClusterId;
use sealane_api::sign;
use sealane_view::status::ProblemView;

use crate::fixture::{NOW, cidrs, clusterset_id, list, no_broker, seed, token};

const OURS: u8 = 0x44;

/// A member that enrolled with its token.
fn enrolled() -> Membership {
    let token = token(vec![no_broker()]);
    let identity = seed(OURS).public();
    let join = token.join.as_ref().unwrap();
    let enrolment = sign::enrolment(join, &clusterset_id(), &token.member, &identity);
    Membership::of_token(&token, Some(enrolment))
}

fn connected() -> LineState {
    LineState { connected: true, ..LineState::default() }
}

fn turned_away() -> LineState {
    let last_error = Some("it does not take the credential".to_owned());
    LineState { is_refused: true, last_error, ..LineState::default() }
}

fn problems(
    membership: &Membership,
    set: Option<&ClusterSet>,
    refused: &[Cidr],
    line: &LineState,
) -> Vec<ProblemView> {
    let identity = Some(seed(OURS).public());
    Standing { membership, set, identity, refused, line }.problems()
}

fn only(problems: Vec<ProblemView>) -> ProblemView {
    let [one] = <[ProblemView; 1]>::try_from(problems).unwrap();
    one
}

#[test]
fn a_listed_member_whose_token_is_the_newest_has_no_problem() {
    let set = list(NOW);
    assert_eq!(problems(&enrolled(), Some(&set), &[], &connected()), []);
}

#[test]
fn networks_that_are_not_granted_are_one_problem_with_one_command() {
    let (set, refused) = (list(NOW), cidrs(&["10.9.0.0/16", "10.4.0.0/15", "fd00:9::/48"]));
    let it = only(problems(&enrolled(), Some(&set), &refused, &connected()));
    assert_eq!(it.reason, "CidrNotGranted");
    assert_eq!(it.thing, "10.9.0.0/16, 10.4.0.0/15, fd00:9::/48");
    assert_eq!(
        it.next,
        "have the administrator run: sealane member update --cluster me --cidr 10.4.0.0/15 \
         --cidr 10.9.0.0/16 --cidr fd00:4::/32 --cidr fd00:9::/48 \
         --dir clusterset --kubeconfig admin.kubeconfig"
    );
}

#[test]
fn a_network_of_another_member_asks_for_the_right_token_and_for_no_grant() {
    let (set, refused) = (list(NOW), cidrs(&["10.9.0.0/16", "10.2.7.0/24"]));
    let it = only(problems(&enrolled(), Some(&set), &refused, &connected()));
    assert!(it.cause.contains("10.2.0.0/16 is granted to b"), "{}", it.cause);
    assert!(it.next.starts_with("is this the right token? if this host is b:"), "{}", it.next);
    assert!(!it.next.contains("member update"), "{}", it.next);
}

#[test]
fn a_member_off_the_list_is_told_so_and_nothing_else() {
    let mut set = list(NOW);
    set.members.remove(&ClusterId::parse("me").unwrap());
    let refused = cidrs(&["10.4.0.0/16"]);
    let it = only(problems(&enrolled(), Some(&set), &refused, &turned_away()));
    assert_eq!(it.reason, "MemberRevoked");
    assert_eq!(it.cause, "this member was removed from the list, which is at version 5");
    assert!(it.next.contains("sealane leave --without-broker"), "{}", it.next);
}

#[test]
fn a_credential_that_is_not_taken_is_no_broker_that_is_away() {
    let set = list(NOW);
    for (set, others) in [(None, 0), (Some(&set), 0)] {
        let it = problems(&enrolled(), set, &[], &turned_away());
        assert_eq!(it.len(), others + 1);
        assert_eq!(it[0].reason, "CredentialRefused");
        assert!(
            it[0].next.contains("sealane token renew --cluster me --dir clusterset"),
            "{}",
            it[0].next
        );
    }
    let away = LineState { last_error: Some("Connection refused".into()), ..LineState::default() };
    let it = only(problems(&enrolled(), None, &[], &away));
    assert_eq!(it.cause, "no ClusterSet was accepted yet: Connection refused");
    assert!(it.next.contains("reaches the broker"), "{}", it.next);
    let it = only(problems(&enrolled(), None, &[], &connected()));
    assert!(it.next.contains("sealane clusterset apply --dir clusterset"), "{}", it.next);
}

#[test]
fn who_joins_again_with_a_used_token_is_told_of_rekey() {
    let mut pinned = list(NOW);
    let me = pinned.members.get_mut(&ClusterId::parse("me").unwrap()).unwrap();
    (me.keys, me.join) = (vec![seed(0x77).public()], None);
    let it = only(problems(&enrolled(), Some(&pinned), &[], &connected()));
    assert_eq!(it.reason, "IdentityNotOurs");
    let command = "sealane token create --cluster me --rekey --dir clusterset \
                   --kubeconfig admin.kubeconfig --token-file me.token";
    assert!(it.next.contains(command), "{}", it.next);

    let mut membership = enrolled();
    membership.rival = Some("me.host under identity 2qtf".to_owned());
    let it = only(problems(&membership, Some(&list(NOW)), &[], &connected()));
    assert_eq!(it.reason, "EnrolmentConflict");
    assert!(it.cause.contains("me.host under identity 2qtf"), "{}", it.cause);
    assert!(it.next.contains(command), "{}", it.next);
}

#[test]
fn a_token_that_a_newer_one_replaced_is_named() {
    let mut set = list(NOW);
    let me = set.members.get_mut(&ClusterId::parse("me").unwrap()).unwrap();
    me.join.as_mut().unwrap().key = seed(0xda).public();
    let it = only(problems(&enrolled(), Some(&set), &[], &connected()));
    assert_eq!(it.reason, "EnrolmentBadSignature");
    assert!(it.next.contains("newest token"), "{}", it.next);
}
