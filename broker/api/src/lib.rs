//! What members agree on: kinds, keys, signing and verification. Pure: `now`, seeds and bytes are
//! arguments; no clock, socket, file or randomness. It does not talk to a broker and keeps no file.

pub mod advertisement;
pub mod believed;
pub mod candidate;
pub mod certificate;
pub mod checks;
pub mod cidr;
pub mod clusterset;
pub mod clusterset_payload;
pub mod gossip;
pub mod held;
pub mod keys;
pub mod kinds;
pub mod names;
pub mod pace;
pub mod probe_address;
pub mod psk;
pub mod reason;
pub mod receiver;
pub mod remote;
pub mod service;
pub mod sign;
pub mod signed;
pub mod strict_json;
pub mod time;
pub mod token;
pub mod verify;
