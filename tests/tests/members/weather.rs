//! Owns the tests that connections outlive what happens to the internet between members: a router
//! that gets another address, one that forgets, packets that are lost.

use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use sealane_tests::lab::address::{Family, flag};
use sealane_tests::lab::host::Host;
use sealane_tests::lab::wait::{eventually, throughout, until};
use sealane_tests::product::agent;
use sealane_tests::traffic::drive;

use crate::stage::{Stage, shared};

const SINK_PORT: u16 = 5001;
/// Long enough for what happens to it.
const CONNECTION: Duration = Duration::from_secs(12);
/// Within which packets flow again after the path has changed.
const FOLLOWED: Duration = Duration::from_secs(5);
/// How long it rains.
const RAIN: Duration = Duration::from_secs(6);

/// One packet of ten is lost, each way.
const LOSSY: &str = "table inet rain {
    chain forward {
        type filter hook forward priority -5
        numgen random mod 10 < 1 drop
    }
}";

#[test]
fn connections_outlive_a_routers_new_address_its_forgetting_and_loss() {
    let _machine = shared();
    let stage = Stage::joined("weather", Family::Dual);
    let gateway = stage.berlin.gateway.host.clone();
    let router = stage.edge.router.clone();
    drive::tcp_sink(&stage.edge.app.host, SINK_PORT).unwrap();
    let client = stage.berlin.far.host.clone();
    let connections: Vec<_> = stage
        .edge
        .app
        .link
        .addresses()
        .into_iter()
        .map(|to| {
            let client = client.clone();
            thread::spawn(move || drive::throughput(&client, (to, SINK_PORT).into(), CONNECTION))
        })
        .collect();
    let sends = |pace: u64| bytes_sent(&gateway) > pace;
    until(FOLLOWED, "the connections send", || sends(500_000)).unwrap();

    let (before, begin) = (endpoint(&gateway), Instant::now());
    move_to(&router, "203.0.113.21", "203.0.113.77/24");
    move_to(&router, "2001:db8::15", "2001:db8::77/64");
    stage.edge.nat.forget().unwrap();
    eventually(FOLLOWED, "the lane follows the router", || {
        let now = endpoint(&gateway);
        let moved = now.to_string().ends_with("77") && now != before;
        if moved {
            agent::reaches(&gateway, &["edge"])
        } else {
            Err(format!("at {now}, was at {before}"))
        }
    })
    .unwrap();
    println!("weather: the lane follows after {} ms", begin.elapsed().as_millis());
    it_flows(&gateway);
    stage.edge.nat.forget().unwrap();
    it_flows(&gateway);

    router.nft(LOSSY).unwrap();
    throughout(RAIN, "one packet of ten lost is no reason", || agent::reaches(&gateway, &["edge"]))
        .unwrap();
    let loss = agent::status(&gateway).unwrap().members[0].loss_permille.unwrap();
    assert!((20..=500).contains(&loss), "{loss} of 1000");
    router.nft("delete table inet rain").unwrap();
    for connection in connections {
        let report = connection.join().unwrap().unwrap();
        assert!(report.seconds >= CONNECTION.as_secs_f64() - 1.0, "{report:?}");
    }
}

/// By the tunnel itself: documents lag behind.
fn endpoint(gateway: &Host) -> IpAddr {
    let told = gateway.run("wg show sealane0 endpoints").unwrap();
    let endpoint: SocketAddr = told.split_whitespace().last().unwrap().parse().unwrap();
    endpoint.ip()
}

fn bytes_sent(gateway: &Host) -> u64 {
    let told = gateway.run("wg show sealane0 transfer").unwrap();
    told.split_whitespace().last().unwrap().parse().unwrap()
}

/// The connections go on: what is sent grows by more than probes.
fn it_flows(gateway: &Host) {
    let before = bytes_sent(gateway);
    until(FOLLOWED, "the connections go on", || bytes_sent(gateway) > before + 500_000).unwrap();
}

/// As when a provider gives a router another address.
fn move_to(router: &Host, from: &str, to: &str) {
    let old: IpAddr = from.parse().unwrap();
    let family = flag(old);
    let prefix = if old.is_ipv4() { 24 } else { 64 };
    let nodad = if old.is_ipv4() { "" } else { "nodad" };
    let via = if old.is_ipv4() { "203.0.113.1" } else { "2001:db8::1" };
    router
        .shell(&format!(
            "ip address del {from}/{prefix} dev eth1; ip address add {to} dev eth1 {nodad}; \
             ip {family} route replace default via {via}"
        ))
        .unwrap();
}
