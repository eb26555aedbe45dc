//! Owns what members share through a broker: reaching it, mirroring it, publishing on it, and the
//! embedded broker itself. Judges no object (`sealane-api` does) and knows nothing of Linux.

pub mod access;
pub mod account;
pub mod board;
pub mod mirror;
pub mod pin;
pub mod publish;
pub mod store;
