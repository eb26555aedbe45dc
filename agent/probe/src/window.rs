//! Owns the last hundred health probes of a path, their fate, and the round-trip times they gave.
//! Does not own the verdict drawn from them.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Time;

/// How many probes the loss figure and the lowest round-trip time look back on.
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
    /// Lowest in the window.
    pub lowest_us: u64,
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
    Answered { rtt_us: u64 },
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
        if self.sent.len() == WINDOW {
            self.sent.pop_front();
        }
        let fate = Fate::Waiting { overdue: now.after(self.timeout()) };
        self.sent.push_back(Sent { sequence, at: now, fate });
    }

    /// Marks what is overdue by now and returns the sequence numbers that newly are, ascending.
    pub(crate) fn expire(&mut self, now: Time) -> Vec<u64> {
        let overdue =
            |sent: &&mut Sent| matches!(sent.fate, Fate::Waiting { overdue } if overdue <= now);
        let mark = |sent: &mut Sent| {
            sent.fate = Fate::Overdue;
            sent.sequence
        };
        self.sent.iter_mut().filter(overdue).map(mark).collect()
    }

    /// Takes a reply. A late one still counts as answered: the path delays, it does not lose.
    pub(crate) fn answer(&mut self, now: Time, sequence: u64, sent: Time) -> Fit {
        let first = self.sent.front().map_or(0, |oldest| oldest.sequence);
        let place = sequence.checked_sub(first).and_then(|place| usize::try_from(place).ok());
        let Some(entry) = place.and_then(|place| self.sent.get_mut(place)) else {
            return Fit::Unknown;
        };
        if entry.at != sent {
            return Fit::Unknown;
        }
        if matches!(entry.fate, Fate::Answered { .. }) {
            return Fit::Duplicate;
        }
        let rtt_us = now.since(entry.at).as_micros().try_into().unwrap_or(u64::MAX);
        entry.fate = Fate::Answered { rtt_us };
        // What is read later than anybody waits measures a stall of the reader, not the path.
        if now.since(sent) <= TIMEOUT_CEILING {
            self.estimate = Some(match self.estimate {
                None => Estimate::first(rtt_us),
                Some(before) => before.with(rtt_us),
            });
        }
        Fit::Fresh
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
        let due = |sent: &Sent| match sent.fate {
            Fate::Waiting { overdue } => Some(overdue),
            Fate::Overdue | Fate::Answered { .. } => None,
        };
        self.sent.iter().filter_map(due).min()
    }

    pub(crate) fn loss(&self) -> Loss {
        self.sent.iter().fold(Loss::default(), |loss, sent| match sent.fate {
            Fate::Waiting { .. } => loss,
            Fate::Overdue => Loss { lost: loss.lost + 1, decided: loss.decided + 1 },
            Fate::Answered { .. } => Loss { decided: loss.decided + 1, ..loss },
        })
    }

    pub(crate) fn rtt(&self) -> Option<Rtt> {
        let estimate = self.estimate?;
        let answered = |sent: &Sent| match sent.fate {
            Fate::Answered { rtt_us } => Some(rtt_us),
            Fate::Waiting { .. } | Fate::Overdue => None,
        };
        Some(Rtt {
            smoothed_us: estimate.smoothed_us,
            variation_us: estimate.variation_us,
            lowest_us: self.sent.iter().filter_map(answered).min().unwrap_or(estimate.last_us),
            last_us: estimate.last_us,
        })
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
