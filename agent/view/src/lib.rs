//! Owns the documents that an agent shows on its admin socket and that the command line reads.
//! Decides nothing, fetches nothing and formats nothing for people.
//!
//! Shape of all documents: JSON objects with camelCase names; a number's name ends in its unit;
//! times are Unix seconds; optional fields are left out, never `null`.

pub mod admin;
pub mod error;
pub mod gateway;
pub mod membership;
pub mod peers;
pub mod ping;
pub mod plan;
pub mod routes;
pub mod status;
pub mod trace;
pub mod world;
