//! Owns the tests that packets which nobody was granted are refused: from the internet, from pods,
//! and out of a lane whose other end lies about what it may send.

use std::net::IpAddr;
use std::time::Duration;

use sealane_tests::lab::address::{Family, flag, nft_family};
use sealane_tests::lab::cluster::Pod;
use sealane_tests::lab::host::Host;
use sealane_tests::lab::wait::eventually;
use sealane_tests::product::agent;
use sealane_view::peers::PeersDocument;
use serde_json::Value;

use crate::stage::{Stage, shared};

/// Within which a counter is read again.
const SOON: Duration = Duration::from_secs(3);

#[test]
fn packets_that_nobody_was_granted_are_refused() {
    let _machine = shared();
    let mut stage = Stage::all_joined("guards", Family::Dual);
    strangers_reach_no_inner_port(&stage);
    pods_reach_no_inner_port(&stage);
    nobody_sends_through_another_or_as_another(&mut stage);
}

/// VXLAN, probes and inquiries of nodes, from the internet.
fn strangers_reach_no_inner_port(stage: &Stage) {
    let (stranger, gateway) = (&stage.ground.admin, &stage.berlin.gateway.host);
    for address in ["203.0.113.11", "2001:db8::b"] {
        refused(gateway, "raw_prerouting", || send(stranger, "udp", address, 4801));
        refused(gateway, "guard_input", || send(stranger, "udp", address, 5183));
        refused(gateway, "guard_input", || send(stranger, "tcp", address, 5183));
    }
}

fn pods_reach_no_inner_port(stage: &Stage) {
    let (gateway, worker) = (&stage.berlin.gateway, &stage.berlin.worker);
    for address in gateway.lan.addresses() {
        let address = address.to_string();
        refused(&gateway.host, "raw_prerouting", || {
            send(&stage.berlin.near.host, "udp", &address, 4801);
        });
    }
    for address in worker.lan.addresses() {
        let address = address.to_string();
        // On its way to another node it is refused before a masquerade could hide whose it is.
        refused(&gateway.host, "guard_forward", || {
            send(&stage.berlin.near.host, "udp", &address, 4801);
        });
    }
}

/// A member whose own gateway is bent by its owner: no agent keeps its tunnel honest.
fn nobody_sends_through_another_or_as_another(stage: &mut Stage) {
    let tokyo = stage.tokyo.as_ref().unwrap();
    let (bent, pod) = (tokyo.gateway.host.clone(), tokyo.near.host.clone());
    let (berlin, app) = (stage.berlin.gateway.host.clone(), stage.edge.app.link.addresses());
    let near: Vec<IpAddr> = stage.berlin.near.link.addresses();
    let told: PeersDocument = agent::document(&bent, "peers").unwrap();
    let peer = told.peers.iter().find(|peer| peer.member == "berlin").unwrap();
    let key = peer.public_key.clone();
    let mut allowed: Vec<String> = peer.allowed_ips.iter().map(ToString::to_string).collect();
    for address in app.iter().chain(&near) {
        pod.run(&format!("ping -n -c 1 -W 2 {address}")).unwrap();
    }
    stage.agent(&bent).kill().unwrap();

    allowed.extend(stage.edge.networks().iter().map(ToString::to_string));
    bent.run(&format!("wg set sealane0 peer {key} allowed-ips {}", allowed.join(","))).unwrap();
    for address in &app {
        refused(&berlin, "from_lane", || nothing_comes_back(&pod, &format!("{address}")));
    }
    // Nor does its own firewall keep it honest.
    bent.run("nft flush ruleset").unwrap();
    for (address, network) in near.iter().zip(stage.edge.networks()) {
        let seen = Seen::on(&stage.berlin.near, *address);
        bent.run(&format!("ping -n -c 1 -W 2 {address}")).unwrap();
        seen.grows();
        let stolen = network.iter().nth(77).unwrap();
        let len = if stolen.is_ipv4() { 32 } else { 128 };
        bent.run(&format!("ip {} address add {stolen}/{len} dev lo", flag(stolen))).unwrap();
        let before = seen.count();
        nothing_comes_back(&bent, &format!("-I {stolen} {address}"));
        assert_eq!(seen.count(), before, "a packet came in as {stolen}");
    }
}

fn nothing_comes_back(host: &Host, how: &str) {
    let line = format!("ping -n -c 2 -i 0.2 -W 1 {how}");
    let told = host.command("sh").args(["-c", &line]).output().unwrap();
    assert!(told.stdout.contains("2 packets transmitted, 0 received"), "{told:?}");
}

fn send(from: &Host, protocol: &str, to: &str, port: u16) {
    let line = format!("timeout 1 bash -c 'echo hello >/dev/{protocol}/{to}/{port}' || true");
    from.shell(&line).unwrap();
}

/// The chain's refusals are more after the deed than before.
#[track_caller]
fn refused(host: &Host, chain: &str, deed: impl FnOnce()) {
    let before = drops(host, chain);
    deed();
    eventually(SOON, format!("{chain} of {} refuses", host.name()), || {
        let now = drops(host, chain);
        if now > before { Ok(()) } else { Err(format!("{before} and still {now}")) }
    })
    .unwrap();
}

/// What the counters of dropping rules say, all together.
fn drops(host: &Host, chain: &str) -> u64 {
    let told = host.json(&format!("nft -j list chain inet sealane {chain}")).unwrap();
    let rules = told["nftables"].as_array().unwrap().iter().filter_map(|it| it.get("rule"));
    let expressions = rules.filter_map(|rule| rule["expr"].as_array());
    let dropping = expressions.filter(|it| it.iter().any(|e| e.get("drop").is_some()));
    let counts = dropping.flatten().filter_map(|e| e.get("counter")?.get("packets")?.as_u64());
    counts.sum()
}

/// Counts echo requests that arrive at an address of a pod, whoever they say they are from.
struct Seen {
    host: Host,
    ip: &'static str,
}

impl Seen {
    fn on(pod: &Pod, address: IpAddr) -> Self {
        let ip = nft_family(address);
        let request = if address.is_ipv4() { "icmp type" } else { "icmpv6 type" };
        pod.host
            .nft(&format!(
                "table {ip} seen {{\nchain input {{\ntype filter hook input priority 0\n\
                 {request} echo-request counter\n}}\n}}\n"
            ))
            .unwrap();
        Self { host: pod.host.clone(), ip }
    }

    fn count(&self) -> u64 {
        let told = self.host.json(&format!("nft -j list chain {} seen input", self.ip)).unwrap();
        let rules = told["nftables"].as_array().unwrap();
        let count = |it: &Value| {
            it["rule"]["expr"].as_array()?.iter().find_map(|e| e["counter"]["packets"].as_u64())
        };
        rules.iter().find_map(count).unwrap()
    }

    fn grows(&self) {
        assert!(self.count() > 0, "the counter counts nothing");
    }
}
