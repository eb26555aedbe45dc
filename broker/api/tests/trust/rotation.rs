//! Keys that change while lanes stay: root, identity, gateway and tunnel keys, and forks of root links.

use crate::fixture::*;
use sealane_api::clusterset::{ClusterSet, ListPosition};
use sealane_api::keys::VerifyKey;
use sealane_api::kinds::ClusterSetSpec;
use sealane_api::psk::{self, LaneEnd};
use sealane_api::reason::Reason;
use sealane_api::receiver::{Receiver, Verdict};
use sealane_api::remote::{RemoteGateway, RemoteTunnel};
use sealane_api::sign::{self, Appointed};
use sealane_api::signed::Signed;
use serde_json::json;

const ROOT_1: u8 = 0x31;
const RECOVERY_1: u8 = 0x32;
const ROOT_2: u8 = 0x41;
const RECOVERY_2: u8 = 0x42;

fn link(signer: u8, index: u64, root: u8, recovery: u8) -> Signed {
    let appointed = Appointed { root: seed(root).public(), recovery: seed(recovery).public() };
    sign::root_link(&seed(signer), &clusterset_id(), index, appointed)
}

/// The fixture's list, signed anew by the root key that the links appoint last.
fn rotated(root: u8, links: Vec<Signed>) -> ClusterSetSpec {
    let list = links.iter().fold(list(), |list, _| list.under_next_root(NOW));
    sign::clusterset(&seed(root), genesis(), links, &list)
}

fn first_link() -> Signed {
    link(RECOVERY, 1, ROOT_1, RECOVERY_1)
}

fn tunnels(host: &Host) -> Vec<Vec<RemoteTunnel>> {
    host.remotes().into_iter().map(|remote: RemoteGateway| remote.tunnels).collect()
}

#[test]
fn a_root_is_rotated_without_a_word_of_any_member() {
    let mut host = Host::settled();
    let lanes = host.remotes();
    let dropped = host.accept_list(&rotated(ROOT_1, vec![first_link()]));
    assert!(dropped.is_empty());
    assert_eq!(host.remotes(), lanes);
    let second = vec![first_link(), link(RECOVERY_1, 2, ROOT_2, RECOVERY_2)];
    assert!(host.accept_list(&rotated(ROOT_2, second)).is_empty());
    let position = host.receiver.clusterset().unwrap().position;
    assert_eq!(position, ListPosition { link_index: 2, version: 1 });
    assert_eq!(host.remotes(), lanes);
    host.accept(&Ad::b_g1().sequence(8));
    // Whoever has an older root key signs nothing any more.
    host.reject_list(&next_list(|list| list.position.version = 99), Reason::ClusterSetRolledBack);
    let old = rotated(ROOT_1, vec![first_link(), link(RECOVERY_1, 2, ROOT_2, RECOVERY_2)]);
    host.reject_list(&old, Reason::ClusterSetBadSignature);
}

#[test]
fn a_host_that_missed_the_first_rotation_follows_both_links() {
    let mut host = Host::settled();
    let links = vec![first_link(), link(RECOVERY_1, 2, ROOT_2, RECOVERY_2)];
    assert!(host.accept_list(&rotated(ROOT_2, links)).is_empty());
    assert_eq!(host.names(), ["b.g1", "b.g2", "c.g1"]);
}

#[test]
fn an_old_recovery_key_appoints_nobody() {
    let mut host = Host::settled();
    host.accept_list(&rotated(ROOT_1, vec![first_link()]));
    let stolen = vec![first_link(), link(RECOVERY, 2, ROOT_2, RECOVERY_2)];
    host.reject_list(&rotated(ROOT_2, stolen), Reason::LinkBadSignature);
}

/// A thief of the recovery key appoints a root of its own, and this host hears of that one first.
fn deceived() -> (Host, ClusterSetSpec) {
    let mut host = Host::settled();
    let thief = vec![link(RECOVERY, 1, ROOT_2, RECOVERY_2)];
    host.accept_list(&rotated(ROOT_2, thief));
    (host, rotated(ROOT_1, vec![first_link()]))
}

fn accept_fork(host: &mut Host, spec: &ClusterSetSpec) -> Verdict {
    let before = host.receiver.held().clone();
    let verdict = host.receiver.accept_fork(host.now, &host.facts, spec);
    if !matches!(verdict, Verdict::Accepted { .. }) {
        assert!(*host.receiver.held() == before, "{verdict:?}");
    }
    verdict
}

#[test]
fn the_operator_takes_the_other_side_of_a_fork_and_stays_there() {
    let (mut host, ours) = deceived();
    host.reject_list(&ours, Reason::LinkFork);
    let verdict = accept_fork(&mut host, &ours);
    assert!(matches!(&verdict, Verdict::Accepted { dropped, .. } if dropped.is_empty()));
    assert_eq!(host.names(), ["b.g1", "b.g2", "c.g1"]);
    let theirs = rotated(ROOT_2, vec![link(RECOVERY, 1, ROOT_2, RECOVERY_2)]);
    host.reject_list(&theirs, Reason::LinkFork);

    let held = host.receiver.held().clone();
    let (restarted, sweep) = Receiver::at_cold_start(held, host.now, &host.facts);
    assert!(sweep.clusterset.is_none());
    let mut host = Host { receiver: restarted, ..host };
    host.reject_list(&theirs, Reason::LinkFork);
}

