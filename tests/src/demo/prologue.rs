//! Owns the first part of the demo: broker, clusterset, tokens, joining, until everyone is reached.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::demo::cast::{Cast, Programs};
use crate::demo::summary::Summary;
use crate::demo::teller::Teller;
use crate::lab::error::LabError;
use crate::product::broker::Broker;
use crate::product::{admin, agent, command};

/// All members, as every one of them is to know the others.
pub const MEMBERS: [&str; 3] = ["berlin", "edge", "tokyo"];

/// The members other than `own`.
pub fn others(own: &str) -> Vec<&'static str> {
    MEMBERS.into_iter().filter(|member| *member != own).collect()
}

/// Starts the broker and makes the clusterset and its tokens.
///
/// # Errors
/// A command that fails.
pub fn found(cast: &Cast, teller: &mut Teller) -> Result<Broker, LabError> {
    let ground = &cast.ground;
    teller.chapter("A broker and a clusterset");
    teller.note("The broker is a bulletin board; it cannot forge what it carries.");
    teller.typed(&ground.broker, &Broker::line(ground));
    let broker = Broker::start(ground)?;
    teller.said(
        &broker.process.log()?.lines().filter(|it| is_greeting(it)).collect::<Vec<_>>().join("\n"),
    );
    Broker::admit(ground, command::KUBECONFIG)?;
    teller.run(&ground.admin, &command::init(&broker.url, &broker.spki))?;
    teller.chapter("A token for each member");
    for (member, networks) in [
        ("berlin", cast.berlin.networks()),
        ("tokyo", cast.tokyo.networks()),
        ("edge", cast.edge.networks()),
    ] {
        teller.run(&ground.admin, &command::token(member, &networks))?;
    }
    Ok(broker)
}

/// Starts the agents, joins, waits until all are reached.
///
/// # Errors
/// A command that fails, or a member that is not reached in time.
pub fn join(
    cast: &Cast,
    broker: Broker,
    teller: &mut Teller,
    summary: &mut Summary,
) -> Result<Programs, LabError> {
    teller.chapter("The members join");
    let mut agents = BTreeMap::new();
    for (host, settings, _) in cast.hosts() {
        teller.typed(&host, "sealane-agent &");
        agents.insert(host.name().to_owned(), agent::start(&host, &settings)?);
    }
    let begin = Instant::now();
    for (host, _, member) in cast.hosts() {
        admin::carry(&cast.ground, &command::token_file(member), &[&host])?;
        teller.run(&host, command::JOIN)?;
    }
    for (host, _, member) in cast.hosts() {
        agent::comes_to_reach(&host, &others(member))?;
    }
    let took = format!("{:.1} s after the first token", begin.elapsed().as_secs_f64());
    summary.claim("every host reaches every member", &took, true);
    Ok(Programs { broker, agents })
}

fn is_greeting(line: &str) -> bool {
    ["url ", "pin ", "try "].iter().any(|key| line.starts_with(key))
}
