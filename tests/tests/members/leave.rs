//! Owns the tests that a member that leaves takes everything of it along, and says so.

use std::time::Duration;

use sealane_tests::lab::address::Family;
use sealane_tests::lab::wait::eventually;
use sealane_tests::lab::wire::Exit;
use sealane_tests::product::agent::LANES;
use sealane_tests::product::traces::Traces;
use sealane_tests::product::{agent, command};
use sealane_view::status::MemberState;
use serde_json::Value;

use crate::secrets;
use crate::stage::{Stage, alone, shared};

/// What a gateway of a family needs otherwise.
fn unforwarded(family: Family) -> Vec<&'static str> {
    let (v4, v6) = ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding");
    match family {
        Family::V4 => vec![v4],
        Family::V6 => vec![v6],
        Family::Dual => vec![v4, v6],
    }
}

on_each_family!(hosts_that_leave_are_as_before_they_joined);

fn hosts_that_leave_are_as_before_they_joined(family: Family) {
    let _machine = shared();
    let mut stage = Stage::bare("leave", family);
    // Only here: a host that forwarded before would forward after, whoever turned it on.
    for setting in unforwarded(family) {
        stage.edge.host.sysctl(setting, "0").unwrap();
    }
    stage.start_talkative_agents();
    let hosts = [&stage.berlin.worker.host, &stage.edge.host, &stage.berlin.gateway.host];
    let before = hosts.map(|host| Traces::of(host).unwrap());
    stage.join_berlin();
    stage.join_edge();
    stage.await_lanes();
    for setting in unforwarded(family) {
        assert_eq!(stage.edge.host.sysctl_value(setting).unwrap(), "1", "{setting}");
    }
    secrets::are_kept(&stage);
    for (host, before) in hosts.iter().zip(&before) {
        let joined = Traces::of(host).unwrap();
        before.same_as(&joined).unwrap_err();
        host.run(command::LEAVE).unwrap();
        before.same_as(&Traces::of(host).unwrap()).unwrap();
        assert_eq!(agent::status(host).unwrap().member, None);
        assert_eq!(host.find("sealane-tunnel").unwrap(), Vec::<i32>::new());
        if host.name() == "edge" {
            edge_is_withdrawn(&stage);
        }
    }
    every_line_of_the_log_is_json(&stage);
}

#[test]
fn a_leave_that_is_refused_changes_nothing() {
    let _machine = alone();
    let stage = Stage::joined("stay", Family::Dual);
    stage.broker.process.kill().unwrap();
    let flow = stage.flow(1000, Duration::from_secs(4));
    let refused = stage.edge.host.command("sealane").arg("leave").output().unwrap();
    assert_eq!(refused.exit, Some(Exit::Code(4)), "{refused:?}");
    assert!(refused.stderr.contains("--without-broker"), "{refused:?}");
    let report = flow.finish().unwrap();
    assert_eq!(report.lost, 0, "{report:?}");
    for (host, other) in [(&stage.edge.host, "berlin"), (&stage.berlin.gateway.host, "edge")] {
        agent::reaches(host, &[other]).unwrap();
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

fn every_line_of_the_log_is_json(stage: &Stage) {
    for (name, agent) in &stage.agents {
        let log = agent.log().unwrap();
        assert!(log.lines().count() > 20, "{name} hardly says a thing: {log}");
        for line in log.lines() {
            let told: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
            assert!(told["level"].is_string(), "{name}: {line}");
        }
    }
}
