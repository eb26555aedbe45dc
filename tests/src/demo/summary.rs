//! Owns the table at the end of the demo: what was promised, what was measured, whether it holds.

use owo_colors::Style;

use crate::demo::teller::{Teller, say};

/// Results, in the order they came.
#[derive(Debug, Default)]
pub struct Summary {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    claim: String,
    measured: String,
    holds: bool,
}

impl Summary {
    /// Adds a claim with what was measured.
    pub fn claim(&mut self, claim: &str, measured: &str, holds: bool) {
        let (claim, measured) = (claim.to_owned(), measured.to_owned());
        self.rows.push(Row { claim, measured, holds });
    }

    /// Adds a claim that holds if nothing went wrong.
    pub fn outcome(&mut self, claim: &str, outcome: Result<String, String>) {
        match outcome {
            Ok(measured) => self.claim(claim, &measured, true),
            Err(cause) => self.claim(claim, &cause, false),
        }
    }

    /// Says whether every claim holds.
    pub fn holds(&self) -> bool {
        !self.rows.is_empty() && self.rows.iter().all(|row| row.holds)
    }

    /// Prints it.
    pub fn print(&self, teller: &Teller) {
        let width = self.rows.iter().map(|row| row.claim.chars().count()).max().unwrap_or(0);
        say("");
        for row in &self.rows {
            let (word, style) = match row.holds {
                true => ("ok  ", Style::new().green()),
                false => ("FAIL", Style::new().red().bold()),
            };
            say(&format!(" {} {:width$}  {}", teller.paint(word, style), row.claim, row.measured));
        }
        let (passed, all) = (self.rows.iter().filter(|row| row.holds).count(), self.rows.len());
        say(&format!("\n {passed} of {all} hold, {:.1} s", teller.seconds()));
    }
}
