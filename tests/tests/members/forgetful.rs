//! Owns the test that what changes while agents cannot reach the broker reaches them all once it is back,
//! though it has forgotten how it came to be. They list anew then; a watch that is resumed and refused
//! with 410 is the broker client's to test.

use std::time::{Duration, Instant};

use sealane_tests::lab::address::Family;
use sealane_tests::lab::impair::cut::Cut;
use sealane_tests::lab::wait::{eventually, until};
use sealane_tests::product::broker::Broker;
use sealane_tests::product::site::ClusterSite;
use sealane_tests::product::{admin, agent};

use crate::stage::{Stage, alone};

/// Changes that the broker remembers, and writes that it forgets.
const MEMORY: usize = 4;
const WRITES: u8 = 8;
/// Within which a broker that is gone is missed, and within which one that is back is found.
const FOUND: Duration = Duration::from_secs(15);

#[test]
fn what_changed_and_was_forgotten_while_the_broker_was_away_reaches_everybody() {
    let _machine = alone();
    let mut stage = Stage::bare("forgetful", Family::Dual);
    stage.tokyo = Some(ClusterSite::new(&stage.ground, "tokyo", 2).unwrap());
    stage.start_agents();
    stage.join_berlin();
    stage.join_edge();
    agent::comes_to_reach(&stage.edge.host, &["berlin"]).unwrap();
    let ground = &stage.ground;
    let (internet, broker) = (&ground.internet, &ground.broker);
    let (edge, berlin) = (stage.edge.host.clone(), stage.berlin.gateway.host.clone());

    // Agents that run remember where they were; one starts cold meanwhile.
    stage.broker.process.kill().unwrap();
    let cuts =
        [&berlin, &stage.edge.router].map(|host| Cut::between(internet, host, broker).unwrap());
    let line = format!("{} --history {MEMORY}", Broker::line(ground));
    let mut words = line.split_whitespace();
    let program = broker.command(words.next().unwrap()).args(words);
    let forgetful = program.spawn().unwrap();
    forgetful.says("try ", FOUND).unwrap();
    let process = stage.agents.get_mut(edge.name()).unwrap();
    process.restart().unwrap();
    agent::answers(process).unwrap();
    agent::comes_to_reach(&edge, &["berlin"]).unwrap();
    until(FOUND, "the broker is missed", || {
        [&edge, &berlin].iter().all(|host| !agent::status(host).unwrap().broker.unwrap().connected)
    })
    .unwrap();

    for number in 0..WRITES {
        let network = format!("10.{}.0.0/16", 200 + number).parse().unwrap();
        admin::admit(&stage.ground, &format!("late-{number}"), &[network], &[]).unwrap();
    }
    stage.join(stage.tokyo.as_ref().unwrap());
    let version = |host| agent::status(host).unwrap().clusterset.unwrap().version;
    let newest = u64::from(WRITES) + 4;
    let tokyo = stage.tokyo.as_ref().unwrap().gateway.host.clone();
    eventually(FOUND, "who sees the broker knows", || match version(&tokyo) {
        now if now >= newest - 1 => Ok(()),
        now => Err(now),
    })
    .unwrap();
    let newest = version(&tokyo);
    assert!(version(&edge) < newest && version(&berlin) < newest);

    let begin = Instant::now();
    cuts.into_iter().for_each(|cut| cut.heal().unwrap());
    for (host, others) in [(&edge, ["berlin", "tokyo"]), (&berlin, ["edge", "tokyo"])] {
        eventually(FOUND, "all lanes are up", || {
            let told = agent::status(host).map_err(|error| error.to_string())?;
            let lacks = others.iter().find(|member| {
                !told.members.iter().any(|it| it.member == **member && it.live_gateways == 1)
            });
            match lacks {
                None => Ok(()),
                Some(member) => Err(format!("{} lacks {member}: {told:?}", host.name())),
            }
        })
        .unwrap();
        assert_eq!(version(host), newest);
    }
    println!(
        "forgetful broker: everybody knows {} ms after it is back",
        begin.elapsed().as_millis()
    );
    stage.loses_nothing();
}
