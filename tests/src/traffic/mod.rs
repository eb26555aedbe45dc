//! Owns the traffic that tests send: small real programs (`lab-traffic`), and how a test starts them.

pub mod bulk;
pub mod datagram;
pub mod drive;
pub mod flow;
pub mod http;
pub mod relay;
pub mod report;
pub mod socket;
