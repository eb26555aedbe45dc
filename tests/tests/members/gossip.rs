//! Owns the tests that what one live peer knows reaches the others by the lanes, while the broker is away.

use std::time::{Duration, Instant};

use sealane_tests::lab::address::Family;
use sealane_tests::lab::host::Host;
use sealane_tests::lab::impair::cut::Cut;
use sealane_tests::lab::wait::until;
use sealane_tests::product::{agent, command};
use sealane_view::status::MemberState;

use crate::stage::{BRIEF, Stage, alone};

on_each_family!(
    a_member_that_one_live_peer_knows_to_be_removed_is_cut_everywhere_within_two_seconds
);

/// How long a revocation may take from one live peer to all.
const BAR: Duration = Duration::from_secs(2);

fn version(host: &Host) -> u64 {
    agent::status(host).unwrap().clusterset.unwrap().version
}

/// Members that a host says it reaches.
fn reached(host: &Host) -> Vec<String> {
    let status = agent::status(host).unwrap();
    let up = status.members.into_iter().filter(|member| member.state == MemberState::Up);
    up.map(|member| member.member).collect()
}

fn a_member_that_one_live_peer_knows_to_be_removed_is_cut_everywhere_within_two_seconds(
    family: Family,
) {
    let _machine = alone();
    let stage = Stage::all_joined("gossip", family);
    let berlin = stage.berlin.gateway.host.clone();
    let tokyo = stage.tokyo.as_ref().unwrap().gateway.host.clone();
    let before = version(&tokyo);

    let (internet, broker) = (&stage.ground.internet, &stage.ground.broker);
    let away = Cut::between(internet, &tokyo, broker).unwrap();
    stage.ground.admin.run(&command::remove("edge")).unwrap();
    until(BAR, "the one that sees the broker knows", || version(&berlin) > before).unwrap();
    stage.broker.process.kill().unwrap();
    let known = Instant::now();
    until(BAR, "the other one hears it from a peer", || {
        version(&tokyo) > before && !reached(&tokyo).contains(&"edge".to_owned())
    })
    .unwrap();
    println!("gossip: known everywhere {} ms after the first peer", known.elapsed().as_millis());
    // Nothing but what was revoked is cut.
    assert_eq!(reached(&berlin), ["tokyo"]);
    assert_eq!(reached(&tokyo), ["berlin"]);
    for host in [&berlin, &tokyo] {
        let refused = agent::status(host).unwrap().rejections;
        assert!(refused.iter().all(|it| it.reason == "MemberRevoked"), "{refused:?}");
    }
    assert!(stage.flow_to_come(100, BRIEF).finish().unwrap().received == 0);
    away.heal().unwrap();
}
