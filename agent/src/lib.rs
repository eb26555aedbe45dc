//! Owns the agent's shell: configuration, the one loop, watches, sockets and reports. Makes no
//! decision about lanes, routes or trust; `plan`, `probe` and `api` do.

pub mod config;
pub mod config_file;
pub mod event;
pub mod clock;
pub mod early;
pub mod run;
pub mod session;
pub mod membership;
pub mod keys;
pub mod join;
pub mod left;
pub mod departure;
pub mod line;
pub mod refusals;
pub mod remarks;
pub mod offers;
pub mod held_file;
pub mod trust;
pub mod resolver;
pub mod facts;
pub mod word;
pub mod advertise;
pub mod retirement;
pub mod hand;
pub mod paths;
pub mod probe_io;
pub mod pings;
pub mod inquiry;
pub mod traces;
pub mod answers;
pub mod report;
pub mod admin;
pub mod metrics;
pub mod log;
pub mod notify;
