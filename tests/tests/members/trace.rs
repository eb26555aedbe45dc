//! Owns the tests of `sealane trace` on real hosts: that it says what happens to packets, on every
//! host of the way there and back, and names the place that fails.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use sealane_tests::lab::address::{Family, nft_family};
use sealane_tests::lab::host::Host;
use sealane_tests::lab::wait::eventually;
use sealane_tests::lab::wire::Exit;
use sealane_tests::product::agent;
use sealane_tests::product::site::SERVER_PORT;
use sealane_tests::traffic::drive;
use sealane_view::trace::{Outcome, Stage as Step, TraceDocument};

use crate::stage::{Stage, shared};

/// The hosts of the way, in the order a packet meets them.
/// Within which no agent goes by an old look any more.
const RECALLED: Duration = Duration::from_secs(5);

const WAY: [&str; 4] =
    ["berlin.berlin-worker", "berlin.berlin-gw", "tokyo.tokyo-gw", "tokyo.tokyo-worker"];

#[test]
fn a_trace_says_which_way_packets_go_and_names_the_place_that_fails() {
    let _machine = shared();
    let mut stage = Stage::all_joined("trace", Family::Dual);
    let tokyo = stage.tokyo.as_ref().unwrap();
    let (far_gateway, far_worker) = (tokyo.gateway.host.clone(), tokyo.worker.host.clone());
    let sources = stage.berlin.far.link.addresses();
    let ways: Vec<(IpAddr, IpAddr)> = sources.into_iter().zip(tokyo.far.link.addresses()).collect();
    let near = stage.berlin.worker.host.clone();
    let last = *ways.last().unwrap();
    for way in &ways {
        it_arrives(&near, *way);
    }
    for (host, at) in [
        (&near, WAY[0]),
        (&stage.berlin.gateway.host, WAY[1]),
        (&far_gateway, WAY[2]),
        (&far_worker, WAY[3]),
    ] {
        for way in &ways {
            a_firewall_is_named(&near, *way, host, at);
        }
    }
    for way in &ways {
        a_firewall_before_the_answer_is_named(&near, *way, &far_worker, WAY[3]);
    }
    it_arrives(&near, last);
    drive::http_server(&stage.tokyo.as_ref().unwrap().far.host, SERVER_PORT).unwrap();
    a_gateway_that_answers_probes_and_forwards_nothing_is_named(&stage, last, &far_gateway);
    a_silent_agent_is_named(&mut stage, &near, last, &far_gateway);
}

fn it_arrives(on: &Host, (from, to): (IpAddr, IpAddr)) {
    let verdict = format!(
        "{from} -> {to} is delivered at {} (link cni0) by way of {}, {}; \
         the answer comes back the same way",
        WAY[3], WAY[1], WAY[2]
    );
    let (exit, told) = comes_to_tell(on, (from, to), |told| told == verdict);
    assert_eq!((exit, told.outcome), (Exit::Code(0), Outcome::Ok), "{told:#?}");
    let there: BTreeSet<&str> = WAY.into_iter().collect();
    for step in [Step::Nft, Step::Rule, Step::Table, Step::Route, Step::Mtu, Step::ReturnPath] {
        let at: BTreeSet<&str> =
            told.hops.iter().filter(|h| h.stage == step).map(|h| h.at.as_str()).collect();
        // A full-sized packet's size is told where it leaves a host.
        assert_eq!(at, there, "{step:?}: {told:#?}");
    }
    for (step, at) in [(Step::Tunnel, &WAY[1..3]), (Step::Leg, &WAY[..])] {
        for at in at {
            assert!(
                told.hops.iter().any(|h| h.stage == step && h.at == *at),
                "{step:?} {at}: {told:#?}"
            );
        }
    }
}

fn a_firewall_is_named(on: &Host, (from, to): (IpAddr, IpAddr), host: &Host, at: &str) {
    host.nft(&firewall(from, to)).unwrap();
    let verdict =
        format!("{from} -> {to} fails at {at}: nft chain forward of table inet firewall drops it");
    let (exit, told) = comes_to_tell(on, (from, to), |told| told.starts_with(&verdict));
    host.nft("delete table inet firewall").unwrap();
    assert_eq!((exit, told.outcome), (Exit::Code(1), Outcome::Fail), "{told:#?}");
}

