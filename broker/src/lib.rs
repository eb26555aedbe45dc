//! Owns what members share through a broker: reaching it, mirroring it, publishing on it, and the
//! embedded broker itself. Judges no object (`sealane-api` does) and knows nothing of Linux.

pub mod access;
pub mod pin;
mod answer;
pub mod board;
pub mod trouble;
mod wire;
mod feed;
pub mod mirror;
pub mod publish;
pub mod account;
pub mod store;
pub mod server;
