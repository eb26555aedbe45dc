//! Hostile inputs about the ClusterSet: root, recovery, versions and entries.

use crate::fixture::*;
use sealane_api::clusterset::ListPosition;
use sealane_api::kinds::ClusterSetSpec;
use sealane_api::reason::Reason;
use sealane_api::receiver::{Receiver, Verdict};
use sealane_api::sign;
use sealane_api::signed::{Signed, Statement};
use serde_json::json;

const ROOT_1: u8 = 0x31;
const RECOVERY_1: u8 = 0x32;

fn link(signer: u8, index: u64, root: u8, recovery: u8) -> Signed {
    let payload = json!({
        "v": 1, "clusterset": clusterset_id().as_str(), "index": index,
        "root": seed(root).public().to_string(), "recovery": seed(recovery).public().to_string(),
    });
    Signed::seal(&seed(signer), Statement::RootLink, payload.to_string().as_bytes())
}

fn linked(signer: u8, links: Vec<Signed>, version: u64) -> ClusterSetSpec {
    let mut list = list();
    list.position = ListPosition { link_index: links.len() as u64, version };
    sign::clusterset(&seed(signer), genesis(), links, &list)
}

fn first_link() -> Signed {
    link(RECOVERY, 1, ROOT_1, RECOVERY_1)
}

#[test]
fn set_forged() {
    let mut host = Host::settled();
    let mut next = list();
    next.position.version = 6;
    let forged = sign::clusterset(&seed(identity_of("b")), genesis(), Vec::new(), &next);
    host.reject_list(&forged, Reason::ClusterSetBadSignature);
}

#[test]
fn an_administrator_makes_the_first_list_and_the_next() {
    let first = sealane_api::clusterset::ClusterSet::first(clusterset_id(), NOW);
    let mut host = Host::with(&first);
    let mut next = first.next(NOW);
    next.members = list().members;
    host.accept_list(&signed_list(&next));
    host.accept(&Ad::b_g1());
}

#[test]
fn a_broker_without_a_namespace_is_asked_for_the_one_of_the_project() {
    let mut host = Host::fresh();
    let mut payload = list_json(&list());
    payload["version"] = json!(6);
    payload["brokers"] = json!([
        {"url": "https://broker.example:6464"},
        {"url": "https://api.example:6443", "namespace": "team-a"},
    ]);
    host.accept_list(&signed_json(&payload));
    let brokers = &host.receiver.clusterset().unwrap().brokers;
    let namespaces: Vec<&str> = brokers.iter().map(|broker| broker.namespace.as_str()).collect();
    assert_eq!(namespaces, ["sealane-system", "team-a"]);
}

#[test]
fn set_by_old_root() {
    let mut host = Host::settled();
    host.accept_list(&linked(ROOT_1, vec![first_link()], 1));
    host.reject_list(&linked(ROOT, vec![first_link()], 9), Reason::ClusterSetBadSignature);
    host.reject_list(&linked(ROOT, Vec::new(), 9), Reason::ClusterSetRolledBack);
}

#[test]
fn set_fork_and_rollback() {
    let mut host = Host::settled();
    assert_eq!(host.offer_list(&signed_list(&list())), Verdict::Unchanged);
    let mut fork = list();
    fork.members.remove(&member("a"));
    host.reject_list(&signed_list(&fork), Reason::ClusterSetFork);
    let mut older = list();
    older.position.version = 4;
    host.reject_list(&signed_list(&older), Reason::ClusterSetRolledBack);
    // Who shows the older one is behind; who shows the same, the other, a newer or a forged one is not.
    assert!(host.receiver.outranks(&signed_list(&older)));
    let mut forged = signed_list(&older);
    forged.signed.signature = signed_list(&list()).signed.signature;
    for other in [signed_list(&list()), signed_list(&fork), next_list(|_| {}), forged] {
        assert!(!host.receiver.outranks(&other));
    }
}

#[test]
fn a_list_below_the_tokens_minimum_is_rolled_back() {
    let minimum = ListPosition { link_index: 0, version: 6 };
    let mut receiver = Receiver::new(clusterset_id(), minimum);
    let verdict = receiver.accept_clusterset(NOW, &facts(), &signed_list(&list()));
    assert_eq!(reason_of(&verdict), Some(Reason::ClusterSetRolledBack));
    let verdict = receiver.accept_clusterset(NOW, &facts(), &next_list(|_| {}));
    assert!(matches!(verdict, Verdict::Accepted { .. }));
}

#[test]
fn root_thief_max() {
    let mut host = Host::settled();
    host.accept_list(&linked(ROOT, Vec::new(), (1 << 53) - 1));
    host.accept_list(&linked(ROOT_1, vec![first_link()], 1));
    let position = host.receiver.clusterset().unwrap().position;
    assert_eq!(position, ListPosition { link_index: 1, version: 1 });
    assert_eq!(host.names(), ["b.g1", "b.g2", "c.g1"]);
}

