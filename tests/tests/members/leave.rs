//! Owns the tests that a member that leaves takes everything of it along, and says so.

use sealane_tests::lab::address::Family;
use sealane_tests::lab::wait::eventually;
use sealane_tests::product::agent::LANES;
use sealane_tests::product::traces::Traces;
use sealane_tests::product::{agent, command};
use sealane_view::status::MemberState;

use crate::stage::{Stage, shared};

on_each_family!(hosts_that_leave_are_as_before_they_joined);

fn hosts_that_leave_are_as_before_they_joined(family: Family) {
    let _machine = shared();
    let mut stage = Stage::bare("leave", family);
    stage.start_agents();
    let hosts = [&stage.berlin.worker.host, &stage.edge.host, &stage.berlin.gateway.host];
    let before = hosts.map(|host| Traces::of(host).unwrap());
    stage.join_berlin();
    stage.join_edge();
    stage.await_lanes();
    for (host, before) in hosts.iter().zip(&before) {
        let joined = Traces::of(host).unwrap();
        before.same_as(&joined).unwrap_err();
        host.run(command::LEAVE).unwrap();
        before.same_as(&Traces::of(host).unwrap()).unwrap();
        assert_eq!(agent::status(host).unwrap().member, None);
        if host.name() == "edge" {
            edge_is_withdrawn(&stage);
        }
    }
}

fn edge_is_withdrawn(stage: &Stage) {
    let kubectl = format!("kubectl --kubeconfig {} get advertisements", command::KUBECONFIG);
    let told = stage.ground.admin.run(&kubectl).unwrap();
    let line = told.lines().find(|line| line.starts_with("edge.")).unwrap();
    assert!(line.contains("withdrawn"), "{told}");
    let gateway = &stage.berlin.gateway.host;
    eventually(LANES, "the other member drops the edge", || {
        let status = agent::status(gateway).unwrap();
        let edge = status.members.into_iter().find(|member| member.member == "edge").unwrap();
        if edge.state == MemberState::Absent { Ok(()) } else { Err(format!("{edge:?}")) }
    })
    .unwrap();
}
