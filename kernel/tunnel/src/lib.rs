//! The WireGuard device as a pure engine: peers, crypto routing, timers, admission of handshakes,
//! UAPI text, and the splitting and joining of offloaded packets. Owns no socket, file, thread or
//! clock; `noise.rs` is the one file that reaches boringtun, which reads the clock itself.

pub mod wire;

pub mod key;

pub mod uptime;

pub mod seed;

pub mod refusal;

pub mod endpoint;

pub mod backlog;

pub mod noise;

pub mod timers;

pub mod lane;

pub mod peer;

pub mod table;

pub mod sources;
pub mod gate;

pub mod device;

pub mod configure;

pub mod handshake;

pub mod uapi;

pub mod uapi_print;

pub mod inet;

pub mod ecn;

pub mod padding;

pub mod virtio;

pub mod split;

pub mod flow;

pub mod coalesce;

pub mod train;
