//! Owns the tests of what an operator is told, by documents, metrics and exit codes, of members that
//! work and of those that do not.

use std::time::{Duration, SystemTime};

use sealane_tests::lab::address::Family;
use sealane_tests::lab::host::Host;
use sealane_tests::lab::impair::cut::Cut;
use sealane_tests::lab::process::Outcome;
use sealane_tests::lab::wait::{eventually, throughout};
use sealane_tests::lab::wire::Exit;
use sealane_tests::product::agent;
use sealane_tests::product::page::Page;
use sealane_tests::product::site::EdgeSite;
use sealane_view::peers::{PathState, PeerView, PeersDocument};
use sealane_view::ping::PingDocument;
use sealane_view::routes::{RouteState, RoutesDocument};
use sealane_view::status::{MemberState, MemberView, StatusDocument};

use crate::stage::{BRIEF, Stage, alone};

/// Within which a death is told. How soon probes notice it is `agent/probe`'s to prove.
const TOLD: Duration = Duration::from_secs(6);
/// Within which a lane is back, once packets pass.
const BACK: Duration = Duration::from_secs(5);
/// Within which a broker that is gone is missed.
const MISSED: Duration = Duration::from_secs(10);
/// Within which a host without events is looked at again, on a busy machine.
const PATROL: Duration = Duration::from_secs(15);
/// Longer than a patrol of the host.
const CALM: Duration = Duration::from_secs(12);

const LANE: &str = "{member=\"edge\",gateway=\"edge\",slot=\"0\"}";

#[test]
fn what_works_and_what_does_not_is_told_with_numbers_and_reasons() {
    let _machine = alone();
    let stage = Stage::joined("told", Family::Dual);
    let gateway = &stage.berlin.gateway.host;
    assert_eq!(stage.flow(1000, BRIEF).finish().unwrap().lost, 0);
    the_lane_is_told(gateway, &stage.edge);
    the_routes_are_told(gateway, &stage.edge);
    the_metrics_agree(gateway);
    a_settled_host_is_left_alone(gateway);

    let cut = Cut::between(&stage.ground.internet, gateway, &stage.edge.router).unwrap();
    eventually(TOLD, "the lane that died is told", || death_is_told(gateway)).unwrap();
    let from = stage.berlin.near.link.addresses()[0];
    let to = stage.edge.app.link.addresses()[0];
    let trace = sealane(gateway, &format!("trace {from} {to}"));
    let verdict = format!("{from} -> {to} fails at berlin.berlin-gw: peer edge.edge at ");
    assert!(trace.stdout.contains(&verdict), "{trace:?}");
    assert!(trace.stdout.contains("does not answer probes"), "{trace:?}");
    assert_eq!(trace.exit, Some(Exit::Code(1)), "{trace:?}");
    let ping = sealane(gateway, "ping edge -c 2");
    assert_eq!(ping.exit, Some(Exit::Code(1)), "{ping:?}");
    cut.heal().unwrap();
    eventually(BACK, "the lane is back", || agent::reaches(gateway, &["edge"])).unwrap();
    assert_eq!(stage.flow(1000, BRIEF).finish().unwrap().lost, 0);

    stage.broker.process.kill().unwrap();
    eventually(MISSED, "the broker is missed", || absence_is_told(gateway)).unwrap();
}

fn sealane(host: &Host, line: &str) -> Outcome {
    host.command("sealane").args(line.split_whitespace()).output().unwrap()
}

fn the_lane_is_told(gateway: &Host, edge: &EdgeSite) {
    let told = eventually(PATROL, "the flow is counted", || {
        let told: PeersDocument = agent::document(gateway, "peers").map_err(|e| e.to_string())?;
        match told.peers.as_slice() {
            [peer] if peer.received_bytes > 50_000 && peer.sent_bytes > 50_000 => Ok(told),
            other => Err(format!("{other:?}")),
        }
    });
    let told = told.unwrap();
    let peer = &told.peers[0];
    let PeerView { member, gateway: of, link, state, carries, .. } = peer;
    assert_eq!((member.as_str(), of.as_str(), link.as_str()), ("edge", "edge", "sealane0"));
    assert_eq!((state, carries), (&PathState::Up, &true));
    // Behind a router that hides it, it has the router's address.
    let outside = edge.router.run("ip -br address show dev eth1").unwrap();
    let endpoint = peer.endpoint.unwrap();
    assert!(outside.contains(&format!(" {}/", endpoint.ip())), "{endpoint}: {outside}");
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    assert!(now - peer.last_handshake_unix_seconds.unwrap() < 180, "{peer:?}");
    assert!(now - peer.since_unix_seconds.unwrap() < 180, "{peer:?}");
    assert!(peer.rtt_microseconds.is_some_and(|rtt| rtt > 0 && rtt < 5_000_000), "{peer:?}");
    assert_eq!(peer.path_mtu_bytes, Some(1420));
    for network in edge.networks() {
        assert!(peer.allowed_ips.contains(&network), "{peer:?}");
    }
    let leg = &told.legs[0];
    assert_eq!((told.legs.len(), leg.node.as_str(), leg.gateway), (1, "berlin-worker", false));
    // By any address of the edge, whichever way it is asked for.
    for who in ["edge", "edge.edge"] {
        let line = format!("ping {who} -c 3 -i 0.1");
        let ping = sealane(gateway, &line);
        assert_eq!(ping.exit, Some(Exit::Code(0)), "{ping:?}");
        let told: PingDocument = agent::document(gateway, &line).unwrap();
        assert_eq!((told.sent, told.received, told.replies.len()), (3, 3, 3), "{told:?}");
    }
}

