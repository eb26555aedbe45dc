//! Owns what is written of our table next: what differs, where it is known what stands, else all of it
//! and why; and a look at what was written. Writes nothing.

use std::collections::BTreeMap;

use sealane_state::filter::FilterTable;
use sealane_state::nft_edit;

use crate::nft::NftError;
use crate::nft::generation::Generation;
use crate::nft::listing::{self, Listing};
use crate::nft::program::Program;
use crate::nft::record::{Record, RecordedChain, tag};

/// What is written next.
#[derive(Debug)]
pub(super) enum Draft {
    /// What differs.
    Edit {
        /// Commands; empty where nothing does.
        text: String,
        /// The generation from before it was looked at what stands.
        made_for: Generation,
    },
    /// The whole table, at the price of packets that pass meanwhile.
    Whole {
        /// Why no edit does.
        reason: String,
    },
}

impl Draft {
    /// Makes the one for a table that stands as `record` says, if it does.
    ///
    /// # Errors
    /// Those of a program that would not write either.
    pub(super) fn of(
        wanted: &FilterTable,
        record: Option<&Record>,
        program: &Program,
    ) -> Result<Self, NftError> {
        let whole = |reason: &str| Ok(Self::Whole { reason: reason.to_owned() });
        let made_for = Generation::of_rules()?;
        let Some(record) = record else {
            return whole("nothing is known of what stands");
        };
        let shown = match program.listing(&["-s", "-n"]) {
            Ok(Some(shown)) => shown,
            Ok(None) => return whole("there is none"),
            Err(error @ NftError::Refused { .. }) => return whole(&error.to_string()),
            Err(error) => return Err(error),
        };
        let Some(stands) = record.table_if_shown(&shown) else {
            return whole("another hand changed it");
        };
        Ok(Self::from(&stands, wanted, made_for))
    }

    fn from(stands: &FilterTable, wanted: &FilterTable, made_for: Generation) -> Self {
        match nft_edit::edit(stands, wanted, tag) {
            Ok(Some(text)) => Self::Edit { text, made_for },
            Ok(None) => Self::Whole {
                reason: "a chain has another hook or a set another family".to_owned(),
            },
            Err(error) => Self::Whole { reason: format!("what stands cannot be edited: {error}") },
        }
    }
}

/// Our table between two equal generations.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) generation: Generation,
    shown: String,
    listing: Listing,
}

/// What came of looking.
#[derive(Debug)]
pub(super) enum Sight {
    /// It stands like this.
    Clear(Look),
    /// There is no such table.
    Gone,
    /// Somebody wrote meanwhile, this table or another.
    Blurred,
}

impl Sight {
    /// Looks.
    ///
    /// # Errors
    /// [`NftError`] when the program is missing, refuses, hangs or shows something unknown.
    pub(super) fn of(program: &Program) -> Result<Self, NftError> {
        let generation = Generation::of_rules()?;
        let shown = program.listing(&["-s", "-n"])?;
        let json = program.listing(&["-j"])?;
        if Generation::of_rules()? != generation {
            return Ok(Self::Blurred);
        }
        let (Some(shown), Some(json)) = (shown, json) else { return Ok(Self::Gone) };
        Ok(Self::Clear(Look { generation, shown, listing: listing::parse(&json)? }))
    }
}

impl Look {
    /// Remembers `table` as written, if that is what stands. `before` is the generation from before
    /// the write: where another transaction lies between, each rule must look as one of `known` does.
    pub(super) fn record(
        &self,
        table: &FilterTable,
        before: Option<Generation>,
        known: &BTreeMap<String, RecordedChain>,
    ) -> Option<Record> {
        if before.is_some_and(|before| self.generation.follows(before)) {
            return Record::of(table, &self.shown, &self.listing);
        }
        let is_known = || self.listing.shows_only(known) && !self.is_flagged();
        Record::of(table, &self.shown, &self.listing).filter(|_| is_known())
    }

    /// Makes the draft that mends what does not stand as wanted.
    pub(super) fn mend(
        self,
        wanted: &FilterTable,
        known: &BTreeMap<String, RecordedChain>,
    ) -> Draft {
        let made_for = self.generation;
        if self.is_flagged() {
            return Draft::Whole { reason: "another hand gave it a flag".to_owned() };
        }
        match Draft::from(&self.listing.table(Some(known)), wanted, made_for) {
            Draft::Edit { text, .. } if text.is_empty() => {
                Draft::Whole { reason: "it is not shown as it was written".to_owned() }
            }
            draft => draft,
        }
    }

    /// Says whether something stands in the table beside sets and chains, such as a flag, which some
    /// versions of `nft` leave out of the JSON.
    fn is_flagged(&self) -> bool {
        let parts = self.shown.lines().filter_map(|line| line.strip_prefix('\t'));
        let mut parts = parts.filter(|part| !part.starts_with('\t'));
        parts.any(|part| !["set ", "chain ", "}"].iter().any(|known| part.starts_with(known)))
    }
}
