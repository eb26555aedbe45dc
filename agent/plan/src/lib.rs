//! Owns every decision: facts in ([`world::World`]), the host as it should be and the reasons out
//! ([`plan::Plan`]). Observes nothing, applies nothing, and knows no clock, socket or file.

pub mod health;
pub mod name;
pub mod plan;
pub mod problem;
pub mod remote;
pub mod verdict;
pub mod world;
pub mod intake;

pub mod claims;
pub mod backstop;
pub mod documents;
pub mod election;
pub mod firewall;
pub mod ground;
pub mod lanes;
pub mod leg;
pub mod peers;
pub mod reasons;
pub mod routes;
pub mod source;
pub mod steering;
pub mod sysctls;
pub mod targets;

pub mod digest;
pub mod mtu;
pub mod prefix;
