//! Owns how many handshakes each proved source may ask for under load: a bucket for each, in bounded
//! memory. Does not know when there is load, nor how a source was proved.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use crate::uptime::Uptime;

/// Handshake messages a source may send per second.
const RATE: u32 = 20;
/// How many of them at once.
const BURST: u32 = 5;
/// Sources remembered at most.
const MOST: usize = 4_096;
/// From this many on, new IPv6 sources are counted by the network that a site owns.
const CROWDED: usize = 1_024;
/// What one IPv6 host owns, in bits.
const HOST: u32 = 64;
/// What one IPv6 site owns, in bits (RFC 6177).
const SITE: u32 = 48;

/// The sources of the last second or so.
#[derive(Default)]
pub struct Sources {
    buckets: BTreeMap<IpAddr, Bucket>,
}

struct Bucket {
    tokens: u32,
    refilled: Uptime,
}

impl Sources {
    /// Takes one message of a source from what it may send; `false` when that is used up.
    pub fn spend(&mut self, source: IpAddr, now: Uptime) -> bool {
        let known = network_of(source, HOST);
        let source = match self.buckets.len() {
            some if some >= CROWDED && !self.buckets.contains_key(&known) => {
                network_of(source, SITE)
            }
            _ => known,
        };
        if self.buckets.len() >= MOST && !self.buckets.contains_key(&source) {
            self.make_room(now);
        }
        let bucket = self.buckets.entry(source).or_insert(Bucket { tokens: BURST, refilled: now });
        let period = Duration::from_secs(1) / RATE;
        let earned = now.since(bucket.refilled).as_nanos() / period.as_nanos();
        if earned > 0 {
            let earned = u32::try_from(earned).unwrap_or(BURST);
            bucket.tokens = bucket.tokens.saturating_add(earned).min(BURST);
            bucket.refilled = now;
        }
        let left = bucket.tokens.checked_sub(1);
        bucket.tokens = left.unwrap_or(0);
        left.is_some()
    }

    /// Forgets who is idle, or else who was refilled longest ago: a full table must not lock out
    /// those who come next, peers among them.
    fn make_room(&mut self, now: Uptime) {
        self.buckets.retain(|_, bucket| now.since(bucket.refilled) < Duration::from_secs(1));
        if self.buckets.len() >= MOST {
            let oldest = self.buckets.iter().min_by_key(|(_, bucket)| bucket.refilled);
            let oldest = oldest.map(|(source, _)| *source);
            oldest.and_then(|source| self.buckets.remove(&source));
        }
    }
}

/// The network of a source that its owner has as a whole; an IPv4 address is its own.
fn network_of(source: IpAddr, bits: u32) -> IpAddr {
    match source {
        IpAddr::V4(_) => source,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << (128 - bits))).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Uptime {
        Uptime::new(Duration::from_millis(milliseconds))
    }

    /// The first host of a /64 of the site `2001:db8:SITE::/48`.
    fn host(site: u16, subnet: u16) -> IpAddr {
        Ipv6Addr::new(0x2001, 0xdb8, site, subnet, 0, 0, 0, 1).into()
    }

    #[test]
    fn a_source_gets_a_burst_and_then_twenty_a_second() {
        let mut sources = Sources::default();
        let granted = |sources: &mut Sources, milliseconds| {
            (0..100).filter(|_| sources.spend(host(1, 1), at(milliseconds))).count()
        };
        assert_eq!(granted(&mut sources, 0), 5);
        assert_eq!(granted(&mut sources, 100), 2);
        assert!(sources.spend(host(1, 2), at(100)), "another is not touched");
    }

    #[test]
    fn one_site_with_all_its_subnets_does_not_keep_others_out() {
        let mut sources = Sources::default();
        let granted =
            (0..=u16::MAX).filter(|subnet| sources.spend(host(1, *subnet), at(0))).count();
        assert!(granted <= CROWDED + BURST as usize, "{granted} of 65,536");
        assert!(sources.spend(host(2, 0), at(0)), "another site");
        assert!(sources.spend(IpAddr::from([192, 0, 2, 1]), at(0)));
    }

    #[test]
    fn memory_is_bounded_and_a_newcomer_is_never_refused_for_want_of_it() {
        let mut sources = Sources::default();
        for number in 0..10_000_u16 {
            let [high, low] = number.to_be_bytes();
            assert!(sources.spend(IpAddr::from([10, 0, high, low]), at(0)), "{number}");
        }
        assert!(sources.buckets.len() <= MOST);
    }
}
