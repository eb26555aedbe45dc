//! Owns what the program `sealane` does: commands for members through their agent, and for the
//! administrator of a clusterset through its files and brokers. No Linux code: it runs on laptops.

pub mod command;
pub mod failure;
pub mod show;
pub mod agent;
pub mod status;
pub mod peers;
pub mod routes;
pub mod trace;
pub mod ping;
pub mod join;
pub mod leave;
pub mod identity;
pub mod gateway;
pub mod clusterset;
pub mod member;
pub mod token;
pub mod board;
pub mod clock;
pub mod random;
pub mod install;
