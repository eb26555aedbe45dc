//! Owns how progress is shown beside an answer: one line that changes on a terminal, else one line
//! for each thing reached. Knows nothing of what is waited for.

use std::io::{self, IsTerminal as _, Write};

use super::stages::Stage;
use crate::show::text::printable;

/// Narrower than any terminal in use: a line that wraps cannot be taken back.
const WIDTH: usize = 78;

/// Where progress is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Screen {
    /// A terminal that can take a line back.
    Terminal,
    /// A log or a pipe.
    Lines,
}

/// Progress that is being shown.
pub struct Progress<W: Write> {
    out: W,
    screen: Screen,
    told: Vec<String>,
}

impl Progress<io::Stderr> {
    /// Shows progress on standard error.
    pub fn on_stderr() -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|name| name == "dumb");
        let screen = match io::stderr().is_terminal() && !dumb {
            true => Screen::Terminal,
            false => Screen::Lines,
        };
        Self::new(io::stderr(), screen)
    }
}

impl<W: Write> Progress<W> {
    /// Shows progress there.
    pub fn new(out: W, screen: Screen) -> Self {
        Self { out, screen, told: Vec::new() }
    }

    /// Shows how far things are: those reached, up to and with the first that is not.
    pub fn show(&mut self, stages: &[Stage]) {
        let reached = stages.iter().take_while(|stage| stage.reached).count();
        for stage in stages.iter().take(reached + 1) {
            self.tell(&stage.text);
        }
    }

    /// Shows one line, unless it was shown before.
    pub fn tell(&mut self, text: &str) {
        let line = printable(text);
        if self.told.contains(&line) {
            return;
        }
        // Nobody is left to tell when standard error is closed.
        let _ = match self.screen {
            Screen::Terminal => {
                let cut: String = line.chars().take(WIDTH).collect();
                write!(self.out, "\r\x1b[2K{cut}")
            }
            Screen::Lines => writeln!(self.out, "{line}"),
        }
        .and_then(|()| self.out.flush());
        self.told.push(line);
    }

    /// Takes the changing line away; what was written as lines stays.
    pub fn end(mut self) -> W {
        if self.screen == Screen::Terminal {
            // As above.
            let _ = write!(self.out, "\r\x1b[2K").and_then(|()| self.out.flush());
        }
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(text: &str, reached: bool) -> Stage {
        Stage { reached, text: text.to_owned(), next: String::new() }
    }

    fn shown(screen: Screen) -> String {
        let mut progress = Progress::new(Vec::new(), screen);
        progress.show(&[stage("waiting for a", false), stage("waiting for b", false)]);
        progress.show(&[stage("a", true), stage("waiting for b", false)]);
        progress.show(&[stage("a", true), stage("b\u{1b}[2J", true)]);
        String::from_utf8(progress.end()).unwrap()
    }

    #[test]
    fn a_log_gets_each_line_once() {
        assert_eq!(shown(Screen::Lines), "waiting for a\na\nwaiting for b\nb\\u{1b}[2J\n");
    }

    #[test]
    fn a_terminal_gets_one_line_that_changes_and_goes() {
        let text = shown(Screen::Terminal);
        assert!(!text.contains('\n'), "{text:?}");
        assert!(text.ends_with("b\\u{1b}[2J\r\u{1b}[2K"), "{text:?}");
    }
}
