//! Owns the last hundred health probes of a path, their fate, and the round-trip times they gave.
//! Does not own the verdict drawn from them.
//!
//! Its figures are kept as probes come and go: a host with a thousand lanes asks for them thousands of
//! times a second.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use crate::time::Time;

/// How many probes the loss figure looks back on.
pub const WINDOW: usize = 100;

/// A reply is not missed sooner than this: it covers a busy peer's scheduling delay.
pub const TIMEOUT_FLOOR: Duration = Duration::from_millis(80);
/// A reply is missed at the latest after this, however slow the path has been.
pub const TIMEOUT_CEILING: Duration = Duration::from_secs(3);
/// Used while no round-trip time is known.
pub const TIMEOUT_FIRST: Duration = Duration::from_millis(500);
/// An estimate of fewer samples than this is young.
const SETTLING: u32 = 16;
/// A path with no variance at all still gets this much slack.
const VARIANCE_FLOOR: Duration = Duration::from_millis(10);

/// Round-trip times of one path, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rtt {
    /// Smoothed: gain 1/8 (RFC 6298 section 2).
    pub smoothed_us: u64,
    /// Smoothed deviation: gain 1/4 (same).
    pub variation_us: u64,
    /// The newest.
    pub last_us: u64,
}

/// Probes of the window whose fate is decided, and how many of them no reply came for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Loss {
    /// Unanswered.
    pub lost: u32,
    /// Answered or unanswered; at most [`WINDOW`]; those still on their way are not counted.
    pub decided: u32,
}

impl Loss {
    /// Returns the share lost, from 0 to 1000; 0 while nothing is decided.
    #[must_use]
    pub fn permille(self) -> u32 {
        (self.lost * 1000).checked_div(self.decided).unwrap_or(0)
    }
}

/// What became of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    Fresh,
    Duplicate,
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Waiting { overdue: Time },
    Overdue,
    Answered,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    sequence: u64,
    at: Time,
    fate: Fate,
}

/// The probes sent last, oldest first, with consecutive sequence numbers.
#[derive(Debug, Default)]
pub(crate) struct Window {
    sent: VecDeque<Sent>,
    /// Probes whose fate is open, by when they are overdue.
    waiting: BTreeSet<(Time, u64)>,
    /// Of the probes in `sent`.
    loss: Loss,
    estimate: Option<Estimate>,
}

#[derive(Clone, Copy, Debug)]
struct Estimate {
    smoothed_us: u64,
    variation_us: u64,
    last_us: u64,
    samples: u32,
}

impl Window {
    pub(crate) fn send(&mut self, now: Time, sequence: u64) {
        if self.sent.len() == WINDOW
            && let Some(oldest) = self.sent.pop_front()
        {
            self.forget(oldest);
        }
        let overdue = now.after(self.timeout());
        self.waiting.insert((overdue, sequence));
        self.sent.push_back(Sent { sequence, at: now, fate: Fate::Waiting { overdue } });
    }

    /// Marks what is overdue by now and returns the sequence numbers that newly are.
    pub(crate) fn expire(&mut self, now: Time) -> Vec<u64> {
        let mut newly = Vec::new();
        while let Some((overdue, sequence)) = self.waiting.first().copied()
            && overdue <= now
        {
            self.waiting.pop_first();
            if let Some(entry) = self.entry(sequence) {
                entry.fate = Fate::Overdue;
                self.loss.lost += 1;
                self.loss.decided += 1;
                newly.push(sequence);
            }
        }
        newly
    }

    /// Takes a reply. A late one still counts as answered: the path delays, it does not lose.
    pub(crate) fn answer(&mut self, now: Time, sequence: u64, sent: Time) -> Fit {
        let Some(entry) = self.entry(sequence).filter(|entry| entry.at == sent) else {
            return Fit::Unknown;
        };
        match std::mem::replace(&mut entry.fate, Fate::Answered) {
            Fate::Answered => return Fit::Duplicate,
            Fate::Overdue => self.loss.lost -= 1,
            Fate::Waiting { overdue } => {
                self.waiting.remove(&(overdue, sequence));
                self.loss.decided += 1;
            }
        }
        let rtt_us = now.since(sent).as_micros().try_into().unwrap_or(u64::MAX);
        // What is read later than anybody waits measures a stall of the reader, not the path.
        if now.since(sent) <= TIMEOUT_CEILING {
            self.estimate = Some(match self.estimate {
                None => Estimate::first(rtt_us),
                Some(before) => before.with(rtt_us),
            });
        }
        Fit::Fresh
    }

    /// Forgets the probes before this one.
    pub(crate) fn forget_before(&mut self, sequence: u64) {
        while self.sent.front().is_some_and(|oldest| oldest.sequence < sequence)
            && let Some(oldest) = self.sent.pop_front()
        {
            self.forget(oldest);
        }
    }

    /// Forgets the round-trip times: after an outage the route may be another one.
    pub(crate) fn forget_rtt(&mut self) {
        self.estimate = None;
    }

    /// Returns how long a reply is waited for: smoothed plus four deviations, within bounds.
    pub(crate) fn timeout(&self) -> Duration {
        let Some(estimate) = self.estimate else { return TIMEOUT_FIRST };
        let slack = Duration::from_micros(estimate.variation_us.saturating_mul(4));
        Duration::from_micros(estimate.smoothed_us)
            .saturating_add(slack.max(VARIANCE_FLOOR))
            .clamp(TIMEOUT_FLOOR, TIMEOUT_CEILING)
    }

