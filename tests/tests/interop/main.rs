//! Proves that `sealane-tunnel` speaks WireGuard with others as with itself: every case runs against
//! another `sealane-tunnel`, a current wireguard-go, and the kernel of a guest under QEMU. And that our
//! hand on kernel WireGuard (`sealane-kernel`) works, in that guest.
//!
//! A partner that cannot be had fails the tests; `SEALANE_OFFLINE=1` skips them, said aloud.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

/// Runs each case against each partner.
macro_rules! against_each_partner {
    ($($name:ident),+ $(,)?) => {
        mod itself { $(#[test] fn $name() { crate::stage::on(crate::stage::Partner::Itself, super::$name); })+ }
        mod wireguard_go { $(#[test] fn $name() { crate::stage::on(crate::stage::Partner::WireguardGo, super::$name); })+ }
        mod kernel { $(#[test] fn $name() { crate::stage::on(crate::stage::Partner::Kernel, super::$name); })+ }
    };
}

/// The kernel room's own test helpers: its cases are run in the guest as well.
#[path = "../../../kernel/tests/common/mod.rs"]
mod common;
mod stage;
mod handshakes;
mod roaming;
mod cookies;
mod operator;
mod kernel_backend;
