//! Owns the test that an underlay which takes less than its links promise, and does not say so, is
//! found out and lived with.

use std::time::Duration;

use ipnetwork::IpNetwork;
use sealane_tests::lab::address::Family;
use sealane_tests::lab::host::Host;
use sealane_tests::lab::wait::eventually;
use sealane_tests::product::agent;
use sealane_view::peers::PeersDocument;
use sealane_view::routes::RoutesDocument;

use crate::size;
use crate::stage::{Stage, shared};

/// What the router before the edge takes.
const NARROW: u32 = 1380;
/// What a lane takes there: the outer headers are 60 or 80 bytes, and up to 15 of padding.
const LANE: std::ops::RangeInclusive<u32> = 1280..=NARROW - 60;
/// How long the search may take on a busy machine.
const SEARCH: Duration = Duration::from_secs(30);

/// A router that says nothing of the packets that it cannot send on. Of what is no tunnel, TCP is
/// told to send less, as home routers do.
const SILENT: &str = "table inet silent {
    chain forward {
        type filter hook forward priority mangle
        tcp flags syn tcp option maxseg size set rt mtu
    }
    chain output {
        type filter hook output priority filter
        icmp type destination-unreachable drop
        icmpv6 type packet-too-big drop
    }
}";

#[test]
fn a_silent_narrow_underlay_is_found_and_every_packet_still_crosses() {
    let _machine = shared();
    let mut stage = Stage::bare("narrow", Family::Dual);
    let router = &stage.edge.router;
    router.nft(SILENT).unwrap();
    for link in ["eth0", "eth1"] {
        router.run(&format!("ip link set {link} mtu {NARROW}")).unwrap();
    }
    stage.start_agents();
    stage.join_berlin();
    stage.join_edge();
    stage.await_lanes();
    let gateway = &stage.berlin.gateway.host;
    for (host, networks) in [
        (gateway, stage.edge.networks()),
        (&stage.edge.host, stage.berlin.cluster.spec().pods.clone()),
    ] {
        eventually(SEARCH, format!("{} sends what fits", host.name()), || {
            networks.iter().try_for_each(|network| is_sized(host, *network))
        })
        .unwrap();
    }
    size::every_size_crosses(&[&stage.berlin.far, &stage.edge.app]);
    let crosses = size::too_big_is_told_and_what_was_told_fits(
        &stage.berlin.far,
        stage.edge.app.link.addresses()[0],
    );
    assert!(LANE.contains(&crosses), "{crosses}");
}

/// What was found, what is told and what the kernel has been given are one number.
fn is_sized(host: &Host, network: IpNetwork) -> Result<(), String> {
    let peers: PeersDocument = agent::document(host, "peers").map_err(|e| e.to_string())?;
    let found = peers.peers[0].path_mtu_bytes.ok_or("nothing is found")?;
    let routes: RoutesDocument = agent::document(host, "routes").map_err(|e| e.to_string())?;
    let route = routes.routes.iter().find(|route| route.destination == network);
    let told = route.ok_or("no route")?.mtu_bytes;
    let family = if network.is_ipv4() { "-4" } else { "-6" };
    let kernel = host.run(&format!("ip {family} route show table 5182 {network}"));
    let kernel = kernel.map_err(|error| error.to_string())?;
    let is_set = kernel.contains(&format!(" mtu {found} "));
    if LANE.contains(&found) && told == Some(found) && is_set {
        return Ok(());
    }
    Err(format!("{}: found {found}, told {told:?}: {kernel}", host.name()))
}
