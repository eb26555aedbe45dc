//! Owns the lab: hosts as namespaces on this machine, joined by bridges, running the real binaries.
//! Owns no knowledge of Sealane: a test brings the binaries and their configuration.
//!
//! Read in the order of the list below; `tests/README.md` shows a whole case.

pub mod address;
pub mod cluster;
pub mod dump;
pub mod error;
pub mod holder;
pub mod host;
pub mod impair;
pub mod kept;
pub mod process;
pub mod rules;
pub mod segment;
pub mod wait;
pub mod wire;
pub mod world;