fn the_routes_are_told(gateway: &Host, edge: &EdgeSite) {
    let told: RoutesDocument = agent::document(gateway, "routes").unwrap();
    for network in edge.networks() {
        let route = told.routes.iter().find(|route| route.destination == network).unwrap();
        assert_eq!((route.member.as_str(), route.state), ("edge", RouteState::Routed));
        assert_eq!(
            (&route.via[..], route.link.as_deref()),
            (&["edge".to_owned()][..], Some("sealane0"))
        );
        let source = route.source.unwrap();
        let family = if network.is_ipv4() { "-4" } else { "-6" };
        let kernel = gateway.run(&format!("ip {family} route show table 5182 {network}")).unwrap();
        assert!(kernel.contains(&format!("src {source}")), "{route:?}: {kernel}");
    }
    assert_eq!(told.routes.len(), edge.networks().len(), "{told:?}");
}

fn the_metrics_agree(gateway: &Host) {
    let before = Page::of(gateway).unwrap();
    let value = |series: &str| before.value(series).unwrap();
    assert_eq!(value(&format!("sealane_lane_up{LANE}")), 1.0);
    assert_eq!(value("sealane_members{state=\"up\"}"), 1.0);
    assert_eq!(value("sealane_members{state=\"down\"}"), 0.0);
    assert_eq!(value("sealane_broker_connected"), 1.0);
    assert_eq!(value("sealane_problems"), 0.0);
    assert_eq!(value(&format!("sealane_lane_path_mtu_bytes{LANE}")), 1420.0);
    assert_eq!(value("sealane_host_change_failures_total"), 0.0);
    assert!(value(&format!("sealane_lane_rtt_seconds{LANE}")) > 0.0);
    assert!(value("sealane_clusterset_version") >= 2.0);
    assert!(value("sealane_host_changes_total") > 20.0);
    assert!(value("sealane_plan_duration_seconds") > 0.0);
    let status: StatusDocument = agent::status(gateway).unwrap();
    let expires = status.clusterset.unwrap().expires_unix_seconds;
    assert_eq!(value("sealane_clusterset_expiry_timestamp_seconds") as u64, expires);
    for series in ["sealane_lane_received_bytes_total", "sealane_lane_sent_bytes_total"] {
        let series = format!("{series}{LANE}");
        eventually(PATROL, format!("{series} grows"), || {
            let now = Page::of(gateway).map_err(|error| error.to_string())?.value(&series)?;
            if now > value(&series) { Ok(()) } else { Err(now.to_string()) }
        })
        .unwrap();
    }
}

/// What is as it should be reads back as it should be: nothing is written again and again.
fn a_settled_host_is_left_alone(gateway: &Host) {
    let look = || {
        let page = Page::of(gateway).map_err(|error| error.to_string())?;
        let changes = page.value("sealane_host_changes_total")?;
        // A rule that is written again has another handle.
        let rules = gateway.shell("nft -a list table inet sealane | grep -o 'handle [0-9]*'");
        Ok::<_, String>((changes, rules.map_err(|error| error.to_string())?))
    };
    let before = look().unwrap();
    throughout(CALM, "a settled host is left alone", || {
        let now = look()?;
        if now == before { Ok(()) } else { Err(format!("{before:?} became {now:?}")) }
    })
    .unwrap();
}

fn death_is_told(gateway: &Host) -> Result<(), String> {
    let status = sealane(gateway, "status");
    if status.exit != Some(Exit::Code(1)) {
        return Err(format!("{status:?}"));
    }
    for word in ["edge", "down", "its gateway", "lane to edge.edge: it"] {
        if !status.stdout.contains(word) {
            return Err(format!("no {word:?} in {}", status.stdout));
        }
    }
    let document = agent::status(gateway).map_err(|error| error.to_string())?;
    let [MemberView { member, state, live_gateways, gateways, .. }] = &document.members[..] else {
        return Err(format!("{document:?}"));
    };
    if (member.as_str(), *state, *live_gateways, *gateways) != ("edge", MemberState::Down, 0, 1) {
        return Err(format!("{document:?}"));
    }
    let told: PeersDocument = agent::document(gateway, "peers").map_err(|e| e.to_string())?;
    if told.peers[0].state != PathState::Down || told.peers[0].reason.is_empty() {
        return Err(format!("{told:?}"));
    }
    let page = Page::of(gateway).map_err(|error| error.to_string())?;
    let numbers = [
        page.value(&format!("sealane_lane_up{LANE}"))?,
        page.value("sealane_members{state=\"up\"}")?,
        page.value("sealane_members{state=\"down\"}")?,
    ];
    if numbers == [0.0, 0.0, 1.0] { Ok(()) } else { Err(format!("{numbers:?}")) }
}

fn absence_is_told(gateway: &Host) -> Result<(), String> {
    let status = sealane(gateway, "status");
    let is_told =
        ["away for", "203.0.113.5", "lanes go on"].iter().all(|it| status.stdout.contains(it));
    let page = Page::of(gateway).map_err(|error| error.to_string())?;
    let connected = page.value("sealane_broker_connected")?;
    let up = page.value(&format!("sealane_lane_up{LANE}"))?;
    if is_told && (connected, up) == (0.0, 1.0) && status.exit == Some(Exit::Code(1)) {
        return Ok(());
    }
    Err(format!("connected {connected}, lane {up}: {status:?}"))
}
