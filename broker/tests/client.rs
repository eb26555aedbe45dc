//! The client of a broker, against the embedded broker and against ones that misbehave. Nothing
//! here needs root or the network beyond loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "client/door.rs"]
mod door;
#[path = "server/support.rs"]
mod support;

#[path = "client/following.rs"]
mod following;
#[path = "client/hostile.rs"]
mod hostile;
#[path = "client/pins.rs"]
mod pins;
#[path = "client/writing.rs"]
mod writing;