fn a_firewall_before_the_answer_is_named(
    on: &Host,
    (from, to): (IpAddr, IpAddr),
    host: &Host,
    at: &str,
) {
    host.nft(&firewall(to, from)).unwrap();
    let cause = format!(
        ", but its answer fails at {at}: nft chain forward of table inet firewall drops it"
    );
    let (exit, told) = comes_to_tell(on, (from, to), |told| told.contains(&cause));
    host.nft("delete table inet firewall").unwrap();
    assert!(
        told.verdict.starts_with(&format!("{from} -> {to} is delivered at {}", WAY[3])),
        "{told:#?}"
    );
    assert_eq!((exit, told.outcome), (Exit::Code(1), Outcome::Fail), "{told:#?}");
}

/// Probes end at the gateway itself: for the status it is up, as all of its own is; what a firewall of
/// others does behind it is told by the trace.
fn a_gateway_that_answers_probes_and_forwards_nothing_is_named(
    stage: &Stage,
    (from, to): (IpAddr, IpAddr),
    hollow: &Host,
) {
    let chain = "type filter hook forward priority 10\niifname sealane0 drop";
    hollow.nft(&format!("table inet hollow {{\nchain forward {{\n{chain}\n}}\n}}\n")).unwrap();
    let (near, server) = (&stage.berlin, SocketAddr::new(to, SERVER_PORT));
    drive::http_get(&near.far.host, server).unwrap_err();
    let place = "nft chain forward of table inet hollow drops it";
    let verdict = format!("{from} -> {to} fails at {}: {place}", WAY[2]);
    let named = |told: &str| told.starts_with(&verdict);
    let (exit, _) = comes_to_tell(&near.worker.host, (from, to), named);
    assert_eq!(exit, Exit::Code(1));
    agent::reaches(&near.gateway.host, &["edge", "tokyo"]).unwrap();
    hollow.nft("delete table inet hollow").unwrap();
    drive::http_get(&near.far.host, server).unwrap();
}

/// Packets flow without an agent, and the trace says so; where they go from its host is what nobody
/// can tell then.
fn a_silent_agent_is_named(
    stage: &mut Stage,
    on: &Host,
    (from, to): (IpAddr, IpAddr),
    host: &Host,
) {
    stage.agent(host).kill().unwrap();
    let verdict = format!(
        "{from} -> {to} gets as far as {} by way of {}; peer {} at ",
        WAY[2], WAY[1], WAY[2]
    );
    let parts = [
        "carries packets, though its agent does not answer probes".to_owned(),
        format!("the agent of {} does not tell what comes next", WAY[2]),
    ];
    // A tunnel that has nothing to send says so after 10 s.
    let named = eventually(Duration::from_secs(20), "the silent agent is named", || {
        let (exit, told) = traced(on, from, to);
        let named = told.verdict.starts_with(&verdict)
            && parts.iter().all(|part| told.verdict.contains(part));
        if named && exit == Exit::Code(0) { Ok(()) } else { Err(told.verdict) }
    });
    named.unwrap();
    // It is true.
    drive::http_get(&stage.berlin.far.host, SocketAddr::new(to, SERVER_PORT)).unwrap();
}

/// Drops these packets and no others, by the chain that every firewall has.
fn firewall(from: IpAddr, to: IpAddr) -> String {
    let ip = nft_family(from);
    format!(
        "table inet firewall {{\nchain forward {{\ntype filter hook forward priority filter\n\
         {ip} saddr {from} {ip} daddr {to} drop\n}}\n}}\n"
    )
}

/// Traces until the verdict is the one that is waited for: agents recall a look of a moment ago, the
/// longer the busier their host is.
#[track_caller]
fn comes_to_tell(
    on: &Host,
    (from, to): (IpAddr, IpAddr),
    is_it: impl Fn(&str) -> bool,
) -> (Exit, TraceDocument) {
    let told = eventually(RECALLED, "the trace tells how it is now", || {
        let (exit, told) = traced(on, from, to);
        if is_it(&told.verdict) { Ok((exit, told)) } else { Err(format!("{told:#?}")) }
    });
    told.unwrap()
}

fn traced(on: &Host, from: IpAddr, to: IpAddr) -> (Exit, TraceDocument) {
    let command = on.command("sealane").args(["trace", &from.to_string(), &to.to_string()]);
    let told = command.args(["-o", "json"]).output().unwrap();
    let document = serde_json::from_str(&told.stdout);
    (told.exit.unwrap(), document.unwrap_or_else(|error| panic!("{error}: {told:?}")))
}
