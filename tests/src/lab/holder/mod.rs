//! Owns the processes that are a lab: one that starts and cleans up, one that is process 1 of the
//! lab, one keeper per host. Owns nothing of a test's side.
//!
//! A test starts `lab-holder outer DIR` with a pipe as standard input. That unshares a PID namespace
//! (inside a user namespace, if it is not root) and starts `init` in it; `init` starts a `keeper` per
//! host. When the pipe closes, because the lab was dropped or the test was killed, `init` ends, the
//! kernel kills everything in its PID namespace, and the namespaces, pinned by nothing else, go.

pub mod init;
pub mod jobs;
pub mod keeper;
pub mod outer;
pub mod view;
