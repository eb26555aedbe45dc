//! Owns the agent's shell: configuration, the one loop, watches, sockets and reports. Makes no
//! decision about lanes, routes or trust; `plan`, `probe` and `api` do.

pub mod admin;
pub mod advertise;
pub mod config;
pub mod config_file;
pub mod event;
pub mod hand;
pub mod inquiry;
pub mod keys;
pub mod log;
pub mod membership;
pub mod metrics;
pub mod notify;
pub mod probe_io;
pub mod trust;
