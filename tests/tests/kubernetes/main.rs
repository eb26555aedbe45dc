//! Proves that a broker is a broker: every case runs against a real Kubernetes API server with its etcd
//! and against `sealane-broker`; and that on the API server members can do no more than `charts/` says.
//!
//! Programs that cannot be had fail the tests; `SEALANE_OFFLINE=1` skips them, said aloud.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

/// Runs each case on each make of broker, in a namespace of its own.
macro_rules! on_each_broker {
    ($($name:ident),+ $(,)?) => {
        mod api_server {
            $(#[test] fn $name() { crate::stage::on(sealane_tests::kubernetes::board::Make::ApiServer, stringify!($name), super::$name); })+
        }
        mod embedded {
            $(#[test] fn $name() { crate::stage::on(sealane_tests::kubernetes::board::Make::Embedded, stringify!($name), super::$name); })+
        }
    };
}

mod stage;
mod objects;
mod watches;
mod client;
mod forgetting;
mod kubectl;
mod privilege;
mod services;
mod lanes;
