//! Path health, path MTU and candidate search as sans-IO state machines; owns no clock, socket or
//! randomness: `now` and the seed are arguments, datagrams are byte slices.

pub mod candidates;
pub mod moving;
pub mod datagram;
pub mod health;
pub mod mtu;
pub mod path;
pub mod responder;
pub mod seed;
pub mod time;
pub mod window;
