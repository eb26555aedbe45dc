//! Owns the form of an answer, `-o table|json|yaml`, and the way to standard output.

use std::io::{self, Write as _};

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::palette::Palette;
use crate::failure::{Exit, Failure};

/// Form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Form {
    /// Aligned text for people.
    #[default]
    Table,
    /// JSON, two spaces deep.
    Json,
    /// YAML.
    Yaml,
}

/// The flag that chooses the form.
#[derive(Debug, Clone, Copy, Args)]
pub struct FormArgs {
    /// Form of the answer.
    #[arg(short, long, global = true, value_enum, value_name = "FORM", default_value_t)]
    pub output: Form,
}

impl FormArgs {
    /// Writes a document to standard output; `table` draws it for people.
    pub fn show<T: Serialize>(
        self,
        document: &T,
        table: impl FnOnce(&T, Palette) -> String,
    ) -> Result<(), Failure> {
        print(&self.rendered(document, table)?)
    }

    /// Returns what [`FormArgs::show`] writes.
    pub fn rendered<T: Serialize>(
        self,
        document: &T,
        table: impl FnOnce(&T, Palette) -> String,
    ) -> Result<String, Failure> {
        let unwritable = |cause: String| Failure::new(Exit::NotWorking, "render the answer", cause);
        match self.output {
            Form::Table => Ok(table(document, Palette::of_stdout())),
            Form::Json => serde_json::to_string_pretty(document)
                .map(|text| text + "\n")
                .map_err(|error| unwritable(error.to_string())),
            Form::Yaml => {
                serde_saphyr::to_string(document).map_err(|error| unwritable(error.to_string()))
            }
        }
    }
}

/// Writes to standard output. A reader that has gone away, as with `| head`, is no failure.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(cause) if cause.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::NotWorking, "write to standard output", cause))
        }
        _ => Ok(()),
    }
}

/// Says something beside the answer: notes and warnings go to standard error.
pub fn note(text: &str) {
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(io::stderr(), "{text}");
}
