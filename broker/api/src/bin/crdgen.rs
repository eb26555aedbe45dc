//! `crdgen`: the definitions of our kinds as YAML, on standard output or as files of a directory. It
//! talks to no API server.

use std::error::Error;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use sealane_api::kinds;

const USAGE: &str = "usage: crdgen [DIRECTORY]
Prints the definition of every kind, or writes DIRECTORY/sealane.dev_<plural>.yaml for each.";
const HEADER: &str = "# Generated from broker/api/src/kinds.rs by `make crds`; edit there.\n";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.as_slice() {
        [] => print(),
        [option] if option.starts_with('-') => return usage(),
        [directory] => write(Path::new(directory)),
        _ => return usage(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            eprintln!("crdgen: {cause}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

fn print() -> Result<(), Box<dyn Error>> {
    let mut out = io::stdout().lock();
    for (_, yaml) in files()? {
        writeln!(out, "---")?;
        out.write_all(yaml.as_bytes())?;
    }
    Ok(())
}

fn write(directory: &Path) -> Result<(), Box<dyn Error>> {
    for (name, yaml) in files()? {
        let path = directory.join(name);
        std::fs::write(&path, yaml).map_err(|cause| format!("{}: {cause}", path.display()))?;
    }
    Ok(())
}

/// Returns name and text of each definition's file.
fn files() -> Result<Vec<(String, String)>, Box<dyn Error>> {
    let mut files = Vec::new();
    for definition in kinds::definitions() {
        let spec = &definition.spec;
        let name = format!("{}_{}.yaml", spec.group, spec.names.plural);
        let yaml = serde_saphyr::to_string(&definition)?;
        files.push((name, format!("{HEADER}{}\n", yaml.trim_end())));
    }
    Ok(files)
}
