//! Owns the program `sealane`: arguments in, one line of error or an answer out, exit code. What the
//! commands do is in the library.

use std::process::ExitCode;

use sealane_cli::command;
use sealane_cli::failure::Exit;

fn main() -> ExitCode {
    let arguments = std::env::args_os().collect();
    let command = command::parse(arguments);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(cause) => {
            eprintln!("sealane: no runtime: {cause}; free memory or file descriptors");
            return Exit::NotWorking.into();
        }
    };
    match runtime.block_on(command::run(command)) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            eprintln!("sealane: {failure}");
            failure.exit.into()
        }
    }
}
