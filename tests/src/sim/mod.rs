//! Owns the simulation: members, their broker and the network between them in virtual time, over the
//! product's own trust, plan, probe and diff code. Owns no decision of the product and no real socket.

pub mod story;
pub mod chance;
pub mod truth;
pub mod broker;
pub mod network;
pub mod tunnel;
pub mod lanes;
pub mod gossip;
pub mod agent;
pub mod member;
pub mod hostile;
pub mod faults;
pub mod invariants;
pub mod world;
