//! Owns the measurements of `make bench`: what a tunnel carries, how long a plan takes, what
//! probing costs, what programs hold of memory. Each prints a table; none judges.

pub mod throughput;
pub mod plan;
pub mod lanes;
pub mod memory;
