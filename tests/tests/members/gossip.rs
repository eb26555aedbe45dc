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
    let worker = &stage.tokyo.as_ref().unwrap().worker.host;
    until(BAR, "its worker hears it over the leg", || version(worker) > before).unwrap();
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

#[test]
fn a_root_key_is_replaced_by_hand_at_one_host_while_the_broker_is_dead_and_no_packet_is_lost() {
    let _machine = alone();
    let stage = Stage::all_joined("root-rotated", Family::Dual);
    let berlin = stage.berlin.gateway.host.clone();
    let tokyo = stage.tokyo.as_ref().unwrap().gateway.host.clone();
    let edge = stage.edge.host.clone();
    stage.broker.process.kill().unwrap();

    let flow = stage.flow(1000, Duration::from_secs(5));
    let (folder, recovery) = (command::CLUSTERSET, command::RECOVERY);
    let rotate = format!(
        "sealane clusterset rotate-root --dir {folder} --no-passphrase \
         --recovery-file {recovery} --new-recovery-file {recovery}.2"
    );
    stage.ground.admin.run(&rotate).unwrap();
    give(&stage, &berlin);
    let known = Instant::now();
    for host in [&tokyo, &edge] {
        until(BAR, "the others hear of it from a peer", || links(host) == 1).unwrap();
    }
    println!("gossip: root link everywhere {} ms after the first", known.elapsed().as_millis());
    let report = flow.finish().unwrap();
    assert_eq!(report.lost, 0, "{report:?}");

    // What the new root key signs counts: the edge goes, by hand as well.
    let remove = format!("sealane member remove --dir {folder} --cluster edge");
    stage.ground.admin.run(&remove).unwrap();
    give(&stage, &berlin);
    until(BAR, "the other one cuts the edge", || reached(&tokyo) == ["berlin"]).unwrap();
}

/// Gives the administrator's list to the agent of a host.
fn give(stage: &Stage, host: &Host) {
    const LIST: &str = "/etc/sealane/clusterset.yaml";
    let list = stage.ground.admin.read_file(format!("{}/clusterset.yaml", command::CLUSTERSET));
    host.write_file(LIST, &list.unwrap()).unwrap();
    host.run(&format!("sealane clusterset accept-link --file {LIST}")).unwrap();
}

fn links(host: &Host) -> u64 {
    agent::status(host).unwrap().clusterset.unwrap().link_index
}
