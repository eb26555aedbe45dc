//! Owns how much of the broker one caller may use: requests, watches, objects, bytes.
//! Does not own the limits of single kinds (`resource`).

use super::failure::Failure;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter, clock::Clock, clock::DefaultClock};
use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Bounds on callers and contents.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of a request body.
    pub body_bytes: usize,
    /// Requests per second and credential, sustained.
    pub requests_per_second: NonZeroU32,
    /// Requests a credential may make at once after a pause.
    pub request_burst: NonZeroU32,
    /// Open watches of one credential.
    pub watches_per_credential: usize,
    /// Open watches in all.
    pub watches: usize,
    /// Lists of more than 64 KiB that one credential has not yet read.
    pub lists_per_credential: usize,
    /// How long such a list may take to be read before its connection is closed.
    pub list_patience: Duration,
    /// Bodies of more than 64 KiB that one credential has begun and not yet sent whole.
    pub bodies_per_credential: usize,
    /// Open connections in all.
    pub connections: usize,
    /// Open connections of one credential.
    pub connections_per_credential: usize,
    /// Open connections on which nobody has shown a token yet, in all.
    pub strangers: usize,
    /// The same, from one IPv4 address or IPv6 /64.
    pub strangers_per_source: usize,
    /// How long a connection may last without a request that has a token.
    pub stranger_patience: Duration,
    /// Advertisements that one member may have.
    pub objects_per_member: usize,
    /// ServiceAdvertisements that one member may have.
    pub services_per_member: usize,
    /// Objects of all kinds.
    pub objects: usize,
    /// How long a watch may leave an event unread before its connection is closed.
    pub watch_stall: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 1_572_864,
            requests_per_second: NonZeroU32::MIN.saturating_add(49),
            request_burst: NonZeroU32::MIN.saturating_add(199),
            watches_per_credential: 1_024,
            watches: 8_192,
            // All nodes of a member share its credential.
            lists_per_credential: 16,
            list_patience: Duration::from_secs(60),
            bodies_per_credential: 16,
            connections: 8_192,
            connections_per_credential: 1_024,
            strangers: 4_096,
            strangers_per_source: 64,
            stranger_patience: Duration::from_secs(20),
            // 64 live gateways and 256 tombstones are what receivers accept.
            objects_per_member: 320,
            // As many live ones as receivers believe, and as many withdrawn.
            services_per_member: 2 * sealane_api::service::MAX_SERVICES,
            objects: 50_000,
            watch_stall: Duration::from_secs(30),
        }
    }
}

/// Counts what each credential does.
#[derive(Debug)]
pub(crate) struct Meter {
    limits: Limits,
    clock: DefaultClock,
    callers: Mutex<BTreeMap<String, Usage>>,
}

#[derive(Debug)]
struct Usage {
    rate: Arc<DefaultDirectRateLimiter>,
    held: BTreeMap<Held, usize>,
}

impl Usage {
    fn of(&self, held: Held) -> usize {
        self.held.get(&held).copied().unwrap_or(0)
    }
}

impl Meter {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, clock: DefaultClock::default(), callers: Mutex::default() }
    }

    /// Counts one request of `caller`.
    pub(crate) fn admit(&self, caller: &str) -> Result<(), Failure> {
        let rate = {
            let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(&self.usage(&mut callers, caller).rate)
        };
        rate.check().map_err(|until| {
            let wait = until.wait_time_from(self.clock.now()).as_secs() + 1;
            Failure::too_many_requests("too many requests of this credential", wait)
        })
    }

    /// Counts one watch of `caller` until the pass is dropped.
    pub(crate) fn open_watch(self: &Arc<Self>, caller: &str) -> Result<Pass, Failure> {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        let open: usize = callers.values().map(|usage| usage.of(Held::Watch)).sum();
        let pass = self.hold(&mut callers, caller, Held::Watch)?;
        if open < self.limits.watches {
            return Ok(pass);
        }
        // The pass takes the lock when it ends.
        drop(callers);
        Err(Failure::too_many_requests("too many watches in all", 10))
    }

    /// Counts one more of these of `caller` until the pass is dropped.
    pub(crate) fn open(self: &Arc<Self>, caller: &str, held: Held) -> Result<Pass, Failure> {
        self.hold(&mut self.callers.lock().unwrap_or_else(PoisonError::into_inner), caller, held)
    }

    fn hold(
        self: &Arc<Self>,
        callers: &mut BTreeMap<String, Usage>,
        caller: &str,
        held: Held,
    ) -> Result<Pass, Failure> {
        let (most, what, wait) = match held {
            Held::Watch => (self.limits.watches_per_credential, "watches", 10),
            Held::List => (self.limits.lists_per_credential, "unread lists", 1),
            Held::Body => (self.limits.bodies_per_credential, "unsent bodies", 1),
            Held::Connection => (self.limits.connections_per_credential, "connections", 10),
        };
        let open = self.usage(callers, caller).held.entry(held).or_default();
        if *open >= most {
            let why = format!("too many {what} of this credential");
            return Err(Failure::too_many_requests(why, wait));
        }
        *open += 1;
        Ok(Pass { meter: Arc::clone(self), caller: caller.to_owned(), held })
    }

    /// Open watches in all.
    pub(crate) fn watches(&self) -> usize {
        let callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        callers.values().map(|usage| usage.of(Held::Watch)).sum()
    }

    fn usage<'a>(&self, callers: &'a mut BTreeMap<String, Usage>, caller: &str) -> &'a mut Usage {
        callers.entry(caller.to_owned()).or_insert_with(|| {
            let quota = Quota::per_second(self.limits.requests_per_second)
                .allow_burst(self.limits.request_burst);
            Usage { rate: Arc::new(RateLimiter::direct(quota)), held: BTreeMap::new() }
        })
    }
}

/// The right to one open watch, large list, large body or connection.
#[derive(Debug)]
pub(crate) struct Pass {
    meter: Arc<Meter>,
    caller: String,
    held: Held,
}

/// What one credential may have so many of at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Held {
    /// An open watch.
    Watch,
    /// A large answer that was not read yet.
    List,
    /// A large body that was not sent yet.
    Body,
    /// A connection.
    Connection,
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut callers = self.meter.callers.lock().unwrap_or_else(PoisonError::into_inner);
        let usage = callers.get_mut(&self.caller);
        if let Some(open) = usage.and_then(|usage| usage.held.get_mut(&self.held)) {
            *open = open.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(limits: Limits) -> Arc<Meter> {
        Arc::new(Meter::new(limits))
    }

    #[test]
    fn one_callers_flood_does_not_slow_another() {
        let request_burst = NonZeroU32::new(3).unwrap();
        let meter = meter(Limits { request_burst, ..Limits::default() });
        let refused = (0..10).filter_map(|_| meter.admit("flood").err()).next_back().unwrap();
        assert_eq!((refused.code.as_u16(), refused.retry_after), (429, Some(1)));
        meter.admit("calm").unwrap();
    }

    #[test]
    fn a_closed_watch_makes_room_for_the_next() {
        let meter = meter(Limits { watches_per_credential: 1, ..Limits::default() });
        let pass = meter.open_watch("a").unwrap();
        assert_eq!(meter.open_watch("a").unwrap_err().code.as_u16(), 429);
        drop(pass);
        assert!(meter.open_watch("a").is_ok());
        assert_eq!(meter.watches(), 0);
    }
}
