//! Owns aligned columns without lines, as `kubectl get` prints them.

use tabled::builder::Builder;
use tabled::settings::object::{Cell, Rows};
use tabled::settings::{Padding, Style};

use super::palette::{Palette, Tone};
use super::text::printable;

/// A table that is being filled.
pub struct Table {
    builder: Builder,
    tones: Vec<(usize, usize, Tone)>,
    rows: usize,
}

impl Table {
    /// Starts with the headings.
    pub fn new<const N: usize>(headings: [&str; N]) -> Self {
        let mut builder = Builder::default();
        builder.push_record(headings);
        Self { builder, tones: Vec::new(), rows: 0 }
    }

    /// Starts without headings: a list of names and values.
    pub fn bare() -> Self {
        Self { builder: Builder::default(), tones: Vec::new(), rows: 0 }
    }

    /// Adds a row; foreign text is made printable here.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) -> &mut Self {
        self.builder.push_record(cells.map(|cell| match cell.as_str() {
            "" => super::units::dash(),
            text => printable(text),
        }));
        self.rows += 1;
        self
    }

    /// Gives the cell in this column of the last row a tone.
    pub fn tone(&mut self, column: usize, tone: Tone) -> &mut Self {
        let row = self.builder.count_records().saturating_sub(1);
        self.tones.push((row, column, tone));
        self
    }

    /// Says whether no row was added.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Returns the lines, each ended, without spaces at their ends.
    pub fn render(self, palette: Palette) -> String {
        let has_headings = self.builder.count_records() > self.rows;
        let mut table = self.builder.build();
        table.with(Style::empty()).with(Padding::new(0, 2, 0, 0));
        if let Some(colour) = palette.colour(Tone::Heading).filter(|_| has_headings) {
            table.modify(Rows::first(), colour);
        }
        for (row, column, tone) in self.tones {
            if let Some(colour) = palette.colour(tone) {
                table.modify(Cell::new(row, column), colour);
            }
        }
        let text = table.to_string();
        text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
    }
}