#[test]
fn the_other_side_of_a_fork_must_be_signed_and_is_not_below_the_tokens_minimum() {
    let (mut host, ours) = deceived();
    let forged = rotated(ROOT_1, vec![link(0x77, 1, ROOT_1, RECOVERY_1)]);
    assert_eq!(reason_of(&accept_fork(&mut host, &forged)), Some(Reason::LinkBadSignature));

    let minimum = ListPosition { link_index: 1, version: 2 };
    let receiver = Receiver::new(clusterset_id(), minimum);
    let mut host = Host { receiver, facts: facts(), now: NOW };
    let mut newer = list().under_next_root(NOW);
    newer.position.version = 3;
    let thief = vec![link(RECOVERY, 1, ROOT_2, RECOVERY_2)];
    host.accept_list(&sign::clusterset(&seed(ROOT_2), genesis(), thief, &newer));
    assert_eq!(reason_of(&accept_fork(&mut host, &ours)), Some(Reason::ClusterSetRolledBack));
}

#[test]
fn taking_the_other_side_of_no_fork_is_judged_as_ever() {
    let mut host = Host::settled();
    assert_eq!(accept_fork(&mut host, &signed_list(&list())), Verdict::Unchanged);
    let mut older = list();
    older.position.version = 4;
    let verdict = accept_fork(&mut host, &signed_list(&older));
    assert_eq!(reason_of(&verdict), Some(Reason::ClusterSetRolledBack));
    let mut fork = list();
    fork.members.remove(&member("a"));
    let verdict = accept_fork(&mut host, &signed_list(&fork));
    assert_eq!(reason_of(&verdict), Some(Reason::ClusterSetFork));
}

fn with_keys(version: u64, keys: &[u8]) -> ClusterSetSpec {
    next_list(|list: &mut ClusterSet| {
        list.position.version = version;
        let keys: Vec<VerifyKey> = keys.iter().map(|key| seed(*key).public()).collect();
        list.members.get_mut(&member("b")).unwrap().keys = keys;
    })
}

#[test]
fn an_identity_is_rotated_without_touching_lanes() {
    const NEW: u8 = 0xbe;
    let mut host = Host::settled();
    let lanes = tunnels(&host);
    assert!(host.accept_list(&with_keys(6, &[NEW, 0xb0])).is_empty());
    for ad in [Ad::b_g1(), Ad::b_g2()] {
        host.accept(&Ad { identity: NEW, ..ad.generation(1) });
    }
    assert!(host.accept_list(&with_keys(7, &[NEW])).is_empty());
    assert_eq!(tunnels(&host), lanes);
    host.reject(&Ad::b_g1().generation(900), Reason::CertBadSignature);
}

#[test]
fn a_gateway_key_is_rotated_without_touching_lanes() {
    let mut host = Host::settled();
    let lanes = tunnels(&host);
    let tunnel = Ad::b_g1().key + 1;
    let renewed = Ad { key: 0xb8, ..Ad::b_g1().generation(200) }
        .edit_cert(|cert| cert["key"] = json!(seed(0xb8).public().to_string()));
    let entry = renewed.tunnel(tunnel, 0);
    host.accept(&renewed.edit(|payload| payload["tunnels"] = json!([entry])));
    assert_eq!(tunnels(&host), lanes);
    assert_eq!(host.remote("b.g1").gateway_key, seed(0xb8).public());
    host.reject(&Ad::b_g1().sequence(900), Reason::SequenceRolledBack);
}

#[test]
fn a_tunnel_key_is_rotated_over_two_entries_and_the_old_lane_keeps_its_key() {
    let mut host = Host::settled();
    let (old, new) = (Ad::b_g1().key + 1, 0x61);
    let psks = |host: &Host| -> Vec<[u8; 8]> {
        let remote = host.remote("b.g1");
        let me = &host.facts.own;
        let ours = LaneEnd {
            wireguard: tunnel_seed(0xd3).public().wireguard(),
            pair: pair(0xd3).public(),
            owner: me,
        };
        let key = |tunnel: &RemoteTunnel| {
            let theirs = LaneEnd { wireguard: tunnel.key, pair: tunnel.pair, owner: &remote.id };
            psk::derive(&clusterset_id(), &pair(0xd3), ours, theirs).unwrap().fingerprint()
        };
        remote.tunnels.iter().map(key).collect()
    };
    let before = psks(&host);
    let both = Ad::b_g1().sequence(8);
    let entries = json!([both.tunnel(old, 0), both.tunnel(new, 1)]);
    host.accept(&both.edit(|payload| payload["tunnels"] = entries));
    let meanwhile = psks(&host);
    assert_eq!((meanwhile.len(), meanwhile[0]), (2, before[0]));
    assert_ne!(meanwhile[1], before[0]);
    let after = Ad::b_g1().sequence(9);
    let entry = after.tunnel(new, 1);
    host.accept(&after.edit(|payload| payload["tunnels"] = json!([entry])));
    assert_eq!(psks(&host), meanwhile[1..]);
    // The old key may be anybody's now, and nobody's bytes bring it back under this name.
    host.reject(&Ad::b_g1(), Reason::SequenceRolledBack);
}
