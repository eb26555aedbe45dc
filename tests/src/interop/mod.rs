//! Owns what tests against other people's WireGuard stand on: how a device of each make is driven, and a machine with a
//! kernel that has it. Does not own the cases, which are in `tests/interop/`.

pub mod archive;
pub mod image;
pub mod machine;
pub mod flood;
pub mod end;
pub mod pair;
