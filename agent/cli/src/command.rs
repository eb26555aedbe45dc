//! Owns the words of the command line and which of them leads where. Does not own what they do.

use std::ffi::OsString;
use std::path::Path;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::agent::AgentArgs;
use crate::clusterset::ClusterSetCommand;
use crate::failure::{Exit, Failure};
use crate::gateway::GatewayCommand;
use crate::identity::IdentityCommand;
use crate::install::{CompletionsArgs, ManArgs};
use crate::member::MemberCommand;
use crate::show::form::FormArgs;
use crate::token::TokenCommand;
use crate::{
    clusterset, gateway, identity, install, join, leave, member, peers, ping, routes, status,
    token, trace,
};

const PLUGIN: &str = "kubectl-sealane";

const AFTER: &str = "\
Examples:
  sealane status
  sealane trace 10.1.0.5 10.2.0.9
  sealane token create --cluster edge-1 --cidr 192.168.7.0/24 --token-file edge-1.token

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
    /// Before the command or behind it; the commands that use them declare them again.
    #[command(flatten)]
    agent: AgentArgs,
    #[command(flatten)]
    form: FormArgs,
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
    /// Look at this member's identity, or make the next one.
    #[command(subcommand)]
    Identity(IdentityCommand),
    /// Replace this gateway's keys; revoke gateways of this member.
    #[command(subcommand)]
    Gateway(GatewayCommand),
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
    /// Write the manual pages of all commands into a folder.
    Man(ManArgs),
}

/// Reads the command line; ends the program with code 2 when it is wrong.
pub fn parse(arguments: Vec<OsString>) -> CommandLine {
    let plugin = is_plugin(arguments.first());
    let mut command = grammar(plugin);
    let matches = command.clone().get_matches_from(arguments);
    if let Some((flag, leaf)) = stray_global(&CommandLine::command(), &matches) {
        let text = format!("`{}` takes no {flag}", leaf.join(" "));
        at_leaf(&mut command, &leaf).error(ErrorKind::ArgumentConflict, text).exit();
    }
    CommandLine::from_arg_matches(&matches)
        .unwrap_or_else(|error| error.format(&mut command).exit())
}

/// The whole command line as clap is to read it.
fn grammar(plugin: bool) -> clap::Command {
    let command = CommandLine::command();
    let globals: Vec<Arg> =
        command.get_arguments().filter(|it| it.is_global_set()).cloned().collect();
    let command = without_help_of(command, &globals);
    if plugin { command.bin_name("kubectl sealane") } else { command }
}

/// Flags before the command reach every command; the help of those that do not use them is silent.
fn without_help_of(command: clap::Command, globals: &[Arg]) -> clap::Command {
    command.mut_subcommands(|sub| {
        if sub.has_subcommands() {
            return without_help_of(hiding(sub, globals), globals);
        }
        hiding(sub, globals)
    })
}

fn hiding(command: clap::Command, globals: &[Arg]) -> clap::Command {
    let missing: Vec<Arg> = globals
        .iter()
        .filter(|global| !declares(&command, global.get_id().as_str()))
        .map(|global| global.clone().hide(true))
        .collect();
    command.args(missing)
}

fn declares(command: &clap::Command, id: &str) -> bool {
    command.get_arguments().any(|arg| arg.get_id() == id)
}

/// Finds a global flag that was typed for a command which does not use it: its name and the words that lead to the command.
fn stray_global(root: &clap::Command, matches: &ArgMatches) -> Option<(String, Vec<String>)> {
    let (mut leaf, mut place) = (root, matches);
    let mut words = Vec::new();
    while let Some((name, below)) = place.subcommand() {
        (leaf, place) = (leaf.find_subcommand(name)?, below);
        words.push(name.to_owned());
    }
    root.get_arguments()
        .filter(|global| global.is_global_set() && !declares(leaf, global.get_id().as_str()))
        .find(|global| {
            place.value_source(global.get_id().as_str()) == Some(ValueSource::CommandLine)
        })
        .map(|global| {
            let flag = format!("--{}", global.get_long().unwrap_or_default());
            (flag, words.clone())
        })
}

/// Returns the command that these words lead to, with its own usage.
fn at_leaf(command: &mut clap::Command, words: &[String]) -> clap::Command {
    command.build();
    let root: &clap::Command = command;
    words.iter().fold(root, |at, word| at.find_subcommand(word).unwrap_or(at)).clone()
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
        Command::Gateway(command) => gateway::run(command).await,
        Command::Clusterset(command) => clusterset::run(command).await,
        Command::Member(command) => member::run(command).await,
        Command::Token(command) => token::run(command).await,
        Command::Completions(args) => install::completions(&args),
        Command::Man(args) => install::man(&args),
    }
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
