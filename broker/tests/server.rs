//! The embedded broker, driven over TLS by the `kube` crate and by `kubectl`, as members and
//! administrators do. Nothing here needs root or the network beyond loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "server/support.rs"]
mod support;

#[path = "server/access.rs"]
mod access;
#[path = "server/durability.rs"]
mod durability;
#[path = "server/kubectl.rs"]
mod kubectl;
#[path = "server/limits.rs"]
mod limits;
#[path = "server/objects.rs"]
mod objects;
#[path = "server/watches.rs"]
mod watches;
