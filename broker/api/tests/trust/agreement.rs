//! Laws about many hosts: whoever hears the same, in whatever order and from whomever, believes the same.

use crate::fixture::*;
use proptest::prelude::*;
use sealane_api::clusterset::ListPosition;
use sealane_api::gossip::frame::Frame;
use sealane_api::gossip::standing::Digest;
use sealane_api::gossip::telling::Telling;
use sealane_api::kinds::ClusterSetSpec;
use sealane_api::receiver::{Offer, Receiver};
use sealane_api::remote::RemoteGateway;
use sealane_api::sign::{self, Appointed};
use serde_json::json;

/// Something that a broker or a peer may show at any time, any number of times.
#[derive(Clone, Debug)]
enum Shown {
    Word(Box<Ad>),
    List(Box<ClusterSetSpec>),
}

const NEW_C: u8 = 0xce;

/// Valid objects, of which later ones end or outrank earlier ones, and refused ones among them.
fn everything() -> Vec<Shown> {
    let gone = |ad: Ad| {
        ad.edit(|payload| {
            payload["state"] = json!("withdrawn");
            payload["tunnels"] = json!([]);
        })
    };
    let revoking = Ad::b_g2().generation(300).edit_cert(|cert| {
        cert["revoked"] = json!([{"gateway": "g1", "below": 150}]);
    });
    let words = [
        Ad::b_g1(),
        Ad::b_g1().sequence(8).pods(&["10.2.1.0/24"]),
        Ad::b_g1().generation(160).sequence(1).pods(&["10.2.2.0/24"]),
        Ad::b_g2(),
        revoking,
        Ad::c_g1(),
        gone(Ad::c_g1().sequence(9)),
        Ad { identity: NEW_C, ..Ad::c_g1().generation(1).sequence(2) },
        Ad::of("a", "g1", 1),
        gone(Ad::of("c", "g3", 3)),
        // Refused by everybody, always.
        Ad { key: 0x77, ..Ad::b_g1().sequence(99) },
        Ad::c_g1().sequence(50).pods(&["10.2.0.0/16"]),
        Ad { name: "b.g1".to_owned(), ..Ad::c_g1().sequence(70) },
    ];
    let words = words.into_iter().map(|ad| Shown::Word(Box::new(ad)));
    words.chain(lists().into_iter().map(|list| Shown::List(Box::new(list)))).collect()
}

fn lists() -> [ClusterSetSpec; 4] {
    let appointed = Appointed { root: seed(0x31).public(), recovery: seed(0x32).public() };
    let link = sign::root_link(&seed(RECOVERY), &clusterset_id(), 1, appointed);
    let mut linked = list();
    linked.position = ListPosition { link_index: 1, version: 1 };
    linked.members.remove(&member("a"));
    let c = [NEW_C, identity_of("c")].map(|key| seed(key).public());
    linked.members.get_mut(&member("c")).unwrap().keys = c.to_vec();
    let without_b = next_list(|list| {
        list.position.version = 900;
        list.members.remove(&member("b"));
    });
    let forged = sign::clusterset(&seed(0x77), genesis(), Vec::new(), &list());
    [
        next_list(|_| {}),
        without_b,
        sign::clusterset(&seed(0x31), genesis(), vec![link], &linked),
        forged,
    ]
}

/// What a host ends with. What it remembers of when, and of what it refused, is its own.
#[derive(Debug, PartialEq)]
struct End {
    remotes: Vec<RemoteGateway>,
    position: ListPosition,
    digest: Digest,
}

fn end(host: &Host) -> End {
    let position = host.receiver.clusterset().unwrap().position;
    End { remotes: host.remotes(), position, digest: telling(host).digest() }
}

fn telling(host: &Host) -> Telling {
    Telling::of(&host.receiver, host.now, &Telling::default())
}

fn show(host: &mut Host, shown: &[Shown]) {
    for shown in shown {
        match shown {
            Shown::Word(ad) => drop(host.offer(ad)),
            Shown::List(list) => drop(host.offer_list(list)),
        }
    }
}

