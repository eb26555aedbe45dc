//! `sealane-tunnel` as its users meet it: real links, real sockets, the real `wg`. Needs root
//! and `/dev/net/tun`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(unreachable_pub, reason = "the lab is a module of this file")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../lab/mod.rs"]
mod lab;
mod life;
mod tools;
mod traffic;

/// A key as UAPI writes it.
fn hex(base64: &str) -> String {
    data_encoding::HEXLOWER.encode(&data_encoding::BASE64.decode(base64.as_bytes()).unwrap())
}
