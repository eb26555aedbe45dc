//! Owns colour: when there is any, and what it means. Every state has a word of its own too.

use std::io::IsTerminal as _;

use tabled::settings::Color;

/// Whether colours are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Palette {
    /// No escape sequences at all.
    Plain,
    /// ANSI colours.
    Ansi,
}

/// What a text says about the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Nothing in particular.
    Neutral,
    /// It works.
    Good,
    /// It half works, or nobody knows yet.
    Doubtful,
    /// It does not work.
    Bad,
    /// A heading.
    Heading,
}

impl Palette {
    /// Colours on a terminal, unless `NO_COLOR` is set or the terminal is dumb.
    pub fn of_stdout() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        if refused || !std::io::stdout().is_terminal() { Self::Plain } else { Self::Ansi }
    }

    /// Returns the colour of a tone; none without colours or when the tone has none.
    pub fn colour(self, tone: Tone) -> Option<Color> {
        match (self, tone) {
            (Self::Plain, _) | (_, Tone::Neutral) => None,
            (_, Tone::Good) => Some(Color::FG_GREEN),
            (_, Tone::Doubtful) => Some(Color::FG_YELLOW),
            (_, Tone::Bad) => Some(Color::FG_RED),
            (_, Tone::Heading) => Some(Color::BOLD),
        }
    }

    /// Returns `text` in the colour of its tone.
    pub fn paint(self, tone: Tone, text: &str) -> String {
        self.colour(tone).map_or_else(|| text.to_owned(), |colour| colour.colorize(text))
    }
}
