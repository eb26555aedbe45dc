//! Owns the demo: the story that `make demo` tells, and whether it went well.

pub mod teller;
pub mod summary;
pub mod cast;
pub mod prologue;
pub mod traffic;
pub mod faults;
pub mod farewell;
pub mod story;
