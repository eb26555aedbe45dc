//! Owns the test of how fast a new member is there.

use std::time::{Duration, Instant};

use sealane_tests::lab::address::Family;
use sealane_tests::product::command;

use crate::stage::{LONG, Stage, alone};

/// From its advertisement on the broker to the first packet there and back.
const BAR: Duration = Duration::from_secs(1);

#[test]
#[ignore = "takes 5 to 17 s: wrong candidates and lost first handshakes each wait out WireGuard's retry"]
fn a_new_member_is_reached_within_a_second_of_its_advertisement() {
    let _machine = alone();
    let mut stage = Stage::bare("arrival", Family::Dual);
    stage.start_agents();
    stage.join_berlin();
    stage.admit_edge();
    let flow = stage.flow_to_come(1000, LONG);
    let watch = stage.ground.admin.command("kubectl");
    let watch = watch.args(["--kubeconfig", command::KUBECONFIG, "get", "advertisements", "-w"]);
    let watch = watch.args(["-o", "name"]).spawn().unwrap();
    watch.says("berlin.", Duration::from_secs(10)).unwrap();
    stage.edge.host.run(command::JOIN).unwrap();
    watch.says("edge.", Duration::from_secs(10)).unwrap();
    let begin = Instant::now();
    flow.flows().unwrap();
    let took = begin.elapsed();
    assert!(took <= BAR, "{took:?}");
}
