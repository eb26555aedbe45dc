//! Owns the measurements of `make bench`: what tunnels carry, ours and those of others, how long a plan takes, what
//! probing costs, what programs hold of memory. Each prints a table; none judges.

pub mod contest;
pub mod throughput;
pub mod plan;
pub mod lanes;
pub mod memory;
