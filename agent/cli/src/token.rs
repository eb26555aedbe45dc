//! Owns the commands `sealane token`: letting a member in, renewing its way to the broker, and looking at
//! a token without showing its secrets.

pub mod secret_file;
pub mod content;
pub mod create;
pub mod renew;
pub mod inspect;

use clap::Subcommand;

use crate::failure::{Exit, Failure};

/// `sealane token`.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Put a member on the list and print the token it joins with.
    Create(Box<create::CreateArgs>),
    /// Print a token with a new broker credential for a member on the list; it joins nobody anew.
    Renew(renew::RenewArgs),
    /// Show what a token says, without its secrets.
    Inspect(inspect::InspectArgs),
}

/// Runs one of the commands.
pub async fn run(command: TokenCommand) -> Result<Exit, Failure> {
    match command {
        TokenCommand::Create(args) => create::run(&args).await,
        TokenCommand::Renew(args) => renew::run(&args).await,
        TokenCommand::Inspect(args) => inspect::run(&args),
    }
}
