//! Owns faults of the network between hosts, put where no host sees them. Owns no waiting.

pub mod cut;
pub mod nat;
pub mod relay;