fn pull(asker: &mut Host, teller: &Host) {
    for frame in telling(teller).answer(telling(asker).standing()) {
        let (head, payload) = frame.split_first_chunk().unwrap();
        let header = sealane_api::gossip::frame::Header::parse(*head).unwrap();
        let before = serde_json::to_vec(asker.receiver.held()).unwrap();
        let verdict = match Frame::parse(header.kind, payload).unwrap() {
            Frame::List(spec) => asker.receiver.accept_clusterset(asker.now, &asker.facts, &spec),
            Frame::Word(spec) => {
                let name = format!("{}.{}", spec.member, spec.gateway);
                let offer = Offer { name: &name, spec: &spec };
                asker.receiver.accept_told(asker.now, &asker.facts, &member("c"), offer)
            }
            other => panic!("{other:?}"),
        };
        if reason_of(&verdict).is_some() {
            assert_eq!(serde_json::to_vec(asker.receiver.held()).unwrap(), before);
        }
    }
}

fn shuffled() -> impl Strategy<Value = Vec<Shown>> {
    Just(everything()).prop_shuffle()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn two_hosts_that_hear_the_same_in_any_order_believe_the_same(
        one in shuffled(), other in shuffled()
    ) {
        let mut hosts = [Host::fresh(), Host::fresh()];
        for (host, order) in hosts.iter_mut().zip([one, other]) {
            // Level-triggered: a relist shows everything again.
            for _ in 0..3 {
                show(host, &order);
                host.now.0 += 1;
            }
        }
        let ends = hosts.each_ref().map(end);
        prop_assert_eq!(&ends[0], &ends[1]);
        prop_assert_eq!(ends[0].position, ListPosition { link_index: 1, version: 1 });
        prop_assert_eq!(hosts[0].names(), ["b.g1", "b.g2", "c.g1"]);
        prop_assert_eq!(hosts[0].remote("c.g1").generation, 1);
    }

    #[test]
    fn hosts_that_hear_different_parts_believe_the_same_after_telling_each_other(
        parts in prop::collection::vec(0..3_usize, everything().len()), order in shuffled()
    ) {
        let mut hosts = [Host::fresh(), Host::fresh(), Host::fresh()];
        for _ in 0..5 {
            for (at, host) in hosts.iter_mut().enumerate() {
                let part: Vec<Shown> = order
                    .iter()
                    .zip(&parts)
                    .filter(|(_, part)| **part == at)
                    .map(|(shown, _)| shown.clone())
                    .collect();
                show(host, &part);
                host.now.0 += 1;
            }
            // Nobody is told by all: a tells b, b tells c, c tells a.
            for (asker, teller) in [(1, 0), (2, 1), (0, 2)] {
                let [asker, teller] = hosts.get_disjoint_mut([asker, teller]).unwrap();
                pull(asker, teller);
            }
        }
        let ends = hosts.each_ref().map(end);
        prop_assert_eq!(&ends[0], &ends[1]);
        prop_assert_eq!(&ends[1], &ends[2]);
        prop_assert_eq!(hosts[0].names(), ["b.g1", "b.g2", "c.g1"]);
    }

    #[test]
    fn what_is_believed_is_believed_again_after_a_restart_at_any_moment(
        order in shuffled(), until in any::<prop::sample::Index>()
    ) {
        let mut host = Host::fresh();
        let (before, after) = order.split_at(until.index(order.len()));
        show(&mut host, before);
        let disk = serde_json::to_vec(host.receiver.held()).unwrap();
        let held = serde_json::from_slice(&disk).unwrap();
        let (receiver, sweep) = Receiver::at_cold_start(held, host.now, &host.facts);
        prop_assert_eq!(sweep, sealane_api::receiver::Sweep::default());
        prop_assert_eq!(serde_json::to_vec(receiver.held()).unwrap(), disk);
        let mut restarted = Host { receiver, facts: facts(), now: host.now };
        prop_assert_eq!(end(&restarted), end(&host));
        for host in [&mut restarted, &mut host] {
            show(host, after);
        }
        prop_assert_eq!(end(&restarted), end(&host));
    }
}
