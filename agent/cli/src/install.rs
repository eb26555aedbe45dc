//! Owns what is installed beside the program: completions of shells and manual pages, both made from
//! the words of the command line. Does not own the words.

use std::path::PathBuf;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::command::CommandLine;
use crate::failure::{Exit, Failure};
use crate::show::form::print;

/// `sealane completions`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  source <(sealane completions bash)")]
pub struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

/// `sealane man`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sealane man /usr/local/share/man/man1")]
pub struct ManArgs {
    /// A folder that is there; a page for each command is written into it.
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

/// Prints a shell's completions.
pub fn completions(args: &CompletionsArgs) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut CommandLine::command(), "sealane", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Fine)
}

/// Writes the manual pages.
pub fn man(args: &ManArgs) -> Result<Exit, Failure> {
    clap_mangen::generate_to(CommandLine::command(), &args.folder).map_err(|cause| {
        Failure::new(Exit::BadInput, args.folder.display(), cause)
            .next("name a folder that is there and can be written")
    })?;
    Ok(Exit::Fine)
}
