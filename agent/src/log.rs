//! Owns where log lines go and how they look. Does not decide what is logged.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Sends log lines to standard error; `filter` is a level or an `EnvFilter` directive list.
///
/// # Errors
/// A text that says what is wrong with `filter`.
pub fn start(format: Format, filter: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| format!("log level {filter:?}: {error}; try info or debug"))?;
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    match format {
        Format::Text => {
            // The journal stamps its own time; a second one would only take room.
            let in_journal = std::env::var_os("JOURNAL_STREAM").is_some();
            if in_journal {
                registry.with(lines.without_time().with_ansi(false)).init();
            } else {
                let tty = std::io::IsTerminal::is_terminal(&std::io::stderr());
                let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
                registry.with(lines.with_ansi(tty && !plain)).init();
            }
        }
        Format::Json => registry.with(lines.json().flatten_event(true)).init(),
    }
    Ok(())
}
