//! Owns the tests that lanes follow a host whose way to the internet changes: its link gets another
//! name, its address another number, its default route another router. TCP connections live on.

use std::net::IpAddr;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use sealane_tests::lab::address::{Family, flag};
use sealane_tests::lab::error::LabError;
use sealane_tests::lab::host::Host;
use sealane_tests::lab::impair::nat::{Nat, Ports};
use sealane_tests::lab::segment::Segment;
use sealane_tests::lab::wait::eventually;
use sealane_tests::product::agent;
use sealane_tests::product::ground::ranges;
use sealane_tests::traffic::drive::{self, Flow};
use sealane_tests::traffic::report::BulkReport;

use crate::stage::{BRIEF, ENDLESS, Stage, alone};

const SINK_PORT: u16 = 5001;
/// How long connections last: longer than all that is done to them.
const CONNECTION: Duration = Duration::from_secs(15);
/// Within which packets flow again.
const FOLLOWED: Duration = Duration::from_secs(10);
/// Packets a second of the flow that shows the gap.
const RATE: u32 = 500;

/// The longest gap that a link with another name may cause, in milliseconds.
const RENAMED_MS: f64 = 1_000.0;
/// The same of another router, which is noticed by probes alone.
const REROUTED_MS: f64 = 2_000.0;
/// The same of another address: the other side is behind NAT and hears of it from the broker.
const RENUMBERED_MS: f64 = 2_000.0;

/// What crosses the lane meanwhile: a paced flow, and a TCP connection of each family.
struct Traffic {
    flow: Flow,
    connections: Vec<JoinHandle<Result<BulkReport, LabError>>>,
}

impl Traffic {
    fn start(stage: &Stage) -> Self {
        let app = &stage.edge.app;
        drive::tcp_sink(&app.host, SINK_PORT).unwrap();
        let connect = |to: IpAddr| {
            let client = stage.berlin.far.host.clone();
            thread::spawn(move || drive::throughput(&client, (to, SINK_PORT).into(), CONNECTION))
        };
        let connections: Vec<_> = app.link.addresses().into_iter().map(connect).collect();
        let flow = stage.flow(RATE, ENDLESS);
        let standing = format!("ss -Htn state established sport = :{SINK_PORT}");
        eventually(FOLLOWED, "the connections stand", || {
            let told = app.host.run(&standing).map_err(|error| error.to_string())?;
            if told.lines().count() == connections.len() { Ok(()) } else { Err(told) }
        })
        .unwrap();
        Self { flow, connections }
    }

    /// Waits for the connections' end; each lived, and nothing was silent for longer than the bar.
    #[track_caller]
    fn lived(self, what: &str, most_ms: f64) {
        for connection in self.connections {
            let report = connection.join().unwrap().unwrap();
            assert!(report.seconds >= CONNECTION.as_secs_f64() - 1.0, "{report:?}");
        }
        let report = self.flow.stop().unwrap();
        let gap = report.longest_gap_ms;
        println!("{what}: gap {gap:.0} ms, {} of {} packets lost", report.lost, report.sent);
        assert!(gap <= most_ms, "{what}: {report:?}");
    }
}

#[track_caller]
fn whole_again(stage: &Stage) {
    for to in stage.edge.app.link.addresses() {
        eventually(FOLLOWED, format!("packets reach {to} again"), || {
            stage.flow_by(to, 100, BRIEF).flows()
        })
        .unwrap();
    }
    stage.await_lanes();
}

#[test]
fn a_lane_and_its_connections_outlive_links_that_get_other_names() {
    let _machine = alone();
    let stage = Stage::joined("renamed", Family::Dual);
    let traffic = Traffic::start(&stage);
    let (gateway, worker) = (&stage.berlin.gateway.host, &stage.berlin.worker.host);
    for (host, from, to) in [
        (gateway, "eth1", "wan0"),
        (gateway, "eth0", "lan0"),
        (worker, "eth0", "lan0"),
        (&stage.edge.host, "eth0", "wan0"),
    ] {
        host.run(&format!("ip link set {from} name {to}")).unwrap();
        agent::comes_to_reach(host, &stage.others(member_of(&stage, host))).unwrap();
    }
    whole_again(&stage);
    traffic.lived("links renamed", RENAMED_MS);
}

fn member_of(stage: &Stage, host: &Host) -> &'static str {
    let mut hosts = stage.hosts().into_iter();
    hosts.find(|(it, ..)| it.name() == host.name()).unwrap().2
}

#[test]
fn a_lane_and_its_connections_follow_a_gateway_to_another_address() {
    let _machine = alone();
    let stage = Stage::joined("renumbered", Family::Dual);
    let traffic = Traffic::start(&stage);
    let gateway = &stage.berlin.gateway.host;
    for (old, new, via) in [
        ("203.0.113.11/24", "203.0.113.91/24", "203.0.113.1"),
        ("2001:db8::b/64", "2001:db8::91/64", "2001:db8::1"),
    ] {
        let family = flag(via.parse().unwrap());
        let nodad = if family == "-6" { "nodad" } else { "" };
        gateway
            .shell(&format!(
                "ip address del {old} dev eth1; ip address add {new} dev eth1 {nodad}; \
                 ip {family} route replace default via {via}"
            ))
            .unwrap();
    }
    whole_again(&stage);
    traffic.lived("address changed", RENUMBERED_MS);
}

#[test]
fn a_lane_and_its_connections_follow_the_default_route_to_another_router() {
    let _machine = alone();
    let stage = Stage::joined("rerouted", Family::Dual);
    let ground = &stage.ground;
    // Another provider: its router hides the edge as well.
    let subnets = ranges(ground.family, ([192, 168, 202, 0], 24), ([0xfd20, 2, 0], 64)).unwrap();
    let other = Segment::new(&ground.lab, "other-provider", subnets).unwrap();
    let router = ground.lab.host("other-router").unwrap();
    let inside = other.attach(&router, 1).unwrap();
    let outside = ground.internet.attach(&router, 41).unwrap();
    router.default_via(&ground.isp).unwrap();
    Nat::hide(&router, &outside, Ports::Preserved).unwrap();
    other.attach(&stage.edge.host, 2).unwrap();

    let traffic = Traffic::start(&stage);
    for via in inside.addresses() {
        let replace = format!("ip {} route replace default via {via}", flag(via));
        stage.edge.host.run(&replace).unwrap();
    }
    whole_again(&stage);
    let endpoint = stage.berlin.gateway.host.run("wg show sealane0 endpoints").unwrap();
    let moved = outside.addresses().iter().any(|it| endpoint.contains(&it.to_string()));
    assert!(moved, "{endpoint}");
    traffic.lived("default route moved", REROUTED_MS);
}