#[test]
fn link_by_root() {
    let mut host = Host::settled();
    let forged = link(ROOT, 1, ROOT_1, RECOVERY_1);
    host.reject_list(&linked(ROOT_1, vec![forged], 1), Reason::LinkBadSignature);
}

#[test]
fn link_gap() {
    let mut host = Host::settled();
    let third = link(RECOVERY_1, 3, 0x41, 0x42);
    host.reject_list(&linked(0x41, vec![first_link(), third], 1), Reason::LinkGap);
}

#[test]
fn link_fork() {
    let mut host = Host::settled();
    host.accept_list(&linked(ROOT_1, vec![first_link()], 1));
    let other = link(RECOVERY, 1, 0x41, 0x42);
    host.reject_list(&linked(0x41, vec![other], 2), Reason::LinkFork);
}

#[test]
fn link_mismatch() {
    let mut host = Host::settled();
    let mut next = list();
    next.position = ListPosition { link_index: 0, version: 9 };
    let spec = sign::clusterset(&seed(ROOT_1), genesis(), vec![first_link()], &next);
    host.reject_list(&spec, Reason::LinkMismatch);
}

#[test]
fn another_genesis_is_another_clusterset() {
    let mut host = Host::settled();
    let mut spec = next_list(|_| {});
    spec.genesis.root = seed(0x51).public().to_string();
    host.reject_list(&spec, Reason::WrongClusterSet);
    spec.genesis.root = "short".to_owned();
    host.reject_list(&spec, Reason::BadEncoding);
}

#[test]
fn set_dups() {
    let mut host = Host::fresh();
    let changed = |change: fn(&mut serde_json::Value)| {
        let mut payload = list_json(&list());
        payload["version"] = json!(6);
        change(&mut payload["members"]);
        signed_json(&payload)
    };
    let twice = changed(|members| {
        members[2]["id"] = json!("b");
    });
    host.reject_list(&twice, Reason::DuplicateMember);
    let shared = changed(|members| members[2]["keys"] = members[1]["keys"].clone());
    host.reject_list(&shared, Reason::DuplicateKey);
    let roots = changed(|members| {
        members[2]["keys"] = json!([seed(ROOT).public().to_string()]);
    });
    host.reject_list(&roots, Reason::DuplicateKey);
    let joins = changed(|members| {
        members[2]["join"] = json!({"key": members[1]["keys"][0], "before": 9});
    });
    host.reject_list(&joins, Reason::DuplicateKey);
    let keyless = changed(|members| members[2]["keys"] = json!([]));
    host.reject_list(&keyless, Reason::EntryWithoutKey);
    let misnamed = changed(|members| members[2]["id"] = json!("C"));
    host.reject_list(&misnamed, Reason::BadName);
    let bad_space = changed(|members| members[2]["namespaces"] = json!(["*", "x"]));
    host.reject_list(&bad_space, Reason::BadName);
}

#[test]
fn a_list_that_is_believed_survives_a_restart_whole() {
    let mut host = Host::fresh();
    host.accept_list(&linked(ROOT_1, vec![first_link()], 1));
    for ad in [Ad::b_g1(), Ad::c_g1()] {
        host.accept(&ad);
    }
    let disk = serde_json::to_vec(host.receiver.held()).unwrap();
    let held = serde_json::from_slice(&disk).unwrap();
    let (restarted, sweep) = Receiver::at_cold_start(held, host.now, &host.facts);
    assert_eq!(sweep, sealane_api::receiver::Sweep::default());
    assert_eq!(serde_json::to_vec(restarted.held()).unwrap(), disk);
    assert_eq!(restarted.remotes(host.now, &host.facts), host.remotes());
    let mut host = Host { receiver: restarted, ..host };
    assert_eq!(host.offer(&Ad::b_g1()), Verdict::Unchanged);
    host.reject_list(&linked(ROOT, Vec::new(), 9), Reason::ClusterSetRolledBack);
}

#[test]
fn what_the_disk_cannot_prove_is_dropped_at_start() {
    let host = Host::settled();
    let mut held = host.receiver.held().clone();
    let id = sealane_api::names::GatewayId::parse("b.g1").unwrap();
    let forged = Ad { key: 0x77, ..Ad::b_g1() };
    held.gateways.get_mut(&id).unwrap().spec = Some(forged.spec());
    let (restarted, sweep) = Receiver::at_cold_start(held, host.now, &host.facts);
    assert_eq!(sweep.dropped.len(), 1);
    assert_eq!(sweep.dropped[0].rejected.reason, Reason::BadSignature);
    assert_eq!(restarted.remotes(host.now, &host.facts).len(), 2);
    assert_eq!(sweep.clusterset, None);

    let mut held = host.receiver.held().clone();
    held.clusterset.as_mut().unwrap().signed.signature = first_link().signature;
    let (restarted, sweep) = Receiver::at_cold_start(held, host.now, &host.facts);
    let problem = sweep.clusterset.map(|rejected| rejected.reason);
    assert_eq!(problem, Some(Reason::ClusterSetBadSignature));
    assert!(restarted.clusterset().is_none());
    assert!(restarted.remotes(host.now, &host.facts).is_empty());
}
