//! Owns the last part of the demo: a member leaves, and its host is as it was.

use std::time::Duration;

use sealane_view::status::MemberState;

use crate::demo::cast::Cast;
use crate::demo::summary::Summary;
use crate::demo::teller::Teller;
use crate::lab::error::LabError;
use crate::lab::wait::eventually;
use crate::product::agent;
use crate::product::traces::Traces;
use crate::product::{admin, command};

/// How long the others may take to hear of it.
const HEARD: Duration = Duration::from_secs(5);

/// The edge leaves; its host must be as before it joined.
///
/// # Errors
/// A command that fails.
pub fn edge_leaves(
    cast: &Cast,
    before: &Traces,
    teller: &mut Teller,
    summary: &mut Summary,
) -> Result<(), LabError> {
    teller.chapter("A member leaves");
    let host = &cast.edge.host;
    teller.run(host, command::LEAVE)?;
    let outcome = before.same_as(&Traces::of(host)?);
    let same = "ip, nft, sysctl and files are as before the join".to_owned();
    summary.outcome("leave gives the host back", outcome.map(|()| same));
    let kubectl = format!("kubectl --kubeconfig {} get advertisements", command::KUBECONFIG);
    let told = teller.run(&cast.ground.admin, &kubectl)?;
    let line = told.lines().find(|line| line.starts_with("edge."));
    let outcome = match line {
        Some(line) if line.contains("withdrawn") => Ok("withdrawn, signed".to_owned()),
        other => Err(format!("{other:?}")),
    };
    summary.outcome("its word on the broker", outcome);
    let gateway = &cast.berlin.gateway.host;
    let heard = eventually(HEARD, "the others hear of it", || {
        let status = agent::status(gateway).map_err(|error| error.to_string())?;
        match status.members.into_iter().find(|member| member.member == "edge") {
            Some(edge) if edge.state == MemberState::Absent => Ok(edge.reason),
            other => Err(format!("{other:?}")),
        }
    });
    summary.outcome("the others drop it", heard.map_err(|error| error.to_string()));
    Ok(())
}

/// The edge joins again, by a new token: for a demo that is kept to look around.
///
/// # Errors
/// A command that fails, or lanes that do not come up.
pub fn edge_returns(cast: &Cast, teller: &mut Teller) -> Result<(), LabError> {
    teller.chapter("And joins again, with a new token");
    teller.run(&cast.ground.admin, &command::token_again("edge"))?;
    admin::carry(&cast.ground, &command::again("edge"), &[&cast.edge.host])?;
    teller.run(&cast.edge.host, command::JOIN)?;
    agent::comes_to_reach(&cast.edge.host, &["berlin", "tokyo"])
}
