//! Owns what the demo prints while it runs: chapters, command lines, what they said. Runs commands,
//! decides nothing.

use std::io::{self, IsTerminal, Write};
use std::time::Instant;

use owo_colors::{OwoColorize, Style};

use crate::lab::error::LabError;
use crate::lab::host::Host;
use crate::lab::process::Outcome;
use crate::lab::wire::Exit;

/// Lines shown of what a command said; the rest is counted.
const SHOWN: usize = 40;

/// The voice of the demo.
#[derive(Debug)]
pub struct Teller {
    begin: Instant,
    colours: bool,
    chapters: u32,
}

impl Default for Teller {
    fn default() -> Self {
        let colours = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { begin: Instant::now(), colours, chapters: 0 }
    }
}

impl Teller {
    /// Begins a chapter.
    pub fn chapter(&mut self, title: &str) {
        self.chapters += 1;
        let clock = format!("[{:4.1} s]", self.seconds());
        let title = format!("{}. {title}", self.chapters);
        let title = self.paint(&title, Style::new().bold());
        say(&format!("\n{title}  {}", self.paint(&clock, Style::new().dimmed())));
    }

    /// Says a sentence.
    pub fn note(&self, text: &str) {
        say(&format!("   {text}"));
    }

    /// Shows a command as typed on a host.
    pub fn typed(&self, host: &Host, line: &str) {
        let prompt = format!("{}$", host.name());
        say(&format!("   {} {line}", self.paint(&prompt, Style::new().cyan())));
    }

    /// Runs a command in the open.
    ///
    /// # Errors
    /// Any exit code but 0.
    pub fn run(&self, host: &Host, line: &str) -> Result<String, LabError> {
        self.typed(host, line);
        let text = host.run(line)?;
        self.said(&text);
        Ok(text)
    }

    /// Runs a command in the open that may say "it does not work" (exit code 1), which is an answer.
    ///
    /// # Errors
    /// Any other exit code but 0.
    pub fn look(&self, host: &Host, line: &str) -> Result<Outcome, LabError> {
        self.typed(host, line);
        let mut words = line.split_whitespace();
        let command = host.command(words.next().unwrap_or_default()).args(words);
        let outcome = command.output()?;
        if !matches!(outcome.exit, Some(Exit::Code(0 | 1))) {
            outcome.clone().success()?;
        }
        self.said(&outcome.stdout);
        Ok(outcome)
    }

    /// Shows what a command said.
    pub fn said(&self, text: &str) {
        let lines: Vec<&str> = text.trim_end().lines().collect();
        for line in lines.iter().take(SHOWN) {
            say(&format!("     {}", self.paint(line, Style::new().dimmed())));
        }
        if lines.len() > SHOWN {
            say(&format!("     … {} more lines", lines.len() - SHOWN));
        }
    }

    /// The text in a style, where the reader is a terminal.
    pub fn paint(&self, text: &str, style: Style) -> String {
        if self.colours { text.style(style).to_string() } else { text.to_owned() }
    }

    /// Time since the demo began.
    pub fn seconds(&self) -> f64 {
        self.begin.elapsed().as_secs_f64()
    }
}

/// A reader that has gone away ends no demo: its checks and its cleaning go on.
pub fn say(text: &str) {
    let _ = writeln!(io::stdout().lock(), "{text}");
}
