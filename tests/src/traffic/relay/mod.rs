//! Owns the impairing relay: UDP that a router forwards passes through it and may be lost, delayed,
//! reordered or doubled, as a seed decides. Sender and receiver see each other's own addresses.

pub mod fate;
pub mod schedule;
pub mod splice;
