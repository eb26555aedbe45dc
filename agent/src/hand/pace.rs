//! Owns when the hand looks at the host again: how soon after what was refused, and how long it rests
//! whatever happens. Reads no clock and touches no host.

use std::time::Duration;

use sealane_kernel::outcome::Retry;
use tokio::time::Instant;

/// A look at the host is due after this long without a reason: for what no monitor tells.
pub(super) const PATROL: Duration = Duration::from_secs(10);
/// Changes come in bursts; a burst is looked at once.
pub(super) const BURST: Duration = Duration::from_millis(20);
/// First wait after a change that was refused; doubled up to [`PATROL`].
const RETRY: Duration = Duration::from_millis(250);
/// No monitor tells what is done to WireGuard peers: the devices are compared this often.
const GLANCE: Duration = Duration::from_millis(400);
/// A glance is not repeated before this many times as long as it took: it costs a twentieth of a core
/// at most.
const GLANCE_REST: u32 = 20;
/// After a pass the hand rests this many times as long as the pass took, whatever happens on the
/// host and whatever its peers do: neither costs more than a share of a core.
const REST: u32 = 3;

/// What a pass could not do, as far as it says when to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// Nothing was refused.
    Nothing,
    /// What was refused may succeed in a moment, or after what else the pass did.
    Hopeful,
    /// What was refused waits for a change on the host or in the plan.
    Hopeless,
}

impl Rest {
    /// Judges a pass by what was refused and how many changes stand.
    pub(super) fn of(refused: impl Iterator<Item = Retry>, applied: usize) -> Self {
        match refused.min() {
            None => Self::Nothing,
            Some(Retry::Soon) => Self::Hopeful,
            Some(Retry::OnChange) if applied > 0 => Self::Hopeful,
            Some(Retry::OnChange | Retry::Never) => Self::Hopeless,
        }
    }
}

/// How long the hand waits after a pass.
#[derive(Debug, Default)]
pub(super) struct Pace {
    failures: u32,
}

impl Pace {
    /// Takes the end of a pass; returns the longest wait for the next.
    pub(super) fn wait(&mut self, rest: Rest) -> Duration {
        if rest != Rest::Hopeful {
            self.failures = 0;
            return PATROL;
        }
        self.failures = self.failures.saturating_add(1);
        (RETRY * 2u32.pow(self.failures.min(6) - 1)).min(PATROL)
    }
}

/// Returns how long nothing that happens on the host is looked at after a look that took so long.
pub(super) fn rest(took: Duration) -> Duration {
    took * REST
}

/// The next look at the host.
#[derive(Debug, Clone, Copy)]
pub(super) struct Appointment {
    /// When it is due.
    pub(super) due: Instant,
    rested: Instant,
}

impl Appointment {
    /// One that is due after `wait` at the latest, behind a pass that ends now and after which the hand
    /// rests for so long.
    pub(super) fn after(now: Instant, rest: Duration, wait: Duration) -> Self {
        Self { due: now + wait, rested: now + rest }
    }

    /// Brings it forward for what happened on the host: as soon as the hand has rested.
    pub(super) fn hasten(&mut self, now: Instant) {
        self.due = self.due.min(self.rested.max(now + BURST));
    }
}

/// Returns how long after a glance that took so long the next one comes; `search` is how often facts
/// of peers are wanted, while they are.
pub(super) fn next_glance(took: Duration, search: Option<Duration>) -> Duration {
    search.map_or(GLANCE, |search| search.min(GLANCE)).max(took * GLANCE_REST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_host_refuses_for_now_is_tried_again_soon_and_then_ever_more_seldom() {
        let mut pace = Pace::default();
        assert_eq!(pace.wait(Rest::Nothing), PATROL);
        let waits: Vec<u128> = (0..8).map(|_| pace.wait(Rest::Hopeful).as_millis()).collect();
        assert_eq!(waits, [250, 500, 1000, 2000, 4000, 8000, 8000, 8000]);
        assert_eq!(pace.wait(Rest::Nothing), PATROL, "all is well again");
        assert_eq!(pace.wait(Rest::Hopeful), RETRY);
    }

    #[test]
    fn what_only_a_person_can_mend_waits_for_a_change_or_the_patrol() {
        let never = || [Retry::Never].into_iter();
        assert_eq!(Rest::of(never(), 5), Rest::Hopeless);
        assert_eq!(Pace::default().wait(Rest::Hopeless), PATROL);
        let busy = [Retry::Never, Retry::Soon].into_iter();
        assert_eq!(Rest::of(busy, 0), Rest::Hopeful, "the other one is worth a try");
    }

    #[test]
    fn what_waits_for_a_change_is_tried_again_once_the_pass_has_changed_something() {
        let on_change = || [Retry::OnChange].into_iter();
        assert_eq!(Rest::of(on_change(), 1), Rest::Hopeful);
        assert_eq!(Rest::of(on_change(), 0), Rest::Hopeless);
        assert_eq!(Rest::of(std::iter::empty(), 1), Rest::Nothing);
    }

    #[test]
    fn whatever_happens_on_a_host_costs_no_more_than_a_quarter_of_a_core() {
        for took in [1, 30, 400, 2_000].map(Duration::from_millis) {
            let (ended, mut busy) = (Instant::now(), Duration::ZERO);
            let mut now = ended;
            for _ in 0..100 {
                // It happens all the time: each pass is followed by the next as soon as may be.
                let mut next = Appointment::after(now, rest(took), PATROL);
                next.hasten(now);
                assert!(next.due <= now + PATROL.min((took * REST).max(BURST)));
                busy += took;
                now = next.due + took;
            }
            assert!(busy * 4 <= now - ended + took * 4, "{busy:?} of {:?}", now - ended);
        }
    }

    #[test]
    fn a_glance_costs_a_twentieth_of_a_core_at_most_and_comes_sooner_while_peers_are_sought() {
        let quick = Duration::from_millis(1);
        assert_eq!(next_glance(quick, None), GLANCE);
        assert_eq!(next_glance(quick, Some(RETRY)), RETRY);
        let slow = Duration::from_millis(50);
        assert_eq!(next_glance(slow, Some(RETRY)), slow * 20);
    }
}
