//! Hostile inputs about names: who an object claims to be of.

use crate::fixture::*;
use sealane_api::clusterset::JoinKey;
use sealane_api::names::ClusterSetId;
use sealane_api::reason::{Reason, Warning};
use sealane_api::receiver::Verdict;
use serde_json::json;

#[test]
fn other_members_name() {
    let mut host = Host::settled();
    let ad = Ad { name: "b.g1".to_owned(), ..Ad::c_g1() };
    host.reject(&ad, Reason::CertBadSignature);
}

#[test]
fn name_mismatch() {
    let mut host = Host::settled();
    host.reject_spec("c.g9", &Ad::b_g1().sequence(8).spec(), Reason::NameMismatch);
}

#[test]
fn hint_lies() {
    let mut host = Host::settled();
    let mut spec = Ad::b_g1().sequence(8).spec();
    spec.gateway = "g2".to_owned();
    host.reject_spec("b.g2", &spec, Reason::EnvelopeMismatch);
}

#[test]
fn payload_names_another_gateway_than_its_certificate() {
    let mut host = Host::settled();
    let ad = Ad::b_g1().sequence(8).edit(|payload| payload["gateway"] = json!("g2"));
    host.reject(&ad, Reason::EnvelopeMismatch);
}

#[test]
fn other_clusterset() {
    let mut host = Host::settled();
    let other = ClusterSetId::of_genesis(&seed(0x51).public(), &seed(0x52).public());
    let foreign = |ad: Ad| {
        ad.edit_cert(|cert| cert["clusterset"] = json!(other.as_str()))
            .edit(|payload| payload["clusterset"] = json!(other.as_str()))
    };
    host.reject(&Ad { identity: 0x66, ..foreign(Ad::b_g1()) }, Reason::CertBadSignature);
    host.reject(&foreign(Ad::b_g1()), Reason::WrongClusterSet);
}

#[test]
fn unknown_member() {
    let mut host = Host::settled();
    let ad = Ad::of("nobody", "g1", 3);
    host.reject(&ad, Reason::UnknownMember);
}

#[test]
fn unicode_id() {
    let mut host = Host::settled();
    let long = "x".repeat(64);
    for name in ["b\u{435}", "B", "b.", &long, "-b", ""] {
        let mut spec = Ad::b_g1().sequence(8).spec();
        spec.member = name.to_owned();
        host.reject_spec(&format!("{name}.g1"), &spec, Reason::BadName);
    }
    for gateway in ["g_1", "G1", "g1.", &"g".repeat(151)] {
        let mut spec = Ad::b_g1().sequence(8).spec();
        spec.gateway = gateway.to_owned();
        host.reject_spec(&format!("b.{gateway}"), &spec, Reason::BadName);
    }
}

#[test]
fn node_names_with_dots_are_gateways() {
    let mut host = Host::fresh();
    host.accept(&Ad::of("b", "ip-10-0-0-1.eu.compute.internal", 1));
}

#[test]
fn revoked_member() {
    let mut host = Host::settled();
    let without_b = next_list(|list| {
        list.members.remove(&member("b"));
    });
    let dropped = host.accept_list(&without_b);
    let reasons: Vec<Reason> = dropped.iter().map(|dropped| dropped.rejected.reason).collect();
    assert_eq!(reasons, [Reason::MemberRevoked; 2]);
    assert_eq!(host.names(), ["c.g1"]);
    host.reject(&Ad::b_g1(), Reason::MemberRevoked);
}

#[test]
fn revoked_then_old_set() {
    let mut host = Host::settled();
    host.accept_list(&next_list(|list| {
        list.members.remove(&member("b"));
    }));
    host.reject_list(&signed_list(&list()), Reason::ClusterSetRolledBack);
    host.reject(&Ad::b_g1(), Reason::MemberRevoked);
}

#[test]
fn a_readmitted_member_is_believed_again_by_the_same_bytes() {
    let mut host = Host::settled();
    host.accept_list(&next_list(|list| {
        list.members.remove(&member("b"));
    }));
    host.accept_list(&next_list(|list| list.position.version += 1));
    host.accept(&Ad::b_g1());
    assert_eq!(host.names(), ["b.g1", "c.g1"]);
}

#[test]
fn own_advertisements_are_no_peers() {
    let mut host = Host::settled();
    let own = Ad::of("me", "host", 1);
    assert!(matches!(host.offer(&own), Verdict::Own(position) if position.sequence == 7));
    assert_eq!(host.names(), ["b.g1", "b.g2", "c.g1"]);
}

#[test]
fn a_foreign_key_under_the_own_name_is_alarmed() {
    let mut host = Host::settled();
    host.reject(&Ad::of("me", "host", 5), Reason::OwnNameTaken);
}

#[test]
fn a_foreign_identity_pinned_for_the_own_name_is_said() {
    let join = JoinKey { key: seed(0xd1).public(), before: NOW };
    let ours = vec![Warning::IdentityNotOurs];
    for (pinned, said) in
        [(&[][..], vec![]), (&[0xd0], vec![]), (&[0x99], ours), (&[0x99, 0xd0], vec![])]
    {
        let list = next_list(|list| {
            let me = list.members.get_mut(&member("me")).unwrap();
            me.keys = pinned.iter().map(|key| seed(*key).public()).collect();
            me.join = Some(join.clone());
        });
        let verdict = Host::settled().offer_list(&list);
        let Verdict::Accepted { warnings, .. } = verdict else { panic!("{verdict:?}") };
        assert_eq!(warnings, said, "{pinned:x?}");
    }
}
