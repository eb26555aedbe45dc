//! Owns the words of the command line and which of them leads where. Does not own what they do.

use std::ffi::OsString;
use std::path::Path;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use clap_complete::Shell;

use crate::clusterset::ClusterSetCommand;
use crate::failure::{Exit, Failure};
use crate::identity::IdentityCommand;
use crate::member::MemberCommand;
use crate::show::form::print;
use crate::token::TokenCommand;
use crate::{clusterset, identity, join, leave, member, peers, ping, routes, status, token, trace};

const PLUGIN: &str = "kubectl-sealane";

const AFTER: &str = "\
Examples:
  sealane status
  sealane trace 10.1.0.5 10.2.0.9
  sealane token create --cluster edge-1 --cidr 192.168.7.0/24 --output edge-1.token

Named kubectl-sealane and on the PATH, the same program is `kubectl sealane`.

Exit codes:
  0  done, or all is well
  1  what was asked about does not work: a problem in status, a trace that fails, no answer to ping
  2  wrong arguments
  3  the agent of this host cannot be reached
  4  the broker cannot be reached, or refused
  5  a file, token, key or passphrase cannot be used

Colour is used on a terminal unless NO_COLOR is set.";

/// What is connected, which way a packet goes, and why not.
#[derive(Debug, Parser)]
#[command(name = "sealane", version, after_help = AFTER, arg_required_else_help = true)]
pub struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show whether this host reaches the other members, and why not.
    Status(status::StatusArgs),
    /// Show the lanes to other members' gateways, and the legs to own nodes.
    Peers(peers::PeersArgs),
    /// Show where packets for other members go.
    Routes(routes::RoutesArgs),
    /// Show what a packet meets on its way, and where it ends.
    Trace(trace::TraceArgs),
    /// Measure round trips through a lane.
    Ping(ping::PingArgs),
    /// Make this host a member's, by a token.
    Join(join::JoinArgs),
    /// Leave the clusterset and remove every trace from this host.
    Leave(leave::LeaveArgs),
    /// Look at this member's identity.
    #[command(subcommand)]
    Identity(IdentityCommand),
    /// Make, sign and apply the list of members; for the administrator.
    #[command(subcommand)]
    Clusterset(ClusterSetCommand),
    /// List, change and remove members; for the administrator.
    #[command(subcommand)]
    Member(MemberCommand),
    /// Let members in; for the administrator.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Print a script that completes commands in a shell.
    Completions(CompletionsArgs),
}

/// `sealane completions`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  source <(sealane completions bash)")]
struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

/// Reads the command line; ends the program with code 2 when it is wrong.
pub fn parse(arguments: Vec<OsString>) -> CommandLine {
    let mut command = CommandLine::command();
    if is_plugin(arguments.first()) {
        command = command.bin_name("kubectl sealane");
    }
    let matches = command.clone().get_matches_from(arguments);
    CommandLine::from_arg_matches(&matches)
        .unwrap_or_else(|error| error.format(&mut command).exit())
}

fn is_plugin(program: Option<&OsString>) -> bool {
    program.and_then(|path| Path::new(path).file_stem()).is_some_and(|name| name == PLUGIN)
}

/// Runs the command.
pub async fn run(line: CommandLine) -> Result<Exit, Failure> {
    match line.command {
        Command::Status(args) => status::run(&args).await,
        Command::Peers(args) => peers::run(&args).await,
        Command::Routes(args) => routes::run(&args).await,
        Command::Trace(args) => trace::run(&args).await,
        Command::Ping(args) => ping::run(&args).await,
        Command::Join(args) => join::run(&args).await,
        Command::Leave(args) => leave::run(&args).await,
        Command::Identity(command) => identity::run(command).await,
        Command::Clusterset(command) => clusterset::run(command).await,
        Command::Member(command) => member::run(command).await,
        Command::Token(command) => token::run(command).await,
        Command::Completions(args) => completions(&args),
    }
}

fn completions(args: &CompletionsArgs) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut CommandLine::command(), "sealane", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Fine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn every_command_shows_an_example() {
        fn check(command: &clap::Command) {
            for sub in command.get_subcommands() {
                let help = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
                let is_group = sub.has_subcommands();
                assert!(is_group || help.contains("Example"), "{} has no example", sub.get_name());
                check(sub);
            }
        }
        check(&CommandLine::command());
    }
}
