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

/// The Kubernetes client, whose failures reach us as errors and are told in our words.
const CLIENT: &str = "kube_client";

/// Sends log lines to standard error; `filter` is a level or an `EnvFilter` directive list.
///
/// # Errors
/// A text that says what is wrong with `filter`.
pub fn start(format: Format, filter: &str) -> Result<(), String> {
    let filter = chosen(filter)?;
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

/// Returns the filter of a level or directive list; the Kubernetes client is silent unless named.
fn chosen(filter: &str) -> Result<EnvFilter, String> {
    let wrong = |error| format!("log level {filter:?}: {error}; try info or debug");
    // Checked alone: an error must show what was asked for.
    EnvFilter::try_new(filter).map_err(|error| wrong(error.to_string()))?;
    if filter.contains(CLIENT) {
        return EnvFilter::try_new(filter).map_err(|error| wrong(error.to_string()));
    }
    EnvFilter::try_new(format!("{filter},{CLIENT}=off")).map_err(|error| wrong(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(filter: &str) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
        let all = tracing_subscriber::registry().with(chosen(filter).unwrap()).with(layer);
        tracing::subscriber::with_default(all, || {
            tracing::warn!(target: "kube_client::client", "eof in poll");
            tracing::warn!("broker away");
        });
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_clients_own_lines_are_left_out_unless_asked_for() {
        for filter in ["info", "debug", "sealane_agent=debug", ""] {
            assert!(!logged(filter).contains("eof in poll"), "{filter}");
        }
        assert!(logged("info").contains("broker away"));
        assert!(logged("info,kube_client=warn").contains("eof in poll"));
    }

    #[test]
    fn a_filter_that_is_none_is_named_as_it_was_given() {
        let told = chosen("sealane_agent=loud").unwrap_err();
        assert!(told.starts_with("log level \"sealane_agent=loud\": "), "{told}");
    }
}
