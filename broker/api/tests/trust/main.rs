//! The hostile inputs and known answers of TRUST.md sections 10 and 11, as sentences about `sealane-api`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod definitions;
mod enrolment;
mod fixture;
mod known_answers;
mod laws;
mod lists;
mod names;
mod networks;
mod positions;
mod shapes;
mod signatures;
mod time;
mod tunnels;
