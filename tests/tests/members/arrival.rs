//! Owns the test of how fast a new member is there.

use std::time::{Duration, Instant};

use sealane_tests::lab::address::Family;
use sealane_tests::product::command;

use crate::stage::{Stage, alone};

/// From its advertisement on the broker to the first packet there and back, on a machine that does
/// other things as well: the bar is 1 s on an idle one, and a single wrong address that is waited
/// for as long as WireGuard waits costs 5 s.
const DEADLINE: Duration = Duration::from_secs(3);

/// Longer than a join takes.
const FLOW: Duration = Duration::from_secs(60);

#[test]
fn a_new_member_is_reached_at_once_though_its_private_addresses_are_wrong() {
    let _machine = alone();
    let mut stage = Stage::bare("arrival", Family::Dual);
    stage.start_agents();
    stage.join_berlin();
    stage.admit_edge();
    let flow = stage.flow_to_come(1000, FLOW);
    let watch = stage.ground.admin.command("kubectl");
    let watch = watch.args(["--kubeconfig", command::KUBECONFIG, "get", "advertisements", "-w"]);
    let watch = watch.args(["-o", "name"]).spawn().unwrap();
    watch.says("berlin.", Duration::from_secs(10)).unwrap();
    stage.edge.host.run(command::JOIN).unwrap();
    watch.says("edge.", Duration::from_secs(10)).unwrap();
    let begin = Instant::now();
    flow.flows().unwrap();
    let took = begin.elapsed();
    println!("from the advertisement to the first packet: {} ms", took.as_millis());
    assert!(took <= DEADLINE, "{took:?}");
}