    pub(crate) fn next_overdue(&self) -> Option<Time> {
        self.waiting.first().map(|(overdue, _)| *overdue)
    }

    pub(crate) fn loss(&self) -> Loss {
        self.loss
    }

    pub(crate) fn rtt(&self) -> Option<Rtt> {
        self.estimate.map(|estimate| Rtt {
            smoothed_us: estimate.smoothed_us,
            variation_us: estimate.variation_us,
            last_us: estimate.last_us,
        })
    }

    fn entry(&mut self, sequence: u64) -> Option<&mut Sent> {
        let first = self.sent.front()?.sequence;
        self.sent.get_mut(usize::try_from(sequence.checked_sub(first)?).ok()?)
    }

    fn forget(&mut self, oldest: Sent) {
        match oldest.fate {
            Fate::Waiting { overdue } => {
                self.waiting.remove(&(overdue, oldest.sequence));
            }
            Fate::Overdue => {
                self.loss.lost -= 1;
                self.loss.decided -= 1;
            }
            Fate::Answered => self.loss.decided -= 1,
        }
    }
}

impl Estimate {
    fn first(rtt_us: u64) -> Estimate {
        Estimate { smoothed_us: rtt_us, variation_us: rtt_us / 2, last_us: rtt_us, samples: 1 }
    }

    /// The first probes of a lane wait in the tunnel for its handshake: of a young estimate, what is
    /// far above a newer sample is no measure of the path, and would keep its death from notice.
    fn with(self, rtt_us: u64) -> Estimate {
        let samples = self.samples.saturating_add(1);
        if samples <= SETTLING && rtt_us < self.smoothed_us / 2 {
            return Estimate { samples, ..Estimate::first(rtt_us) };
        }
        let gap = self.smoothed_us.abs_diff(rtt_us);
        let blend = |old: u64, new: u64, parts: u64| old - old / parts + new / parts;
        Estimate {
            smoothed_us: blend(self.smoothed_us, rtt_us, 8),
            variation_us: blend(self.variation_us, gap, 4),
            last_us: rtt_us,
            samples,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What can happen to a window: a probe leaves, a reply to one so many probes ago comes, or only
    /// time passes, in milliseconds.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Send,
        Answer(u64),
        Pass(u64),
        ForgetBefore(u64),
    }

    const MS: u64 = 1_000;

    #[test]
    fn an_estimate_follows_rfc_6298_once_it_is_old_enough() {
        let first = Estimate::first(100 * MS);
        assert_eq!((first.smoothed_us, first.variation_us, first.samples), (100 * MS, 50 * MS, 1));
        let next = first.with(60 * MS);
        assert_eq!((next.smoothed_us, next.variation_us), (95 * MS, 47_500));
        assert_eq!((next.last_us, next.samples), (60 * MS, 2));
    }

    #[test]
    fn a_young_estimate_forgets_what_is_more_than_twice_a_newer_sample() {
        let aged = |samples| Estimate { samples, ..Estimate::first(100 * MS) };
        let young = aged(SETTLING - 1).with(50 * MS - 1);
        assert_eq!((young.smoothed_us, young.samples), (50 * MS - 1, SETTLING));
        assert!(aged(SETTLING - 1).with(50 * MS).smoothed_us > 90 * MS, "half is no outlier");
        assert!(aged(SETTLING).with(MS).smoothed_us > 80 * MS, "no longer young");
    }

    proptest! {
        #[test]
        fn the_figures_are_those_of_a_recount(steps in proptest::collection::vec(steps(), 0..600)) {
            let (mut window, mut sent, mut now) = (Window::default(), Vec::new(), Time::ZERO);
            for step in steps {
                match step {
                    Step::Send => {
                        window.send(now, sent.len() as u64);
                        sent.push(now);
                    }
                    Step::Answer(ago) => {
                        let sequence = (sent.len() as u64).saturating_sub(ago);
                        if let Some(at) = sent.get(usize::try_from(sequence).unwrap()) {
                            window.answer(now, sequence, *at);
                        }
                    }
                    Step::ForgetBefore(ago) => {
                        let sequence = (sent.len() as u64).saturating_sub(ago);
                        window.forget_before(sequence);
                        prop_assert!(window.sent.iter().all(|it| it.sequence >= sequence));
                        prop_assert!(window.sent.len() as u64 <= ago);
                    }
                    Step::Pass(millis) => now = now.after(Duration::from_millis(millis)),
                }
                window.expire(now);
                let recount = window.sent.iter().fold(Loss::default(), |all, it| match it.fate {
                    Fate::Waiting { .. } => all,
                    Fate::Overdue => Loss { lost: all.lost + 1, decided: all.decided + 1 },
                    Fate::Answered => Loss { decided: all.decided + 1, ..all },
                });
                prop_assert_eq!(window.loss(), recount);
                let open = window.sent.iter().filter_map(|it| match it.fate {
                    Fate::Waiting { overdue } => Some(overdue),
                    Fate::Overdue | Fate::Answered => None,
                });
                prop_assert_eq!(window.next_overdue(), open.min());
                prop_assert!(window.next_overdue().is_none_or(|overdue| overdue > now));
            }
        }
    }

    fn steps() -> impl Strategy<Value = Step> {
        prop_oneof![
            Just(Step::Send),
            (1..130u64).prop_map(Step::Answer),
            (1..400u64).prop_map(Step::Pass),
            (1..130u64).prop_map(Step::ForgetBefore),
        ]
    }
}
