//! The Linux host: observe, diff's counterpart apply, and the userspace WireGuard device's I/O.

pub mod tunnel_io;
