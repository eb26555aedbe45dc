//! Owns how many datagrams of one sender are read in a while. Does not know who may send.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Datagrams of one sender in [`SPAN`]: probes of a path in doubt, replies to ours, and pings of a few
/// people are far fewer.
const MOST: u32 = 500;
const SPAN: Duration = Duration::from_secs(1);

/// Counts senders.
#[derive(Debug, Default)]
pub(super) struct Door {
    spans: BTreeMap<IpAddr, (Instant, u32)>,
}

impl Door {
    /// Says whether one more of this sender is read, and counts it.
    pub(super) fn admits(&mut self, from: IpAddr, now: Instant) -> bool {
        let (began, count) = self.spans.entry(from).or_insert((now, 0));
        if now.saturating_duration_since(*began) >= SPAN {
            (*began, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count <= MOST
    }

    /// Forgets senders that are none any more.
    pub(super) fn retain(&mut self, mut may_send: impl FnMut(IpAddr) -> bool) {
        self.spans.retain(|from, _| may_send(*from));
    }

    /// Returns how many senders are counted.
    pub(super) fn senders(&self) -> usize {
        self.spans.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_without_end_takes_nothing_from_the_others() {
        let (mut door, now) = (Door::default(), Instant::now());
        let [loud, quiet] = [1, 2].map(|last| IpAddr::from([192, 0, 2, last]));
        let heard = (0..100_000).filter(|_| door.admits(loud, now)).count();
        assert_eq!(heard, 500);
        assert!(door.admits(quiet, now));
        assert!(door.admits(loud, now + SPAN), "a second later it is heard again");
        door.retain(|from| from == quiet);
        assert_eq!(door.senders(), 1);
    }
}
