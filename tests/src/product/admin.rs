//! Owns what an administrator does before anything works, without telling: for tests whose subject
//! is what comes after. The demo does the same in the open.

use ipnetwork::IpNetwork;

use crate::lab::error::LabError;
use crate::lab::host::Host;
use crate::product::broker::Broker;
use crate::product::command;
use crate::product::ground::Ground;

/// Starts the broker and makes the clusterset.
///
/// # Errors
/// The broker or the command line refuses.
pub fn found(ground: &Ground) -> Result<Broker, LabError> {
    let broker = Broker::start(ground)?;
    Broker::admit(ground, command::KUBECONFIG)?;
    ground.admin.run(&command::init(&broker.url, &broker.spki))?;
    Ok(broker)
}

/// Admits a member and carries the token to its hosts.
///
/// # Errors
/// The command line refuses.
pub fn admit(
    ground: &Ground,
    member: &str,
    networks: &[IpNetwork],
    hosts: &[&Host],
) -> Result<(), LabError> {
    ground.admin.run(&command::token(member, networks))?;
    carry(ground, &command::token_file(member), hosts)
}

/// Carries a token to hosts, as by `scp`.
///
/// # Errors
/// There is no such file.
pub fn carry(ground: &Ground, token: &str, hosts: &[&Host]) -> Result<(), LabError> {
    let token = ground.admin.read_file(token)?;
    hosts.iter().try_for_each(|host| host.write_file(command::TOKEN, &token))
}
