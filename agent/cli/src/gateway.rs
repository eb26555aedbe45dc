//! Owns `sealane gateway`: what the keeper of a member is asked to do about its gateways.

pub mod revoke;
pub mod rotate;

use clap::Subcommand;

use crate::failure::{Exit, Failure};

/// `sealane gateway`.
#[derive(Debug, Subcommand)]
pub enum GatewayCommand {
    /// Replace the keys of this gateway without losing a packet.
    Rotate(rotate::RotateArgs),
    /// Have nobody believe a gateway of this member any more; on the host that holds its identity.
    Revoke(revoke::RevokeArgs),
    /// Let a revoked gateway of this member be certified again.
    Allow(revoke::AllowArgs),
}

/// Runs the command.
pub async fn run(command: GatewayCommand) -> Result<Exit, Failure> {
    match command {
        GatewayCommand::Rotate(args) => rotate::run(&args).await,
        GatewayCommand::Revoke(args) => revoke::revoke(&args).await,
        GatewayCommand::Allow(args) => revoke::allow(&args).await,
    }
}
