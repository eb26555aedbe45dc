//! Owns the tests of members that live: real programs in labs, judged by what packets, operators and
//! the host itself see. Each needs the binaries of the workspace (`cargo build --bins`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

/// Runs each test on IPv4 alone, IPv6 alone and both.
macro_rules! on_each_family {
    ($($name:ident),+ $(,)?) => {
        mod v4 { $(#[test] fn $name() { super::$name(sealane_tests::lab::address::Family::V4); })+ }
        mod v6 { $(#[test] fn $name() { super::$name(sealane_tests::lab::address::Family::V6); })+ }
        mod dual { $(#[test] fn $name() { super::$name(sealane_tests::lab::address::Family::Dual); })+ }
    };
}

mod stage;
mod size;
mod traffic;
mod narrow;
mod told;
mod trace;
mod guard;
mod weather;
mod faults;
mod secrets;
mod leave;
mod arrival;
mod foreign_hand;
mod unit;
mod injection;
mod gossip;
mod renewal;
mod rotation;
mod disk;
mod second;
mod clocks;
mod moving;
mod reboot;
mod forgetful;
mod rough;
