//! Owns every decision: facts in ([`world::World`]), the host as it should be and the reasons out
//! ([`plan::Plan`]). Observes nothing, applies nothing, and knows no clock, socket or file.

pub mod health;
pub mod name;
pub mod plan;
pub mod problem;
pub mod remote;
pub mod verdict;
pub mod world;
