//! Owns how long a reading of our table may be given again without asking `nft`. Does not read.

use std::time::{Duration, Instant};

use sealane_state::filter::FilterTable;

use crate::nft::generation::Generation;

/// The kernel moves the generation on at the start of a commit, and some of what the commit changes
/// (policies, flags) shows a moment later. What is read this long after is settled.
const SETTLED: Duration = Duration::from_secs(1);
/// A reading is not trusted for longer, whatever the generation says.
const LONGEST: Duration = Duration::from_secs(60);

/// The last reading, and how long its generation was there before it was made.
#[derive(Debug, Default)]
pub(super) struct Lasting {
    seen: Option<Seen>,
}

#[derive(Debug)]
struct Seen {
    generation: Generation,
    first: Instant,
    read: Instant,
    table: Option<FilterTable>,
}

impl Lasting {
    /// Returns the reading, if nothing can have changed since.
    pub(super) fn if_still(
        &self,
        generation: Generation,
        now: Instant,
    ) -> Option<Option<FilterTable>> {
        let seen = self.seen.as_ref().filter(|seen| seen.generation == generation)?;
        let settled = seen.read.duration_since(seen.first) >= SETTLED;
        let fresh = now.duration_since(seen.read) < LONGEST;
        (settled && fresh).then(|| seen.table.clone())
    }

    /// Keeps a reading; `generation` and `now` are those from before it was made.
    pub(super) fn keep(
        &mut self,
        generation: Generation,
        now: Instant,
        table: Option<FilterTable>,
    ) {
        let known = self.seen.take().filter(|seen| seen.generation == generation);
        let first = known.map_or(now, |seen| seen.first);
        self.seen = Some(Seen { generation, first, read: now, table });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_settled_reading_of_the_present_generation_is_given_again() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let (one, two) = (Generation::of(1), Generation::of(2));
        let table = Some(FilterTable::default());
        let mut lasting = Lasting::default();
        lasting.keep(one, at(0), None);
        assert_eq!(lasting.if_still(one, at(1_500)), None, "read when the generation was new");
        lasting.keep(one, at(1_500), table.clone());
        assert_eq!(lasting.if_still(one, at(1_600)), Some(table.clone()));
        assert_eq!(lasting.if_still(two, at(1_600)), None, "another generation");
        assert_eq!(lasting.if_still(one, at(62_000)), None, "too old");
        lasting.keep(two, at(1_700), table);
        lasting.keep(one, at(1_800), None);
        assert_eq!(lasting.if_still(one, at(1_900)), None, "the number came round again");
    }
}
