//! Owns the fuzzing of every parser that reads what others wrote: targets, their corpus in `tests/corpus`,
//! and the seeded mutation of it. Owns no parser.

pub mod target;
pub mod trust;
pub mod service;
pub mod wire;
pub mod corpus;
pub mod mutate;
