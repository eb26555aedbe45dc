//! Owns the notice that something else on this host undoes what the hand does, again and again, and for
//! how long the hand leaves it at that. Looks at nothing and changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sealane_state::host::HostState;
use tokio::time::Instant;

/// A change that is made again this soon was undone by somebody.
const SOON: Duration = Duration::from_secs(60);
/// A change made this many times in a row, each soon after the last, is contested: short of that it is
/// made again at once.
const CONTESTED: u32 = 8;
/// First wait over a contested change; doubled up to [`LONGEST_WAIT`].
const WAIT: Duration = Duration::from_secs(1);
/// Longest wait: as long as a patrol, which comes in any case.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Contested changes that are told at once.
const MOST_TOLD: usize = 8;

/// Changes of late, by their text.
#[derive(Debug, Default)]
pub struct Rivalry {
    deeds: BTreeMap<String, Deed>,
}

#[derive(Debug)]
struct Deed {
    times: u32,
    last: Instant,
    /// What the host should be when it was last made: once that differs, nobody has undone it.
    wanted: Arc<HostState>,
}

impl Rivalry {
    /// Takes changes that were made at `now`, none refused, to have the host be as `wanted`.
    pub fn made(&mut self, now: Instant, wanted: &Arc<HostState>, changed: &[String]) {
        self.deeds.retain(|_, deed| now < deed.last + SOON);
        for change in changed {
            let before = self.deeds.get(change).filter(|deed| is_same(&deed.wanted, wanted));
            let times = before.map_or(0, |deed| deed.times).saturating_add(1);
            let deed = Deed { times, last: now, wanted: Arc::clone(wanted) };
            self.deeds.insert(change.clone(), deed);
        }
    }

    /// Returns how long nothing but a new wish, or the patrol, has the hand change anything.
    pub fn wait(&self, now: Instant) -> Duration {
        let most = self.of_late(now).map(|(_, times)| times).max().unwrap_or(0);
        match most.checked_sub(CONTESTED) {
            Some(more) => (WAIT * 2u32.pow(more.min(8))).min(LONGEST_WAIT),
            None => Duration::ZERO,
        }
    }

    /// Returns what is contested, with how often it was undone; no more than a person reads.
    pub fn contested(&self, now: Instant) -> BTreeMap<String, u32> {
        let contested = self.of_late(now).filter(|(_, times)| *times >= CONTESTED);
        contested.map(|(text, times)| (text.clone(), times - 1)).take(MOST_TOLD).collect()
    }

    fn of_late(&self, now: Instant) -> impl Iterator<Item = (&String, u32)> {
        let deeds = self.deeds.iter().filter(move |(_, deed)| now < deed.last + SOON);
        deeds.map(|(text, deed)| (text, deed.times))
    }
}

fn is_same(one: &Arc<HostState>, other: &Arc<HostState>) -> bool {
    Arc::ptr_eq(one, other) || one == other
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn made(rivalry: &mut Rivalry, now: Instant, wanted: &Arc<HostState>) -> Duration {
        rivalry.made(now, wanted, &["add rule 5186".to_owned()]);
        rivalry.wait(now)
    }

    #[test]
    fn what_is_undone_again_and_again_is_made_again_ever_more_seldom_and_told() {
        let (mut rivalry, mut now, wanted) = (Rivalry::default(), Instant::now(), Arc::default());
        for _ in 1..CONTESTED {
            assert_eq!(made(&mut rivalry, now, &wanted), Duration::ZERO);
            assert!(rivalry.contested(now).is_empty());
            now += SECOND;
        }
        let waits: Vec<u64> = (0..6).map(|_| made(&mut rivalry, now, &wanted).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 10, 10]);
        assert_eq!(rivalry.contested(now)["add rule 5186"], CONTESTED + 4);
        now += SOON;
        assert!(rivalry.contested(now).is_empty(), "the other hand rests");
        assert_eq!(made(&mut rivalry, now, &wanted), Duration::ZERO);
    }

    #[test]
    fn what_the_plan_itself_takes_back_and_wants_again_is_no_rivals_deed() {
        let (mut rivalry, now) = (Rivalry::default(), Instant::now());
        let mut other = HostState::default();
        other.sysctls.insert(["net", "a"].into_iter().collect(), "1".to_owned());
        let wishes: [Arc<HostState>; 2] = [Arc::default(), Arc::new(other)];
        for turn in 0..40 {
            assert_eq!(made(&mut rivalry, now, &wishes[turn % 2]), Duration::ZERO);
        }
    }
}
