//! What the agent promises where no packet is needed: belief, its own word, joining and leaving, the
//! admin socket, settings. No root, no network but loopback and unix sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fixture;
mod host;

mod absence;
mod admin;
mod advertise;
mod clock;
mod gossip;
mod healing;
mod joining;
mod leaving;
mod monitor;
mod line;
mod metrics;
mod pings;
mod probes;
mod rotation;
mod program;
mod renewing;
mod settings;
mod standing;
mod trust;
