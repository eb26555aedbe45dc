//! Hostile inputs, laws and known answers of the trust protocol, as sentences about `sealane-api`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod agreement;
mod definitions;
mod documents;
mod edges;
mod enrolment;
mod fixture;
mod gossip;
mod known_answers;
mod laws;
mod limits;
mod lists;
mod making;
mod names;
mod networks;
mod positions;
mod rhythm;
mod rotation;
mod service_fixture;
mod services;
mod shapes;
mod signatures;
mod sizes;
mod telling;
mod texts;
mod time;
mod tunnels;
