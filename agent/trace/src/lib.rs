//! Owns the account of what a packet would meet on one host, and how the accounts of several hosts
//! become one. Does not read the host, ask other agents or know the time; all of it is given.

pub mod packet;
pub mod snapshot;
pub mod bits;
pub mod routing;
pub mod nft;
pub mod lane;
pub mod leg;
pub mod size;
pub mod course;
pub mod walk;
pub mod wire;
pub mod owner;
pub mod join;
