//! Owns the agent's shell: configuration, the one loop, watches, sockets and reports. Makes no
//! decision about lanes, routes or trust; `plan`, `probe` and `api` do.

pub mod config;
pub mod config_file;
pub mod log;
pub mod notify;
