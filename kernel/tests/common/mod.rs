//! Owns what the tests of several files stand on: hosts and namespaces, devices and their keys, and what
//! must hold of a device whatever its backend. `tests/tests/interop` runs that in a guest too.
#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod sweeper;
pub(crate) mod namespace;
pub(crate) mod devices;
pub(crate) mod device_cases;
