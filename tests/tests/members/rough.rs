//! Owns the test that lanes bear loss, disorder and doubles on the way between their gateways: none goes
//! down, and probes say how much is lost.

use std::time::Duration;

use sealane_tests::lab::address::Family;
use sealane_tests::lab::impair::relay::{Relay, Weather};
use sealane_tests::lab::segment::Segment;
use sealane_tests::lab::wait::{eventually, throughout};
use sealane_tests::product::agent;
use sealane_tests::product::ground::ranges;
use sealane_tests::traffic::relay::fate::Impairment;
use sealane_view::peers::{PathState, PeersDocument};

use crate::stage::{Stage, alone};

/// How long each weather lasts, at least.
const SPELL: Duration = Duration::from_secs(8);
/// Within which the last hundred probes, which loss is told of, are of one weather: they leave once a
/// second where nothing is lost.
const WINDOW: Duration = Duration::from_secs(150);

/// A weather, and what probes may say of it: both ways together lose `1 - (1 - loss)^2`, and a hundred
/// probes say so give or take four deviations.
struct Spell {
    name: &'static str,
    each_way: Impairment,
    permille: std::ops::RangeInclusive<u16>,
}

fn spells() -> [Spell; 5] {
    let loss = |loss| Impairment { loss, ..Impairment::NONE };
    let spell = |name, each_way, permille| Spell { name, each_way, permille };
    let reorder = Impairment { reorder: 0.3, ..Impairment::NONE };
    let duplicate = Impairment { duplicate: 0.3, ..Impairment::NONE };
    [
        spell("1 % loss", loss(0.01), 0..=80),
        spell("5 % loss", loss(0.05), 10..=220),
        spell("20 % loss", loss(0.2), 170..=560),
        spell("30 % out of order", reorder, 0..=20),
        spell("30 % doubled", duplicate, 0..=20),
    ]
}

#[test]
fn loss_disorder_and_doubles_take_no_lane_down_and_probes_tell_the_loss() {
    let _machine = alone();
    let mut stage = Stage::bare("rough", Family::Dual);
    let mut relay = behind_a_rough_router(&stage);
    stage.start_agents();
    stage.join_berlin();
    stage.join_edge();
    stage.await_lanes();
    let gateways = [(&stage.berlin.gateway.host, "edge"), (&stage.edge.host, "berlin")];
    let lane = |host| {
        let told: PeersDocument = agent::document(host, "peers").map_err(|e| e.to_string())?;
        told.peers.into_iter().next().ok_or_else(|| "no lane".to_owned())
    };
    let since = gateways.map(|(host, _)| lane(host).unwrap().since_unix_seconds);
    for (seed, spell) in (1..).zip(spells()) {
        relay.change(Weather { seed, onward: spell.each_way, back: spell.each_way }).unwrap();
        let flow = stage.flow_to_come(500, SPELL);
        throughout(SPELL, "no lane is found down", || {
            gateways.iter().try_for_each(|(host, member)| agent::reaches(host, &[*member]))
        })
        .unwrap();
        let report = flow.finish().unwrap();
        let mut told = [0; 2];
        for ((host, _), told) in gateways.iter().zip(&mut told) {
            *told = eventually(WINDOW, format!("{}: loss at {}", spell.name, host.name()), || {
                let lane = lane(host)?;
                assert_eq!(lane.state, PathState::Up, "{lane:?}");
                let permille = lane.loss_permille.unwrap_or(1000);
                let is_right = spell.permille.contains(&permille);
                if is_right { Ok(permille) } else { Err(format!("{permille} of 1000")) }
            })
            .unwrap();
        }
        println!(
            "{}: flow lost {} of {}, {} out of order, {} doubled; probes say {told:?} of 1000",
            spell.name, report.lost, report.sent, report.reordered, report.duplicates
        );
        // WireGuard refuses what it has had already.
        assert_eq!(report.duplicates, 0, "{report:?}");
        assert_eq!(report.reordered > 0, spell.each_way.reorder > 0.0, "{report:?}");
        if spell.each_way.loss == 0.0 {
            assert_eq!(report.lost, 0, "{}: {report:?}", spell.name);
        }
    }
    relay.change(Weather { seed: 9, onward: Impairment::NONE, back: Impairment::NONE }).unwrap();
    // Never down: a lane that came back would have another beginning.
    for ((host, _), since) in gateways.iter().zip(since) {
        let now = lane(host).unwrap().since_unix_seconds;
        assert!(now.unwrap().abs_diff(since.unwrap()) <= 1, "{since:?} became {now:?}");
    }
    stage.loses_nothing();
}

/// Moves the first gateway to a network of its own, behind a router that does as it is told.
fn behind_a_rough_router(stage: &Stage) -> Relay {
    let ground = &stage.ground;
    let gateway = &stage.berlin.gateway.host;
    let subnets = ranges(ground.family, ([198, 51, 100, 0], 24), ([0x2001, 0xdb8, 0xc0], 64));
    let coast = Segment::new(&ground.lab, "coast", subnets.unwrap()).unwrap();
    let router = ground.lab.host("rough").unwrap();
    let outside = ground.internet.attach(&router, 30).unwrap();
    let inside = coast.attach(&router, 1).unwrap();
    let uplink = coast.attach(gateway, 11).unwrap();
    gateway.run("ip link set eth1 down").unwrap();
    gateway.default_via(&inside.addresses()).unwrap();
    let masquerade = format!("add rule inet nat postrouting oifname {} masquerade\n", uplink.name);
    gateway.nft(&masquerade).unwrap();
    // Everybody's router is told the way there.
    let isp = ground.lab.host("isp").unwrap();
    for host in [&isp, &ground.broker] {
        for (network, via) in coast.subnets().iter().zip(outside.addresses()) {
            host.run(&format!("ip route add {network} via {via}")).unwrap();
        }
    }
    let weather = Weather { seed: 0, onward: Impairment::NONE, back: Impairment::NONE };
    Relay::start(&router, [&inside, &outside], weather).unwrap()
}
