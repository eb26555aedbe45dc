//! Owns the agent's shell: configuration, the one loop, watches, sockets and reports. Makes no
//! decision about lanes, routes or trust; `plan`, `probe` and `api` do.

pub mod config;
pub mod config_file;
pub mod event;
pub mod hand;
pub mod probe_io;
pub mod admin;
pub mod metrics;
pub mod log;
pub mod notify;
