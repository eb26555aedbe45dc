//! Owns what a fuzz target is, and the list of all. A target panics when its parser does, or when the
//! parser breaks a law that the target checks.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::fuzz::{service, trust, wire};

/// What came of one input, in short: inputs that lead elsewhere than all before are worth keeping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Outcome {
    /// Whether the parser took it.
    pub accepted: bool,
    /// Which way it took; equal for equal ways.
    pub way: u64,
}

impl Outcome {
    /// An input that was taken.
    pub fn accepted(way: impl Hash) -> Self {
        Self { accepted: true, way: hash(way) }
    }

    /// An input that was refused.
    pub fn refused(why: impl Hash) -> Self {
        Self { accepted: false, way: hash(why) }
    }
}

fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// An input to begin with, and its name.
pub type Seed = (&'static str, Vec<u8>);

/// One parser under test.
pub struct Target {
    /// Its name, and that of its folder in the corpus.
    pub name: &'static str,
    /// Reads one input.
    pub run: fn(&[u8]) -> Outcome,
    /// Inputs to begin with, at least one of which is accepted.
    pub seeds: fn() -> Vec<Seed>,
}

/// Every target.
pub const ALL: &[Target] = &[
    Target { name: "advertisement", run: trust::advertisement, seeds: trust::advertisements },
    Target { name: "certificate", run: trust::certificate, seeds: trust::certificates },
    Target { name: "clusterset", run: trust::clusterset, seeds: trust::clustersets },
    Target { name: "config", run: wire::config, seeds: wire::configs },
    Target { name: "envelope", run: trust::envelope, seeds: trust::envelopes },
    Target { name: "gossip", run: trust::gossip, seeds: trust::gossips },
    Target { name: "netfilter", run: wire::netfilter, seeds: wire::netfilters },
    Target { name: "netlink", run: wire::netlink, seeds: wire::netlinks },
    Target { name: "probe", run: wire::probe, seeds: wire::probes },
    Target { name: "service", run: service::service, seeds: service::services },
    Target { name: "token", run: trust::token, seeds: trust::tokens },
    Target { name: "trace", run: wire::trace, seeds: wire::traces },
    Target { name: "uapi", run: wire::uapi, seeds: wire::uapis },
];

/// Finds a target by its name.
pub fn named(name: &str) -> Option<&'static Target> {
    ALL.iter().find(|target| target.name == name)
}
