//! Owns what members agree on, seen from outside the pure crate: talking to a broker and being
//! one. Does not own formats or verification (`sealane-api`), nor anything of the Linux host.

pub mod server;
